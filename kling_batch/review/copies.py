"""Local copies of files in object stores, for as long as the review server runs.

Browsers ask for parts of a clip, which a file on this machine serves. Must not write elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from kling_batch.core.locations import ObjectAddress
from kling_batch.output.store import fetch
from kling_batch.report.gallery_entry import Media


class LocalCopies:
    """Where each file can be read; what a store has is fetched when it is first asked for."""

    def __init__(self) -> None:
        """Nothing is fetched yet."""
        self._folder: TemporaryDirectory[str] | None = None

    def path(self, media: Media) -> Path | None:
        """The path of a file; None where it is missing or cannot be fetched."""
        if not isinstance(media.path, ObjectAddress):
            return media.path if media.path.is_file() else None
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="kling-batch-review-")
        target = Path(self._folder.name) / f"{media.sha256}{media.path.suffix}"
        if not target.is_file():
            half = target.with_suffix(f".{token_hex(4)}.part")  # two may ask at once
            try:
                fetch(media.path, half, media.sha256)
            except OSError:
                return None
            half.replace(target)
        return target
