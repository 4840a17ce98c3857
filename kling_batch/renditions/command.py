"""Renditions by a program of the user: its words as they are written, no shell, no key.

Must not interpret the words but for the two placeholders.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kling_batch.core.program_output import Tail
from kling_batch.core.programs import without_secrets
from kling_batch.core.recipes import CHANGED_INPUT, INPUT, OUTPUT
from kling_batch.renditions.geometry import ChangedInputError, RenditionError


def run_command(source: Path, recipe: Mapping[str, Any], temporary: Path) -> None:
    """Run the recipe's program; what it writes to `{output}` is the rendition.

    Raises:
        ChangedInputError: it has changed what it must only read, whatever else it did.
        RenditionError: it cannot be started, fails, takes too long or writes nothing.
    """
    words = [_filled(word, source, temporary) for word in recipe["command"]]
    before = _state(source)
    try:
        _run(words, recipe["timeout"])
    except RenditionError as error:
        _check_unchanged(source, before, f"{error}; it")
        raise
    _check_unchanged(source, before, words[0])
    _check_written(words[0], temporary)


def _run(words: Sequence[str], limit: float) -> None:
    """Run a program to its end. Raises `RenditionError`."""
    program = words[0]
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own words, and no shell reads them
            words,
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=without_secrets(os.environ),
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise RenditionError(f"{program} cannot be started: {why}") from error
    assert process.stdout is not None
    said = Tail(process.stdout)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        raise RenditionError(f"{program} took more than {limit:g} s and was ended") from None
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    if code:
        how = f"exit {code}" if code > 0 else "ended by a signal"
        raise RenditionError(f"{program} failed ({how}){_last_line(said.text())}")


def _last_line(said: str) -> str:
    """What a program said last, to be put behind a reason."""
    last = next((line.strip() for line in reversed(said.split("\n")) if line.strip()), "")
    return f": {last[:200]}" if last else ""


def _check_unchanged(source: Path, before: tuple[int, int] | None, who: str) -> None:
    """What was paid for: nobody may take it for the original any more."""
    if _state(source) != before:
        raise ChangedInputError(f"{who} {CHANGED_INPUT}")


def _check_written(program: str, temporary: Path) -> None:
    """Raise `RenditionError` where there is no file with content; what else lies there is gone."""
    if temporary.is_dir() and not temporary.is_symlink():
        shutil.rmtree(temporary, ignore_errors=True)
        raise RenditionError(f"{program} made a folder at {OUTPUT}, where a file is wanted")
    if temporary.is_symlink():
        raise RenditionError(f"{program} made a link at {OUTPUT}, where a file is wanted")
    if not temporary.is_file() or not temporary.stat().st_size:
        raise RenditionError(f"{program} wrote nothing to {OUTPUT}")


def _state(source: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None where it is not there."""
    try:
        found = source.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _filled(word: str, source: Path, temporary: Path) -> str:
    """A word with its placeholders replaced, in one pass: a path may hold the other's text."""
    parts = word.split(INPUT)
    return str(source).join(part.replace(OUTPUT, str(temporary)) for part in parts)
