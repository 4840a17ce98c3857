"""Images, video clips and sounds rendered from recipes; the same recipe gives the same bytes.

Pillow and PyAV are imported on first use. Must not know requests or HTTP.
"""

from __future__ import annotations

import colorsys
import hashlib
import io
import math
import tempfile
import textwrap
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from .tagging import tagged

if TYPE_CHECKING:
    from PIL import Image, ImageFont

FPS = 10
SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Recipe of an image: content and encoding."""

    width: int
    height: int
    format: str = "png"
    text: str = ""
    tag: str = ""

    @property
    def content_type(self) -> str:
        """MIME type."""
        return f"image/{self.format}"

    @property
    def suffix(self) -> str:
        """File extension."""
        return ".jpg" if self.format == "jpeg" else f".{self.format}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Recipe of a video: content, length, and whether it has sound."""

    width: int
    height: int
    seconds: float
    audio: bool = False
    text: str = ""
    tag: str = ""

    content_type = "video/mp4"
    suffix = ".mp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """Recipe of a sound: its length, and what decides its pitch."""

    seconds: float
    text: str = ""
    tag: str = ""

    content_type = "audio/mpeg"
    suffix = ".mp3"


Recipe = Picture | Clip | Sound


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions and length of a media file."""

    width: int
    height: int
    seconds: float | None = None


def make(recipe: Recipe, *, template: bool = False) -> bytes:
    """Rendered file. With `template`, one clip per shape, made distinct by an embedded tag."""
    if not template:
        return _encode(recipe)
    plain = replace(recipe, text="", tag="template")
    return tagged(_encode_once(plain), recipe.suffix, f"{recipe.tag} {recipe.text}")


def probe(data: bytes) -> Shape | None:
    """Dimensions and length of an image, video or sound, or None if it is none of them.

    A sound has no width and no height.
    """
    return _probe_image(data) or _probe_stream(data)


def frame_size(ratio: float, short_side: int) -> tuple[int, int]:
    """Even width and height in this ratio."""
    width = short_side * max(ratio, 1.0)
    height = short_side * max(1 / ratio, 1.0)
    return 2 * round(width / 2), 2 * round(height / 2)


def _encode(recipe: Recipe) -> bytes:
    if isinstance(recipe, Picture):
        return _encode_picture(recipe)
    return _encode_clip(recipe) if isinstance(recipe, Clip) else _encode_sound(recipe)


@lru_cache(maxsize=64)
def _encode_once(recipe: Recipe) -> bytes:
    return _encode(recipe)


def _encode_picture(picture: Picture) -> bytes:
    canvas = _canvas(picture.width, picture.height, picture.text, picture.tag)
    out = io.BytesIO()
    options: dict[str, Any] = {"png": {"compress_level": 1}, "webp": {"method": 0}}.get(
        picture.format, {}
    )
    canvas.save(out, picture.format, **options)
    return out.getvalue()


def _canvas(width: int, height: int, text: str, tag: str) -> Image.Image:
    """Image with the prompt on a background coloured by its digest, and the tag as a footer."""
    from PIL import Image, ImageDraw  # noqa: PLC0415

    hue = _digest(text, tag)[0] / 256
    top, bottom = _colour(hue, 0.55), _colour(hue + 0.12, 0.25)
    ground = Image.linear_gradient("L").resize((width, height))
    canvas = Image.composite(
        Image.new("RGB", ground.size, bottom), Image.new("RGB", ground.size, top), ground
    )
    draw = ImageDraw.Draw(canvas)
    size = max(12, min(width, height) // 16)
    margin = size
    columns = max(8, int((width - 2 * margin) / (size * 0.52)))
    lines = textwrap.wrap(_drawable(text), columns)[: max(1, (height - 4 * size) // (size + 6))]
    draw.multiline_text((margin, margin), "\n".join(lines), "white", _font(size), spacing=6)
    draw.text((margin, height - 2 * size), tag, "white", _font(max(10, size // 2)))
    return canvas


def _drawable(text: str) -> str:
    """The text in ASCII: the font that comes with Pillow draws boxes for other letters."""
    plain = normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return " ".join(plain.split())


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    from PIL import ImageFont  # noqa: PLC0415

    return ImageFont.load_default(size)


def _colour(hue: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, 0.6, value)
    return int(255 * red), int(255 * green), int(255 * blue)


def _encode_clip(clip: Clip) -> bytes:
    # faststart reads the output back to move the index to the front, so it must be a file.
    with tempfile.TemporaryDirectory(prefix="kling-emulator-") as folder:
        path = Path(folder) / "clip.mp4"
        _write_clip(path, clip)
        return path.read_bytes()


def _write_clip(path: Path, clip: Clip) -> None:
    import av  # noqa: PLC0415

    options = {"movflags": "faststart", "fflags": "bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = clip.width, clip.height, "yuv420p"
        # One thread, so that the bytes do not depend on the machine.
        video.options = {"preset": "ultrafast", "crf": "30", "threads": "1"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if clip.audio else None
        for frame in _frames(clip):
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            for sound in _sound(clip.seconds, 220 + 2 * _digest(clip.text, clip.tag)[1]):
                container.mux(audio.encode(sound))
            container.mux(audio.encode(None))


def _encode_sound(sound: Sound) -> bytes:
    import av  # noqa: PLC0415

    out = io.BytesIO()
    with av.open(out, "w", format="mp3", options={"fflags": "bitexact"}) as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        for frame in _sound(sound.seconds, 220 + 2 * _digest(sound.text, sound.tag)[1]):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def _frames(clip: Clip) -> Iterator[Any]:
    """Frames of the canvas with a disc that crosses it, drawn into the encoder's planes."""
    from av import VideoFrame  # noqa: PLC0415

    canvas = _canvas(clip.width, clip.height, clip.text, clip.tag)
    ground = VideoFrame.from_image(canvas).reformat(format="yuv420p")
    planes = [_Plane(bytes(plane), plane.line_size) for plane in ground.planes]
    radius = min(clip.width, clip.height) // 24 * 2
    count = max(1, round(clip.seconds * FPS))
    for number in range(count):
        along = number / max(1, count - 1)
        x = radius + round(along * (clip.width - 2 * radius))
        y = round(clip.height * (0.65 - math.sin(along * math.tau) / 8))
        frame = VideoFrame(clip.width, clip.height, "yuv420p")
        for index, plane in enumerate(planes):
            half = 2 if index else 1  # the two chroma planes have half the size
            disc = plane.with_disc(x // half, y // half, radius // half, _DISC[index])
            frame.planes[index].update(disc)
        yield frame


_DISC = (b"\xd2", b"\x10", b"\x92")  # yellow in Y, U, V


@dataclass(frozen=True, slots=True)
class _Plane:
    """One plane of a planar video frame."""

    data: bytes
    stride: int

    def with_disc(self, x: int, y: int, radius: int, value: bytes) -> bytearray:
        changed = bytearray(self.data)
        for dy in range(-radius, radius):
            half = math.isqrt(radius * radius - dy * dy)
            start = (y + dy) * self.stride + x - half
            changed[start : start + 2 * half] = value * (2 * half)
        return changed


def _sound(seconds: float, pitch: int) -> Iterator[Any]:
    """A quiet tone, in blocks of the encoder's frame size."""
    from av import AudioFrame  # noqa: PLC0415

    step = math.tau * pitch / SAMPLE_RATE
    # A whole number of periods fits into a second, so one second can be repeated.
    second = array("f", (0.1 * math.sin(step * n) for n in range(SAMPLE_RATE)))
    wave = (second * (math.ceil(seconds) + 1)).tobytes()
    block = 1024
    for start in range(0, round(seconds * SAMPLE_RATE), block):
        frame = AudioFrame(format="fltp", layout="mono", samples=block)
        frame.planes[0].update(wave[4 * start : 4 * (start + block)])
        frame.rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield frame


def _probe_image(data: bytes) -> Shape | None:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    try:
        with Image.open(io.BytesIO(data)) as image:
            return Shape(*image.size)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None


def _probe_stream(data: bytes) -> Shape | None:
    import av  # noqa: PLC0415

    try:
        with av.open(io.BytesIO(data)) as container:
            videos = container.streams.video
            stream = videos[0] if videos else container.streams.audio[0]
            # Length of the video stream: with sound, the container can be a little longer.
            if stream.duration and stream.time_base:
                seconds = float(stream.duration * stream.time_base)
            else:
                seconds = (container.duration or 0) / 1_000_000
            width, height = (stream.width, stream.height) if videos else (0, 0)
            return Shape(width, height, seconds)
    except (av.FFmpegError, IndexError):
        return None


def _digest(*words: str) -> bytes:
    return hashlib.sha256("\0".join(words).encode()).digest()
