"""Local inputs: files found, judged by their content, and hashed once each.

A file is judged by its content; its suffix only says whether a text means a file.

Must not upload anything, know manifests, or know limits: `media.py` does.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO
from unicodedata import normalize

from kling_batch.core.diagnostics import InvalidValue, show
from kling_batch.core.jobs import LocalFile
from kling_batch.core.urls import without_signatures
from kling_batch.errors import UsageError
from kling_batch.manifest.content import HEAD, Content, ends_as_it_should, misfit, recognise
from kling_batch.manifest.probe import with_picture
from kling_batch.settings import typed_path

#: Content types by suffix: what fal's endpoints accept, and what people often give by mistake.
#: Whether a text means a file must be known for missing files, too; what is uploaded has the type
#: of its content.
TYPES = {
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
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".ogg": "audio/ogg",
}


class Files:
    """The local inputs of a load; relative paths start at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, LocalFile | InvalidValue] = {}

    def get(self, written: str) -> LocalFile:
        """The file behind a path as written; raises `InvalidValue`."""
        known = self._known.get(written)
        if known is None:
            known = self._known[written] = self._look(written)
        if isinstance(known, InvalidValue):
            raise known
        return known

    def plausible(self, written: str) -> bool:
        """Whether a text means a file: it has the suffix of one, or the file exists."""
        if not written or "://" in written:
            return False
        try:
            self.get(written)
        except InvalidValue:
            return Path(written).suffix.lower() in TYPES
        return True

    def _look(self, written: str) -> LocalFile | InvalidValue:
        try:
            return self._read(written)
        except InvalidValue as problem:
            return problem

    def _read(self, written: str) -> LocalFile:
        plain = written.isprintable() and len(written) < 200
        name = f"`{without_signatures(written)}`" if plain else show(written)
        try:
            path, size = self._found(written, name)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                content, why = _judged(file)
        except InvalidValue:
            raise
        except UsageError as error:
            raise InvalidValue(str(error)) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidValue(f"{name} cannot be read: {reason}") from None
        if why is not None:
            raise InvalidValue(f"{name} {why[0]}", why[1])
        kind = TYPES.get(path.suffix.lower(), "application/octet-stream")
        # Brands tell a sound in MPEG-4 from a clip only where its writer says M4A.
        if content is not None and (kind, content.content_type) != ("audio/mp4", "video/mp4"):
            kind = content.content_type
        return LocalFile(path=str(path), sha256=digest, size=size, content_type=kind)

    def _found(self, written: str, name: str) -> tuple[Path, int]:
        """The file and its size."""
        path = as_on_disk(self.folder / typed_path(written))
        if not path.exists():
            raise InvalidValue(f"there is no file {name}", self._elsewhere(written))
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "a device"
            raise InvalidValue(f"{name} is {kind}, not a file")
        size = path.stat().st_size
        if size == 0:
            raise InvalidValue(f"{name} is empty (0 bytes)")
        return path, size

    def _elsewhere(self, written: str) -> str:
        """A hint for paths written relative to the working folder instead of the manifest."""
        if Path(written).is_absolute():
            return ""
        if Path(written).exists():
            return f"it is in the working folder, but paths start at {self.folder}{os.sep}"
        start = f"paths start at {self.folder}{os.sep}"
        return start if self.folder.samefile(".") else f"{start}, where the manifest is"


def as_on_disk(path: Path) -> Path:
    """The path, in the Unicode form that the disk has: macOS writes é as two characters."""
    if str(path).isascii() or path.exists():
        return path
    forms = (Path(normalize(form, str(path))) for form in ("NFC", "NFD"))
    return next((form for form in forms if form.exists()), path)


def _judged(file: BinaryIO) -> tuple[Content | None, tuple[str, str] | None]:
    """What an opened file is; and why it cannot be an input, with a hint."""
    file.seek(0)
    head = file.read(HEAD)
    if why := misfit(head):
        return None, why
    content = recognise(head)
    if content is None or ends_as_it_should(file, content) or not _cut_short(file, content):
        return content, None
    noun = _NOUNS[content.content_type.partition("/")[0]]
    return content, (f"is cut short: {noun} is not complete", "save or download it again")


_NOUNS = {"image": "the picture", "video": "the clip", "audio": "the sound"}
#: Formats whose end is a mark, which other bytes may follow; the others say how long they are.
_END_BY_MARK = ("image/jpeg", "image/png", "image/gif")
#: Pictures with more pixels are not decoded.
_MOST_PIXELS = 100_000_000


def _cut_short(file: BinaryIO, content: Content) -> bool:
    """Whether a picture that does not end as it should is incomplete: some have bytes behind it."""
    if content.content_type not in _END_BY_MARK:
        return True
    pixels = with_picture(file, lambda image: image.width * image.height)
    if isinstance(pixels, str) or pixels > _MOST_PIXELS:
        return False  # `check_media` says what is wrong with it
    return isinstance(with_picture(file, lambda image: bool(image.load())), str)
