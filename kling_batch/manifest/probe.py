"""What kind of picture or clip a local file is: the header is read, nothing is decoded.

The only home of Pillow and PyAV on this side; both are imported when the first local file turns up.
Must not judge: `preflight.py` does.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

from kling_batch.core.jobs import LocalFile


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A video file; a value that its header does not tell is 0."""

    container: str
    width: int
    height: int
    seconds: float
    fps: float


@lru_cache(maxsize=4096)
def picture(file: LocalFile) -> Picture | str:
    """The image in a file, or why it is none."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only where there are files

    try:
        with warnings.catch_warnings():
            # Its size is what we ask for; nobody decodes it here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file.path) as image:
                return Picture(str(image.format), image.width, image.height)
    except UnidentifiedImageError:
        return "is no image that can be read"
    # A broken header makes Pillow raise nearly anything.
    except Exception as error:  # noqa: BLE001
        return f"is no image that can be read: {error}"


@lru_cache(maxsize=4096)
def clip(file: LocalFile) -> Clip | str:
    """The video in a file, or why it is none."""
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
