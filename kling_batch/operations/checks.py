"""Checks of `doctor` that ask nobody: the output folder, and who may read the key in `.env`.

Every run makes the second one, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kling_batch.errors import ExitCode
from kling_batch.fal.key_file import key_file_warning


class Check(NamedTuple):
    """Result of one check."""

    name: str
    passed: bool
    message: str
    #: What a failed check makes `doctor` exit with; 0: it keeps no run from working.
    code: int = ExitCode.OK


def check_folder(folder: Path) -> Check:
    """Whether the output folder can be written, or made."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        return Check("output", False, f"{folder}: cannot write below {existing}", ExitCode.USAGE)
    return Check("output", True, f"{folder} can be written")


def check_key_file() -> Iterator[Check]:
    """A warning where other users may read the key in `.env`."""
    if message := key_file_warning():
        yield Check("key file", False, message)
