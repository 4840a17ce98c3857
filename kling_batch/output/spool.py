"""Spool: complete downloads that wait on this machine until a store has them.

Each lies there under its temporary name, with a note of what was checked, so that a run that was
killed in the middle of a put goes on with the file and not with fal. Must not know the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from kling_batch.core.outcomes import Fetched
from kling_batch.output.files import digest_of, sync_folder, write_synced
from kling_batch.output.part_origin import remove_part

#: Renders whose files may be on their way from fal to a store at once.
BETWEEN = 16


def spool_of(ledger: Path) -> Path:
    """The spool of a ledger, beside it."""
    return ledger.with_name(f"{ledger.name}.spool")


def note(fetched: Fetched, attempt: int) -> None:
    """Write down that a file of an attempt is complete, and what it is; durable."""
    path = _note_of(Path(fetched.temporary))
    half = path.with_suffix(".half")
    write_synced(half, json.dumps({"attempt": attempt, "file": asdict(fetched)}).encode())
    half.replace(path)
    sync_folder(path.parent)


def complete(temporary: Path) -> Fetched | None:
    """The complete file of an earlier run; None where there is none.

    One that has changed since is removed with its note: a download would go on behind its bytes, or
    would take them for the file, because the server has no more.
    """
    try:
        known = Fetched(**json.loads(_note_of(temporary).read_bytes())["file"])
        known = replace(known, temporary=str(temporary))  # the folder may have moved
        if holds(temporary, known):
            return known
    except (OSError, ValueError, TypeError, LookupError):
        return None
    drop(temporary)
    return None


def holds(path: Path, fetched: Fetched) -> bool:
    """Whether a file is there, with the content that was downloaded.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return path.stat().st_size == fetched.size and digest_of(path) == fetched.sha256
    except FileNotFoundError:
        return False


def drop(temporary: Path) -> None:
    """Remove a file that the store has and the ledger names, or that has changed."""
    with suppress(OSError):  # a later run removes it
        remove_part(temporary)
        _note_of(temporary).unlink(missing_ok=True)


def waiting(spool: Path) -> Iterator[tuple[int, Path]]:
    """The complete files in a spool, each after the number of its attempt in some ledger."""
    for path in sorted(spool.glob(".*.json")):
        with suppress(OSError, ValueError, TypeError, LookupError):
            yield int(json.loads(path.read_bytes())["attempt"]), path.with_suffix(".part")


def token_in(temporary: Path) -> str:
    """The token of the attempt whose file it is, which differs from ledger to ledger."""
    return temporary.name.removeprefix(".").partition("-")[0]


def _note_of(temporary: Path) -> Path:
    return temporary.with_suffix(".json")
