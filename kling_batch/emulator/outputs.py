"""Outputs of a render derived from its input: dimensions, length, number, and the result's JSON.

Also checks input files as the runner does after fetching them. Only files of this CDN can be
checked; files on other hosts are assumed to be valid. Must not know HTTP.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .endpoints import Endpoint, is_on, makes_sound
from .errors import detail
from .files import File, Files
from .media import Clip, Picture, Recipe, Shape, Sound, frame_size
from .records import Request, prompt_of
from .validation import shot_seconds

# The shorter side. Smaller than fal's, to be made quickly, and large enough to be edited again.
_VIDEO_SIDE = {"standard": 720, "pro": 800, "4k": 900}
_IMAGE_SIDE = {"1K": 512, "2K": 768, "4K": 1024}
_DEFAULT_SECONDS = 5.0
#: Letters that are spoken in a second.
_LETTERS = 15
# Endpoints outside the catalogue have no limits of their own.
_MOST_SECONDS = 60.0
_MOST_IMAGES = 16
_IMAGE_FIELDS = (
    "image_url",
    "start_image_url",
    "middle_image_urls",
    "end_image_url",
    "tail_image_url",
    "image_urls",
    "input_image_urls",
    "human_image_url",
    "garment_image_url",
)
_CLIP_FIELDS = ("video_url", "video_urls")


def recipes_for(
    endpoint: Endpoint, payload: Mapping[str, Any], files: Files, tag: str, now: float
) -> list[Recipe]:
    """Recipes of the files that a successful render of this input has."""
    if endpoint.media == "video":
        clip = _clip(endpoint, payload, files, tag, now)
        heard = endpoint.operation == "video-to-audio"
        return [clip, Sound(seconds=clip.seconds, text=clip.text, tag=tag)] if heard else [clip]
    if endpoint.media == "audio":
        text = str(payload.get("text"))
        speed = _number(payload.get("voice_speed"), 1.0)
        seconds = min(max(len(text) / _LETTERS / speed, 1.0), _MOST_SECONDS)
        return [Sound(seconds=seconds, text=text, tag=tag)]
    if endpoint.media == "image":
        return _pictures(payload, files, tag, now)
    return []


def _clip(
    endpoint: Endpoint, payload: Mapping[str, Any], files: Files, tag: str, now: float
) -> Clip:
    source = _shape_at(payload.get("video_url"), files, now)
    sound = _shape_at(payload.get("audio_url"), files, now)
    seconds = _DEFAULT_SECONDS
    if payload.get("multi_prompt"):
        seconds = float(shot_seconds(payload["multi_prompt"])) or seconds
    elif payload.get("duration"):
        seconds = _number(payload["duration"], seconds)
    elif source and source.seconds:
        seconds = source.seconds
    elif sound and sound.seconds:
        seconds = sound.seconds
    seconds = min(max(seconds, 1.0), _MOST_SECONDS)
    start = payload.get("image_url") or payload.get("start_image_url")
    ratio = _ratio(payload.get("aspect_ratio"), source or _shape_at(start, files, now))
    small = payload.get("resolution") == "720p"
    width, height = frame_size(ratio, _VIDEO_SIDE["standard" if small else endpoint.tier])
    audio = makes_sound(endpoint, payload)
    return Clip(
        width=width, height=height, seconds=seconds, audio=audio, text=prompt_of(payload), tag=tag
    )


def _pictures(payload: Mapping[str, Any], files: Files, tag: str, now: float) -> list[Recipe]:
    series = payload.get("result_type") == "series"
    wanted = payload.get("series_amount" if series else "num_images")
    count = min(round(_number(wanted, 1)), _MOST_IMAGES)
    names = ("image_urls", "image_url", "human_image_url")
    references = next((payload[name] for name in names if payload.get(name)), None)
    first = references[0] if isinstance(references, list) and references else references
    ratio = _ratio(payload.get("aspect_ratio"), _shape_at(first, files, now))
    width, height = frame_size(ratio, _IMAGE_SIDE.get(str(payload.get("resolution")), 512))
    kind = str(payload.get("output_format"))
    kind = kind if kind in ("jpeg", "webp") else "png"
    return [
        Picture(
            width=width,
            height=height,
            format=kind,
            text=prompt_of(payload),
            tag=f"{tag} {n}/{count}",
        )
        for n in range(1, count + 1)
    ]


def output_of(
    request: Request, endpoint: Endpoint, shelved: list[File], files: Files, *, sizes: bool
) -> dict[str, Any]:
    """Result JSON of a successful render."""
    if endpoint.media == "video":
        described = {"video": _described(shelved[0], files, sizes=sizes)}
        shape = files.shape(shelved[0])
        spoken = {"duration": shape.seconds} if endpoint.operation == "avatar" and shape else {}
        sounds = [_described(file, files, sizes=sizes) for file in shelved[1:]]
        heard = {"audio": sounds[0]} if sounds else {}
        return {**described, **heard, **spoken}
    if endpoint.media == "audio":
        return {"audio": _described(shelved[0], files, sizes=sizes)}
    if endpoint.media == "voice":
        return {"voice_id": f"voice-{request.request_id[-12:]}"}
    if endpoint.media == "image":
        inline = is_on(request.payload.get("sync_mode"))
        images = [_image(file, files, sizes=sizes, inline=inline) for file in shelved]
        return {"image": images[0]} if endpoint.operation == "try-on" else {"images": images}
    return {"output": "done", "seed": request.seed}


def _image(file: File, files: Files, *, sizes: bool, inline: bool) -> dict[str, Any]:
    described = _described(file, files, sizes=sizes)
    if inline:
        encoded = base64.b64encode(files.data(file)).decode()
        described["url"] = f"data:{file.content_type};base64,{encoded}"
    shape = files.shape(file)
    assert shape is not None
    return {**described, "width": shape.width, "height": shape.height}


def _described(file: File, files: Files, *, sizes: bool) -> dict[str, Any]:
    name = "output.mp4" if file.content_type == "video/mp4" else file.name
    return {
        "url": file.url,
        "content_type": file.content_type,
        "file_name": name,
        "file_size": len(files.data(file)) if sizes else None,
    }


# -- checking inputs --


def input_complaints(
    endpoint: Endpoint, payload: Mapping[str, Any], files: Files, now: float
) -> list[dict[str, Any]]:
    """Errors that the runner finds when it fetches and opens the inputs."""
    if not endpoint.known:
        return []
    found: list[dict[str, Any]] = []
    for path, url in _urls(payload, _IMAGE_FIELDS):
        found += _image_complaints(path, url, files, now)
    for path, url in _urls(payload, ("audio_url",)):
        found += _sound_complaints(path, url, files, now)
    least, most = endpoint.clips
    if payload.get("character_orientation") == "image":
        most = min(most, 10.0)
    for path, url in _urls(payload, _CLIP_FIELDS):
        found += _video_complaints(path, url, files, now, (least, most))
    return found


def input_seconds(payload: Mapping[str, Any], files: Files, now: float) -> float:
    """The length of all input clips; of one on another host, that of a usual clip."""
    urls = [url for _, url in _urls(payload, _CLIP_FIELDS)]
    elements = payload.get("elements")
    for element in elements if isinstance(elements, list) else []:
        if isinstance(element, Mapping):
            urls += [url for _, url in _urls(element, ("video_url",))]
    shapes = [_shape_at(url, files, now) for url in urls]
    return math.fsum((shape and shape.seconds) or _DEFAULT_SECONDS for shape in shapes)


def _urls(
    payload: Mapping[str, Any], names: tuple[str, ...]
) -> Iterator[tuple[list[str | int], str]]:
    for name in names:
        value = payload.get(name)
        if isinstance(value, str):
            yield [name], value
        elif isinstance(value, list):
            for number, url in enumerate(value):
                if isinstance(url, str):
                    yield [name, number], url


def _image_complaints(
    path: list[str | int], url: str, files: Files, now: float
) -> Iterator[dict[str, Any]]:
    if not files.is_ours(url):
        return
    file = files.find(url, now)
    if file is None:
        yield detail("file_download_error", "File could not be downloaded", path, given=url)
        return
    shape = files.shape(file)
    if shape is None or shape.seconds is not None:
        yield detail("image_load_error", "Image could not be loaded", path, given=url)
    elif min(shape.width, shape.height) < 300:
        least = {"min_height": 300, "min_width": 300}
        yield detail("image_too_small", "Image is too small", path, given=url, ctx=least)
    elif not 0.4 <= shape.width / shape.height <= 2.5:
        msg = "Image aspect ratio must be between 0.40 and 2.50"
        yield detail("image_aspect_ratio_error", msg, path, given=url)


def _sound_complaints(
    path: list[str | int], url: str, files: Files, now: float
) -> Iterator[dict[str, Any]]:
    if not files.is_ours(url):
        return
    file = files.find(url, now)
    if file is None:
        yield detail("file_download_error", "File could not be downloaded", path, given=url)
    elif not (files.shape(file) or Shape(0, 0)).seconds:
        msg = "Audio format is not supported"
        ctx: dict[str, Any] = {"supported_formats": ["mp3", "wav", "m4a", "aac", "ogg"]}
        yield detail("unsupported_audio_format", msg, path, given=url, ctx=ctx)


def _video_complaints(
    path: list[str | int], url: str, files: Files, now: float, limits: tuple[float, float]
) -> Iterator[dict[str, Any]]:
    if not files.is_ours(url):
        return
    file = files.find(url, now)
    if file is None:
        yield detail("file_download_error", "File could not be downloaded", path, given=url)
        return
    shape = files.shape(file) or Shape(0, 0)
    seconds = shape.seconds
    if seconds is None or not shape.width:
        ctx: dict[str, Any] = {"supported_formats": ["mp4", "mov"]}
        msg = "Video format is not supported"
        yield detail("unsupported_video_format", msg, path, given=url, ctx=ctx)
    elif seconds < limits[0] - 0.05:
        ctx = {"min_duration": limits[0], "provided_duration": seconds}
        yield detail("video_duration_too_short", "Video is too short", path, given=url, ctx=ctx)
    elif seconds > limits[1] + 0.05:
        ctx = {"max_duration": limits[1], "provided_duration": seconds}
        yield detail("video_duration_too_long", "Video is too long", path, given=url, ctx=ctx)


def _shape_at(url: object, files: Files, now: float) -> Shape | None:
    if not isinstance(url, str) or not files.is_ours(url):
        return None
    file = files.find(url, now)
    return None if file is None else files.shape(file)


def _ratio(words: object, source: Shape | None) -> float:
    return min(max(_wanted_ratio(words, source), 0.4), 2.5)


def _wanted_ratio(words: object, source: Shape | None) -> float:
    if isinstance(words, str) and (match := re.fullmatch(r"([1-9]\d?):([1-9]\d?)", words)):
        return int(match[1]) / int(match[2])
    if source is not None and source.width and source.height:
        return source.width / source.height
    return 16 / 9


def _number(value: object, default: float) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) else default
    except (ValueError, OverflowError):
        return default
    return number if math.isfinite(number) else default
