"""Properties of local pictures, clips and sounds, read from their headers.

The only user of Pillow and PyAV before a run. Must not judge them: `media.py` does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple, TypeVar

from kling_batch.core.jobs import LocalFile

T = TypeVar("T")


def with_picture(source: str | BinaryIO, use: Callable[[Any], T]) -> T | str:
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


class Picture(NamedTuple):
    """An image file."""

    format: str
    width: int
    height: int


class Clip(NamedTuple):
    """A video file; a value that its header lacks is 0."""

    container: str
    width: int
    height: int
    seconds: float
    fps: float


@lru_cache(maxsize=4096)
def picture(file: LocalFile) -> Picture | str:
    """The image in a file, or why it cannot be read; only its header is read."""
    return with_picture(
        file.path, lambda image: Picture(str(image.format), image.width, image.height)
    )


class Sound(NamedTuple):
    """A file with sound and no picture; its length is 0 where the header lacks it."""

    container: str
    seconds: float


@lru_cache(maxsize=4096)
def clip(file: LocalFile) -> Clip | str:
    """The video in a file, or why it cannot be read."""

    def read(container: Any) -> Clip | str:
        if not container.streams.video:
            return "holds no video"
        stream = container.streams.video[0]
        return Clip(
            container.format.name,
            stream.codec_context.width,
            stream.codec_context.height,
            _seconds(container, stream),
            float(stream.average_rate or 0),
        )

    return _with_container(file.path, read, "video")


@lru_cache(maxsize=4096)
def sound(file: LocalFile) -> Sound | str:
    """The sound in a file, or why it cannot be read."""

    def read(container: Any) -> Sound | str:
        if not container.streams.audio:
            return "holds no sound"
        return Sound(container.format.name, _seconds(container, container.streams.audio[0]))

    return _with_container(file.path, read, "sound")


def _with_container(source: str, use: Callable[[Any], T | str], what: str) -> T | str:
    """What `use` makes of an opened file, or why it cannot be read."""
    import av  # noqa: PLC0415 - only where there are files

    try:
        with av.open(source) as container:
            return use(container)
    # FFmpeg's own errors, text that is no text, streams without a decoder…
    except Exception as error:  # noqa: BLE001
        return f"is no {what} that can be read: {getattr(error, 'strerror', None) or error}"


def _seconds(container: Any, stream: Any) -> float:
    """The length of a stream, or of its file where the stream does not say it."""
    import av  # noqa: PLC0415 - imported already

    ticks = stream.duration * stream.time_base if stream.duration else 0
    whole = container.duration / av.time_base if container.duration else 0
    return float(ticks or whole)
