"""Protocol of a file store: what the local folder and object stores have in common.

A name appears whole or not at all, what is replaced is kept under a second name, and nothing is
ever deleted. Knows neither ledger nor key, so that a worker on another host can put files, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

from kling_batch.core.jobs import JSON, whole_characters
from kling_batch.core.locations import Location, ObjectAddress

L = TypeVar("L", bound=Location)


class FileStore(Protocol[L]):
    """Files by their location. Every method blocks; every error is an `OSError`."""

    def size(self, at: L) -> int | None:
        """The size of a file; None where there is none."""

    def digest(self, at: L) -> str:
        """The SHA-256 of its content, hexadecimal."""

    def read(self, at: L) -> bytes:
        """The content of a small file."""

    def listed(self, folder: L) -> dict[str, int | None]:
        """The names in a folder, with their sizes where the listing says them."""

    def differing(self, final: L, incoming: str) -> str | None:
        """The digest of what would be lost under a name; None: nothing, or the incoming content."""

    def put(self, temporary: Path, final: L, sha256: str) -> None:
        """Give a complete local file its final name, whole or not at all."""

    def write_sidecar(self, final: L, record: dict[str, Any], temporary: Path) -> None:
        """Write the record of a file beside it; a person's own file of that name is kept.

        What the record before says was made of the same content stays in it.
        """

    def back_up(self, final: L) -> L | None:
        """Give the file at `final` a second name beside it; None where there is none."""

    def settle(self, final: L) -> None:
        """Make the names in its folder durable."""


@overload
def sidecar_of(final: Path) -> Path: ...
@overload
def sidecar_of(final: ObjectAddress) -> ObjectAddress: ...
def sidecar_of(final: Location) -> Location:
    """`clip.mp4` → `clip.mp4.json`."""
    return final.with_name(f"{final.name}.json")


def record_in(data: bytes) -> dict[str, Any]:
    """The record that a sidecar's text holds; empty where it is something else.

    Half a character, which no ledger can store, becomes a question mark.
    """
    try:
        # Escapes are ASCII, whatever the rest is.
        record = whole_characters(json.loads(data), data.decode("latin-1"))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def is_record(record: dict[str, Any]) -> bool:
    """Whether this program wrote it; a person's own file may have the same name."""
    return {"schema_version", "key"} <= record.keys()


def record_of(store: FileStore[Any], final: Location, sha256: str) -> dict[str, Any]:
    """What the sidecar beside a file says of it; empty where it says nothing of this content.

    Raises `OSError` where there is one that cannot be read.
    """
    sidecar = sidecar_of(final)
    if store.size(sidecar) is None:
        return {}
    record = record_in(store.read(sidecar))
    return record if is_record(record) and record.get("sha256") == sha256 else {}


def with_renditions(record: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """A new record of a file, with what its record `before` says was made of the same content."""
    kept = renditions_in(before)
    if not kept or before.get("sha256") != record.get("sha256"):
        return record
    return {**record, _RENDITIONS: {**kept, **renditions_in(record)}}


def with_rendition(record: dict[str, Any], name: str, made: JSON) -> dict[str, Any]:
    """The record of a file with one more rendition of it, or another one of that name."""
    return {**record, _RENDITIONS: {**renditions_in(record), name: made}}


def renditions_in(record: dict[str, Any]) -> Mapping[str, Any]:
    """What a record says was made of its file, by name."""
    noted = record.get(_RENDITIONS)
    return noted if isinstance(noted, Mapping) else {}


#: Key of a record under which renditions of its file are.
_RENDITIONS = "renditions"


def sidecar_text(record: JSON) -> bytes:
    """The text of a sidecar."""
    return (json.dumps(record, ensure_ascii=False, indent=2) + "\n").encode()
