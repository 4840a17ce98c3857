"""Spool: complete downloads that wait on this machine until a store has them.

Each lies there under its temporary name, with a note of what was checked, so that a run that was
killed in the middle of a put goes on with the file and not with fal. Must not know the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from kling_batch.core.outcomes import Fetched
from kling_batch.output.files import digest_of, sync_folder, write_synced

#: Renders whose files may be on their way from fal to a store at once.
BETWEEN = 16


def spool_of(ledger: Path) -> Path:
    """The spool of a ledger, beside it."""
    return ledger.with_name(f"{ledger.name}.spool")


def note(fetched: Fetched) -> None:
    """Write down that a file is complete, and what it is; durable."""
    path = _note_of(Path(fetched.temporary))
    half = path.with_suffix(".half")
    write_synced(half, json.dumps(asdict(fetched)).encode())
    half.replace(path)
    sync_folder(path.parent)


def complete(temporary: Path) -> Fetched | None:
    """The complete file of an earlier run; None where there is none, or it has changed."""
    try:
        known = Fetched(**json.loads(_note_of(temporary).read_bytes()))
        if temporary.stat().st_size == known.size and digest_of(temporary) == known.sha256:
            return known
    except (OSError, ValueError, TypeError):
        return None
    return None


def drop(temporary: Path) -> None:
    """Remove a file that the store has and the ledger names."""
    with suppress(OSError):  # the next run removes it
        _note_of(temporary).unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)


def sweep(spool: Path, wanted: Collection[str]) -> None:
    """Remove what is of no open attempt; `wanted`: the tokens of those that are."""
    with suppress(OSError):
        for path in spool.iterdir():
            if path.name.lstrip(".").partition("-")[0] not in wanted:
                path.unlink(missing_ok=True)


def _note_of(temporary: Path) -> Path:
    return temporary.with_suffix(".json")
