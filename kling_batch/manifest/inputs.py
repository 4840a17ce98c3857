"""Local inputs: files found, hashed once each, and checked against fal's limits for media.

A file is judged by its content; its suffix only says whether a text means a file.

Must not upload anything or know manifests.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from unicodedata import normalize

from kling_batch.core.diagnostics import Collector, InvalidValue, show
from kling_batch.core.jobs import LocalFile
from kling_batch.errors import ArgumentPath, UsageError
from kling_batch.manifest.content import HEAD, Content, ends_as_it_should, misfit, recognise
from kling_batch.settings import typed_path

T = TypeVar("T")

#: Content types by suffix: what fal's endpoints accept, and what people often give by mistake.
#: Whether a text means a file must be known for missing files, too; what is uploaded has the type
#: of its content.
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
            return Path(written).suffix.lower() in _TYPES
        return True

    def _look(self, written: str) -> LocalFile | InvalidValue:
        try:
            return self._read(written)
        except InvalidValue as problem:
            return problem

    def _read(self, written: str) -> LocalFile:
        name = f"`{written}`" if written.isprintable() and len(written) < 200 else show(written)
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
        kind = _TYPES.get(path.suffix.lower(), "application/octet-stream")
        if content is not None:
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
        return f"paths start at {self.folder}{os.sep}, where the manifest is"


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
    noun = "the picture" if content.content_type.startswith("image/") else "the clip"
    return content, (f"is cut short: {noun} is not complete", "save or download it again")


#: Formats whose end is a mark, which other bytes may follow; the others say how long they are.
_END_BY_MARK = ("image/jpeg", "image/png", "image/gif")
#: Pictures with more pixels are not decoded.
_MOST_PIXELS = 100_000_000


def _cut_short(file: BinaryIO, content: Content) -> bool:
    """Whether a picture that does not end as it should is incomplete: some have bytes behind it."""
    if content.content_type not in _END_BY_MARK:
        return True
    pixels = _with_picture(file, lambda image: image.width * image.height)
    if isinstance(pixels, str) or pixels > _MOST_PIXELS:
        return False  # `check_media` says what is wrong with it
    return isinstance(_with_picture(file, lambda image: bool(image.load())), str)


def _with_picture(source: str | BinaryIO, use: Callable[[Any], T]) -> T | str:
    """What `use` makes of the image in a file, or why it cannot be read."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only where there are files

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                return use(image)
    except UnidentifiedImageError:
        return "is no image that can be read"
    # A broken file makes Pillow raise nearly anything.
    except Exception as error:  # noqa: BLE001
        return f"is no image that can be read: {error}"


_MB = 1_000_000

#: Named everywhere; the others are taken by the playground only.
_IMAGE_SURE = frozenset({"JPEG", "PNG", "MPO"})

_IMAGE_TAKEN = _IMAGE_SURE | {"WEBP", "GIF", "AVIF"}

#: mp4 and mov are one family to FFmpeg.
_VIDEO_TAKEN = "mov,mp4,m4a,3gp,3g2,mj2"

_VIDEO_ENDS = (".mp4", ".mov", ".m4v")

#: A container's length and the length of its frames differ by a frame or so.
_TOLERANCE = 0.05


def check_media(file: LocalFile, media: str, path: ArgumentPath, problems: Collector) -> None:
    """Report every error and warning about a local file at `path` of a job."""
    claimed = _TYPES.get(Path(file.path).suffix.lower(), "")
    if claimed not in ("", file.content_type):
        message = f"`{file.path}` is {file.content_type} by its content, and uploaded as that"
        problems.warn(path, message, "wrong-suffix", "give it the right suffix")
    if media == "image":
        _check_image(file, path, problems)
    elif media == "video":
        _check_video(file, path, problems)


def seconds_of(file: LocalFile) -> float | None:
    """The length of a local clip, if its header has it."""
    found = clip(file)
    return found.seconds or None if isinstance(found, Clip) else None


def _check_image(file: LocalFile, path: ArgumentPath, problems: Collector) -> None:
    found = picture(file)
    if isinstance(found, str):
        if file.content_type not in (*_TYPES.values(), "application/octet-stream"):
            found = f"{found}; by its content it is {file.content_type}"
        problems.error(path, f"`{file.path}` {found}", "media", "give a JPEG or a PNG")
        return
    name = f"`{file.path}` ({found.width}×{found.height} {found.format})"
    if found.format not in _IMAGE_TAKEN:
        problems.error(path, f"{name}: fal does not take this format", "media", "save it as PNG")
    elif found.format not in _IMAGE_SURE:
        message = f"{name}: documented for certain are JPEG and PNG only"
        problems.warn(path, message, "media")
    _check_sides(found, name, path, problems)
    if file.size > 50 * _MB:
        message = f"{name} has {file.size / _MB:.1f} MB; at most 50 MB"
        problems.error(path, message, "media", "save it smaller")
    elif file.size > 10 * _MB:
        message = f"{name} has {file.size / _MB:.1f} MB; a page of February 2026 says at most 10 MB"
        problems.warn(path, message, "dated-limit")


def _check_sides(found: Picture, name: str, path: ArgumentPath, problems: Collector) -> None:
    if min(found.width, found.height) < 300:
        problems.error(path, f"{name}: each side needs at least 300 pixels", "media")
    if not 0.4 <= found.width / max(found.height, 1) <= 2.5:
        ratio = found.width / max(found.height, 1)
        message = f"{name}: width ÷ height is {ratio:.2f}; allowed: 0.40 to 2.50"
        problems.error(path, message, "media", "crop it")


def _check_video(file: LocalFile, path: ArgumentPath, problems: Collector) -> None:
    if file.size > 200 * _MB:
        message = f"`{file.path}` has {file.size / _MB:.0f} MB; at most 200 MB"
        problems.error(path, message, "media")
    found = clip(file)
    if isinstance(found, str):
        problems.error(path, f"`{file.path}` {found}", "media", "give an mp4 or a mov")
        return
    name = f"`{file.path}` ({found.width}×{found.height}, {found.seconds:.2f} s)"
    if found.container != _VIDEO_TAKEN or not file.path.lower().endswith(_VIDEO_ENDS):
        problems.error(path, f"{name}: fal takes .mp4 and .mov only", "media")
    _check_length(found, name, path, problems)
    _check_frame(found, name, path, problems)


def _check_length(found: Clip, name: str, path: ArgumentPath, problems: Collector) -> None:
    if not found.seconds:
        problems.warn(path, f"{name}: its length is unknown; allowed: 3 to 15 s", "media")
    elif not 3 - _TOLERANCE <= found.seconds <= 15 + _TOLERANCE:
        problems.error(path, f"{name}: allowed are 3 to 15 s", "media", "cut it")
    elif found.seconds > 10 + _TOLERANCE:
        message = f"{name}: pages of early 2026 say at most 10 s, later ones 15 s"
        problems.warn(path, message, "dated-limit")


def _check_frame(found: Clip, name: str, path: ArgumentPath, problems: Collector) -> None:
    short, long = sorted((found.width, found.height))
    if short < 720 or long > 3840:
        problems.error(path, f"{name}: each side needs 720 to 3840 pixels", "media")
    elif long > 2160:
        message = f"{name}: pages of early 2026 say at most 2160 pixels a side, later ones 3840"
        problems.warn(path, message, "dated-limit")
    if found.fps and not 23.9 <= found.fps <= 60.1:
        message = f"{name} has {found.fps:.2f} frames a second; pages of early 2026 say 24 to 60"
        problems.warn(path, message, "dated-limit")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A video file; a value that its header lacks is 0."""

    container: str
    width: int
    height: int
    seconds: float
    fps: float


@lru_cache(maxsize=4096)
def picture(file: LocalFile) -> Picture | str:
    """The image in a file, or why it cannot be read; only its header is read."""
    return _with_picture(
        file.path, lambda image: Picture(str(image.format), image.width, image.height)
    )


@lru_cache(maxsize=4096)
def clip(file: LocalFile) -> Clip | str:
    """The video in a file, or why it cannot be read."""
    import av  # noqa: PLC0415 - only where there are files

    try:
        with av.open(file.path) as container:
            if not container.streams.video:
                return "holds no video"
            stream = container.streams.video[0]
            ticks = stream.duration * stream.time_base if stream.duration else 0
            whole = container.duration / av.time_base if container.duration else 0
            return Clip(
                container.format.name,
                stream.codec_context.width,
                stream.codec_context.height,
                float(ticks or whole),
                float(stream.average_rate or 0),
            )
    # FFmpeg's own errors, text that is no text, streams without a decoder…
    except Exception as error:  # noqa: BLE001
        return f"is no video that can be read: {getattr(error, 'strerror', None) or error}"
