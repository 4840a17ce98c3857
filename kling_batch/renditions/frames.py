"""Frames of a video as pictures: the one at a moment, or so many evenly spaced.

PyAV is used here and in `video.py`. Must hold one frame at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from PIL import Image

from kling_batch.renditions.geometry import RenditionError

_VIDEO = (".mp4", ".webm", ".mov", ".mkv", ".m4v", ".avi")


def is_video(source: Path) -> bool:
    """Whether a saved file is a video: its ending comes from its first bytes."""
    return source.suffix.lower() in _VIDEO


@contextmanager
def opened(source: Path) -> Iterator[Any]:
    """A video, opened to be read. Raises `RenditionError`."""
    try:
        with av.open(str(source)) as container:
            if not container.streams.video:
                raise RenditionError(f"{source.name} has no picture")
            container.streams.video[0].thread_type = "AUTO"
            yield container
    except av.FFmpegError as error:
        raise RenditionError(f"{source.name}: {error.strerror}") from error


def length_of(container: Any) -> float:
    """Seconds of a video; 0 where nothing says."""
    stream = container.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1_000_000


def seek(container: Any, seconds: float) -> None:
    """Go to the last place before a moment from which decoding can begin."""
    if seconds > 0:
        container.seek(int(seconds * 1_000_000), backward=True)


def frame_at(source: Path, moment: float | str) -> Image.Image:
    """The frame that is shown at a moment; the last one where the video is shorter."""
    with opened(source) as container:
        if isinstance(moment, str):
            seconds = length_of(container) * float(moment.rstrip("%")) / 100
        else:
            seconds = moment
        seek(container, min(seconds, max(0.0, length_of(container) - 0.001)))
        shown = None
        for frame in container.decode(video=0):
            if shown is not None and frame.time is not None and frame.time > seconds + 1e-6:
                break
            shown = frame
        if shown is None:
            raise RenditionError(f"{source.name} has no frame that can be read")
        return shown.to_image()  # type: ignore[no-any-return]


def frames_of(source: Path, number: int) -> Iterator[Image.Image]:
    """So many frames, each from the middle of its part of the video."""
    with opened(source) as container:
        length = length_of(container)
        if not length:
            raise RenditionError(f"{source.name} does not say how long it is")
        moments = [length * (n + 0.5) / number for n in range(number)]
        last = None
        for frame in container.decode(video=0):
            last = frame
            while moments and frame.time is not None and frame.time >= moments[0] - 1e-6:
                moments.pop(0)
                yield frame.to_image()
        while moments and last is not None:
            moments.pop(0)
            yield last.to_image()
