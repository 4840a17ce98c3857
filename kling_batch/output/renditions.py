"""Renditions in an output: their names, and what the sidecar of their source says of them.

Must not make any, and must not know ledger or recipes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kling_batch.core.jobs import JSON
from kling_batch.core.locations import Location
from kling_batch.output.file_store import (
    record_of,
    renditions_in,
    with_rendition,
)
from kling_batch.output.folder import LocalFolder
from kling_batch.output.store import copied, fetch, put, store_for


def publish_rendition(source: Location, target: Location, sha256: str, scratch: Path) -> None:
    """Give a rendition one more name, by a link or the store's own copy where that is possible.

    It appears whole. `scratch`: a folder for what goes through this machine. Raises `OSError`.
    """
    if isinstance(source, Path) and isinstance(target, Path):
        half = _half(target.parent, target)
        LocalFolder().second_name(source, half)
        put(half, target, sha256)
    elif isinstance(source, Path):
        put(source, target, sha256)
    elif isinstance(target, Path) or not copied(source, target):
        half = _half(target.parent if isinstance(target, Path) else scratch, target)
        half.parent.mkdir(parents=True, exist_ok=True)
        fetch(source, half, sha256)
        put(half, target, sha256)
        half.unlink(missing_ok=True)


def note_rendition(final: Location, sha256: str, name: str, made: JSON) -> None:
    """Add to the sidecar of a file what a rendition of it is; nothing where there is none."""
    store = store_for(final)
    if known := record_of(store, final, sha256):
        temporary = Path(final.parent if isinstance(final, Path) else "") / f".{final.name}.part"
        store.write_sidecar(final, with_rendition(known, name, made), temporary)


def noted_rendition(final: Location, sha256: str, name: str) -> Mapping[str, JSON]:
    """What the sidecar of a file with this digest says of a rendition; empty: nothing."""
    noted = renditions_in(record_of(store_for(final), final, sha256)).get(name)
    return noted if isinstance(noted, Mapping) else {}


def _half(folder: Path, target: Location) -> Path:
    return folder / f".{target.name}.link.part"
