"""Local inputs: found, hashed by content, each file once.

The shell of the pure front: it reads the disk and decides nothing about what a file may be.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from kling_batch.catalog.parameters import show
from kling_batch.core.jobs import LocalFile

#: By the end of the name; what fal's endpoints take, and what people hand them by mistake.
_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".avif": "image/avif",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
}


class FileFault(Exception):  # noqa: N818 - a fault of the manifest, not of the program
    """Why a local input cannot be used, and what to type instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class Files:
    """The local inputs of a load; relative paths start at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, LocalFile | FileFault] = {}

    def get(self, written: str) -> LocalFile:
        """The file behind a path as written; raises `FileFault`."""
        known = self._known.get(written)
        if known is None:
            known = self._known[written] = self._look(written)
        if isinstance(known, FileFault):
            raise known
        return known

    def plausible(self, written: str) -> bool:
        """Whether a text that may be anything means a file: by its end, or since it is one."""
        if not written or "://" in written:
            return False
        try:
            self.get(written)
        except FileFault:
            return Path(written).suffix.lower() in _TYPES
        return True

    def _look(self, written: str) -> LocalFile | FileFault:
        name = f"`{written}`" if written.isprintable() and len(written) < 200 else show(written)
        try:
            path = self.folder / Path(written).expanduser()
            if not path.exists():
                return FileFault(f"there is no file {name}", self._elsewhere(written))
            if not path.is_file():
                kind = "a folder" if path.is_dir() else "a device"
                return FileFault(f"{name} is {kind}, not a file")
            size = path.stat().st_size
            if size == 0:
                return FileFault(f"{name} is empty (0 bytes)")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            return FileFault(f"{name} cannot be read: {reason}")
        kind = _TYPES.get(path.suffix.lower(), "application/octet-stream")
        return LocalFile(path=str(path), sha256=digest, size=size, content_type=kind)

    def _elsewhere(self, written: str) -> str:
        """People type paths as their shell sees them; a manifest's start at the manifest."""
        if Path(written).is_absolute():
            return ""
        if Path(written).exists():
            return f"it is in the working folder, but paths start at {self.folder}{os.sep}"
        return f"paths start at {self.folder}{os.sep}, where the manifest is"
