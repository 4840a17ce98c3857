"""What the first bytes of a part file came with: a strong ETag, or the date of the last change.

The rest of a file is taken only from the same content. In this run that is remembered; where a
download breaks off it is noted beside the part file, for the next run. Must not read the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

#: No server sends a longer one.
_MOST = 1000


class PartOrigins:
    """The origins of the part files of one downloader."""

    def __init__(self) -> None:
        """Nothing was begun; what earlier runs noted is read when it is needed."""
        self._known: dict[Path, str] = {}
        #: Part files beside which something may be noted.
        self._noted: set[Path] = set()

    def of(self, part: Path) -> str | None:
        """Its validator; empty where its server sent none, None where that is not known."""
        if part not in self._known:
            self._noted.add(part)
            with suppress(OSError, UnicodeDecodeError):
                self._known[part] = _note_of(part).read_text("utf-8")[:_MOST]
        return self._known.get(part)

    def begin(self, part: Path, headers: Mapping[str, str]) -> None:
        """Its first bytes come with these headers."""
        self._known[part] = validator(headers)

    def broken_off(self, part: Path) -> None:
        """Its download, if one was begun, may go on in another run: note the origin."""
        if part in self._known and part.exists():
            self._noted.add(part)
            # Without the note, the next run starts anew.
            with suppress(OSError):
                _note_of(part).write_text(self._known[part], "utf-8")

    def over(self, part: Path) -> None:
        """It is complete, or discarded."""
        self._known.pop(part, None)
        if part in self._noted:
            self._noted.discard(part)
            _note_of(part).unlink(missing_ok=True)


def validator(headers: Mapping[str, str]) -> str:
    """What tells the content of an answer from another one; empty where nothing does."""
    etag = headers.get("etag", "").strip()
    strong = etag.startswith('"') and len(etag) <= _MOST
    return etag if strong else headers.get("last-modified", "").strip()[:_MOST]


def remove_part(part: Path) -> None:
    """Remove a part file, and what was noted about it."""
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.from")
