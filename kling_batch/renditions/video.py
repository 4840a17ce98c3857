"""Videos and loops: decoded, cut, scaled and encoded frame by frame with PyAV.

Memory does not depend on the length: a loop's palette is made in a first pass of its own. Must not
hold a whole video.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any

import av
import av.filter

from kling_batch.core.recipes import LOOP_FPS
from kling_batch.renditions.frames import opened, seek
from kling_batch.renditions.geometry import RenditionError, geometry

#: Codec → encoder of FFmpeg's, and its options beside the quality.
ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "medium"}),
    "h265": ("libx265", {"preset": "medium", "x265-params": "log-level=none"}),
    "vp9": ("libvpx-vp9", {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}),
    "av1": ("libsvtav1", {"preset": "8"}),
}
_CONTAINERS = {"mp4": "mp4", "mov": "mov", "webm": "webm", "gif": "gif", "webp": "webp"}
_AUDIO = {"mp4": "aac", "mov": "aac", "webm": "libopus"}
_AUDIO_RATE = 48_000


def make_video(source: Path, recipe: Mapping[str, Any], temporary: Path, *, threads: int) -> None:
    """Make a video or a loop. Raises `RenditionError`."""
    try:
        if recipe["format"] == "gif":
            _gif(source, recipe, temporary)
        elif recipe["kind"] == "loop":
            _webp(source, recipe, temporary)
        else:
            _video(source, recipe, temporary, threads)
    except av.FFmpegError as error:
        raise RenditionError(f"{recipe['format']}: {error.strerror}") from error


def missing_encoder(recipe: Mapping[str, Any]) -> str:
    """The encoder that this installation of PyAV lacks for a recipe; empty: it has it."""
    names = []
    if "codec" in recipe:
        names = [ENCODERS[recipe["codec"]][0], _AUDIO[recipe["format"]]]
    elif recipe["kind"] == "loop":
        names = ["gif" if recipe["format"] == "gif" else "libwebp_anim"]
    return next((name for name in names if not _has(name)), "")


def _has(encoder: str) -> bool:
    try:
        av.Codec(encoder, "w")
    except ValueError:  # av.codec.UnknownCodecError
        return False
    return True


# -- frames ------------------------------------------------------------------------------------


def _frames(container: Any, recipe: Mapping[str, Any]) -> Iterator[Any]:
    """The frames of the wanted part, their times counted from its start."""
    start, length = recipe.get("start", 0.0), recipe.get("length")
    stream = container.streams.video[0]
    seek(container, start)
    some = False
    for frame in container.decode(stream):
        if frame.time is None or frame.time < start - 1e-6:
            continue
        if length is not None and frame.time >= start + length - 1e-6:
            break
        frame.pts -= round(start / stream.time_base)
        some = True
        yield frame
    if not some:
        raise RenditionError(f"nothing of the video is after {start:g} s")


def _graph(stream: Any, recipe: Mapping[str, Any], *, fps: float | None, last: str) -> Any:
    """The filters from decoded frames to those that are encoded; `last`: the final ones."""
    even = recipe["kind"] == "video"
    area, width, height = geometry(recipe, stream.width, stream.height, even=even)
    steps = [] if fps is None else [("fps", str(_rate(fps)))]
    if area != (0, 0, stream.width, stream.height):
        steps.append(("crop", f"{area.width}:{area.height}:{area.x}:{area.y}"))
    steps += [("scale", f"{width}:{height}:flags=lanczos"), ("setsar", "1")]
    name, _, arguments = last.partition("=")
    return _linked(stream, [*steps, (name, arguments)])


def _linked(stream: Any, steps: list[tuple[str, str]]) -> Any:
    graph = av.filter.Graph()
    node = graph.add_buffer(template=stream)
    for name, arguments in steps:
        following = graph.add(name, arguments)
        node.link_to(following)
        node = following
    node.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _filtered(graph: Any, frames: Iterator[Any]) -> Iterator[Any]:
    for frame in frames:
        graph.push(frame)
        yield from _pulled(graph)
    graph.push(None)
    yield from _pulled(graph)


def _pulled(graph: Any) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return


# -- videos ------------------------------------------------------------------------------------


def _video(source: Path, recipe: Mapping[str, Any], temporary: Path, threads: int) -> None:
    fast = {"movflags": "+faststart"} if recipe["format"] in ("mp4", "mov") else {}
    with (
        opened(source) as given,
        opened(source) as heard,  # read apart, so that pictures and sound come out in step
        av.open(str(temporary), "w", format=_CONTAINERS[recipe["format"]], options=fast) as made,
    ):
        packets = [_pictures(given, made, recipe, threads)]
        if heard.streams.audio and not recipe.get("mute"):
            packets.append(_sound(heard, made, recipe))
        for packet in merge(*packets, key=_moment):
            made.mux(packet)


def _moment(packet: Any) -> float:
    return 0.0 if packet.dts is None else float(packet.dts * packet.time_base)


def _pictures(given: Any, made: Any, recipe: Mapping[str, Any], threads: int) -> Iterator[Any]:
    """The encoded pictures; their stream is added at once."""
    stream = given.streams.video[0]
    encoder, options = ENCODERS[recipe["codec"]]
    rate = recipe.get("fps") or stream.average_rate or 24
    options = {**options, "crf": str(recipe["crf"])}
    video = made.add_stream(encoder, rate=_rate(rate), options=options)
    _, video.width, video.height = geometry(recipe, stream.width, stream.height, even=True)
    video.pix_fmt = "yuv420p"
    if threads:
        video.codec_context.thread_count = threads
    if recipe["codec"] == "h265":
        video.codec_context.codec_tag = "hvc1"  # without it, Apple's players show nothing
    return _encoded_pictures(given, video, recipe)


def _encoded_pictures(given: Any, video: Any, recipe: Mapping[str, Any]) -> Iterator[Any]:
    stream = given.streams.video[0]
    graph = _graph(stream, recipe, fps=recipe.get("fps"), last="format=yuv420p")
    for frame in _filtered(graph, _frames(given, recipe)):
        frame.pict_type = 0  # the encoder decides which are key frames
        yield from video.encode(frame)
    yield from video.encode(None)


def _sound(given: Any, made: Any, recipe: Mapping[str, Any]) -> Iterator[Any]:
    """The sound, encoded anew; its stream is added at once."""
    stream = made.add_stream(_AUDIO[recipe["format"]], rate=_AUDIO_RATE)
    stream.layout = "stereo" if given.streams.audio[0].channels > 1 else "mono"
    return _encoded_sound(given, stream, recipe)


def _encoded_sound(given: Any, stream: Any, recipe: Mapping[str, Any]) -> Iterator[Any]:
    start, length = recipe.get("start", 0.0), recipe.get("length")
    context = stream.codec_context
    context.open(strict=False)  # only then it says how many samples a frame has
    resampler = av.AudioResampler(
        format=context.format,
        layout=context.layout,
        rate=_AUDIO_RATE,
        frame_size=context.frame_size or None,
    )
    seek(given, start)
    for frame in given.decode(given.streams.audio[0]):
        if frame.time is None or frame.time < start - 1e-6:
            continue
        if length is not None and frame.time >= start + length:
            break
        frame.pts -= round(start / frame.time_base)
        for resampled in resampler.resample(frame):
            yield from stream.encode(resampled)
    for resampled in resampler.resample(None):
        yield from stream.encode(resampled)
    yield from stream.encode(None)


# -- loops -------------------------------------------------------------------------------------


def _webp(source: Path, recipe: Mapping[str, Any], temporary: Path) -> None:
    with (
        opened(source) as given,
        av.open(str(temporary), "w", format="webp", options={"loop": "0"}) as made,
    ):
        fps = recipe.get("fps", LOOP_FPS)
        stream = given.streams.video[0]
        graph = _graph(stream, recipe, fps=fps, last="format=yuv420p")
        options = {"quality": str(recipe.get("quality", 75))}
        moving = made.add_stream("libwebp_anim", rate=_rate(fps), options=options)
        _, moving.width, moving.height = geometry(recipe, stream.width, stream.height, even=False)
        moving.pix_fmt = "yuv420p"
        for frame in _filtered(graph, _frames(given, recipe)):
            made.mux(moving.encode(frame))
        made.mux(moving.encode(None))


def _gif(source: Path, recipe: Mapping[str, Any], temporary: Path) -> None:
    fps = recipe.get("fps", LOOP_FPS)
    with opened(source) as given:
        graph = _graph(given.streams.video[0], recipe, fps=fps, last="palettegen")
        (palette,) = _filtered(graph, _frames(given, recipe))
    with (
        opened(source) as given,
        av.open(str(temporary), "w", format="gif", options={"loop": "0"}) as made,
    ):
        stream = given.streams.video[0]
        scaled = _graph(stream, recipe, fps=fps, last="format=rgb24")
        moving = made.add_stream("gif", rate=_rate(fps))
        _, moving.width, moving.height = geometry(recipe, stream.width, stream.height, even=False)
        moving.pix_fmt = "pal8"
        for frame in _coloured(
            _filtered(scaled, _frames(given, recipe)), palette, moving, _rate(fps)
        ):
            made.mux(moving.encode(frame))
        made.mux(moving.encode(None))


def _coloured(frames: Iterator[Any], palette: Any, moving: Any, rate: Fraction) -> Iterator[Any]:
    """The frames in the colours of a palette."""
    graph = av.filter.Graph()
    size, tick = {"width": moving.width, "height": moving.height}, 1 / rate
    pictures = graph.add_buffer(**size, format="rgb24", time_base=tick)
    colours = graph.add_buffer(
        width=palette.width, height=palette.height, format=palette.format.name, time_base=tick
    )
    use = graph.add("paletteuse", "dither=sierra2_4a")
    pictures.link_to(use, 0, 0)
    colours.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    palette.pts = 0
    palette.time_base = tick
    colours.push(palette)
    colours.push(None)
    for frame in frames:
        pictures.push(frame)
        yield from _pulled(graph)
    pictures.push(None)
    yield from _pulled(graph)


def _rate(fps: float | Fraction) -> Fraction:
    return Fraction(fps).limit_denominator(1001)
