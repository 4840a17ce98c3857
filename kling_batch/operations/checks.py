"""Checks of `doctor` that ask nobody: the output folder, and who may read the key in `.env`.

Every run makes the second one, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from kling_batch.core.locations import Location, ObjectAddress
from kling_batch.errors import ExitCode
from kling_batch.fal.key_file import key_file_warning


class Check(NamedTuple):
    """Result of one check."""

    name: str
    passed: bool
    message: str
    #: What a failed check makes `doctor` exit with; 0: it keeps no run from working.
    code: int = ExitCode.OK


def check_folder(folder: Location) -> Check:
    """Whether the output folder can be written, or made; of a store, whether it can be listed."""
    if isinstance(folder, ObjectAddress):
        return _check_store(folder)
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        return Check("output", False, f"{folder}: cannot write below {existing}", ExitCode.USAGE)
    return Check("output", True, f"{folder} can be written")


def _check_store(folder: ObjectAddress) -> Check:
    from kling_batch.output.store import store_for  # noqa: PLC0415 - not for every run

    try:
        store_for(folder).listed(folder)
    except OSError as error:
        return Check("output", False, f"{folder}: {error.strerror}", ExitCode.SOME_FAILED)
    return Check("output", True, f"{folder} can be read; a run finds out whether it can be written")


def check_key_file() -> Iterator[Check]:
    """A warning where other users may read the key in `.env`."""
    if message := key_file_warning():
        yield Check("key file", False, message)
