"""Endpoints of the emulated platform and the input fields of each, as data.

Written from docs/fal-api.md, not from the client's catalogue, so that each checks the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FieldKind = Literal["text", "url", "urls", "enum", "bool", "int", "shots", "elements"]
Media = Literal["image", "video", "voice", "other"]

PROMPT_LIMIT = 2500
SHOT_LIMIT = 512
DURATIONS = tuple(str(seconds) for seconds in range(3, 16))
SHOT_DURATIONS = tuple(str(seconds) for seconds in range(1, 16))
VIDEO_RATIOS = ("16:9", "9:16", "1:1")
IMAGE_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")


@dataclass(frozen=True, slots=True)
class Field:
    """One input field: its kind and the limits of that kind."""

    kind: FieldKind
    required: bool = False
    allowed: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint of the catalogue, or a generic one for an id that is not in it."""

    id: str
    media: Media
    speed: str  # the key into Settings.service_times
    tier: str = "standard"
    operation: str = ""
    fields: Mapping[str, Field] = field(default_factory=dict)
    known: bool = True
    references: int | None = None  # maximum of elements and image_urls together


_PROMPT = Field("text", required=True, high=PROMPT_LIMIT)
_PROMPT_OR_SHOTS: Mapping[str, Field] = {
    "prompt": Field("text", high=PROMPT_LIMIT),
    "multi_prompt": Field("shots"),
}
_SHOOTING: Mapping[str, Field] = {
    "duration": Field("enum", allowed=DURATIONS),
    "generate_audio": Field("bool"),
    "shot_type": Field("enum", allowed=("customize", "intelligent")),
}
_REFERENCES: Mapping[str, Field] = {"image_urls": Field("urls"), "elements": Field("elements")}
_EDIT: Mapping[str, Field] = {
    "prompt": _PROMPT,
    "video_url": Field("url", required=True),
    **_REFERENCES,
    "keep_audio": Field("bool"),
    "shot_type": Field("text"),
}
_VIDEO_OPERATIONS: Mapping[str, Mapping[str, Field]] = {
    "text-to-video": {
        **_PROMPT_OR_SHOTS,
        **_SHOOTING,
        "aspect_ratio": Field("enum", allowed=VIDEO_RATIOS),
    },
    "image-to-video": {
        "image_url": Field("url", required=True),
        "end_image_url": Field("url"),
        **_PROMPT_OR_SHOTS,
        **_SHOOTING,
    },
    "reference-to-video": {
        **_PROMPT_OR_SHOTS,
        "start_image_url": Field("url"),
        "end_image_url": Field("url"),
        **_REFERENCES,
        **_SHOOTING,
        "aspect_ratio": Field("enum", allowed=VIDEO_RATIOS),
    },
    "video-to-video/edit": _EDIT,
    "video-to-video/reference": {
        **_EDIT,
        "aspect_ratio": Field("enum", allowed=("auto", *VIDEO_RATIOS)),
        "duration": Field("enum", allowed=DURATIONS),
    },
}
_IMAGE: Mapping[str, Field] = {
    "prompt": _PROMPT,
    "resolution": Field("enum", allowed=("1K", "2K", "4K")),
    "result_type": Field("enum", allowed=("single", "series")),
    "num_images": Field("int", low=1, high=9),
    "series_amount": Field("int", low=2, high=9),
    "elements": Field("elements"),
    "output_format": Field("enum", allowed=("jpeg", "png", "webp")),
    "sync_mode": Field("bool"),
}


def _video(tier: str, operation: str) -> Endpoint:
    edits = operation.startswith("video-to-video")
    return Endpoint(
        id=f"fal-ai/kling-video/o3/{tier}/{operation}",
        media="video",
        speed="edit" if edits else tier,
        tier=tier,
        operation=operation,
        fields=_VIDEO_OPERATIONS[operation],
        references=4 if edits else 7,
    )


def _image(operation: str, extra: Mapping[str, Field]) -> Endpoint:
    return Endpoint(
        id=f"fal-ai/kling-image/o3/{operation}",
        media="image",
        speed="image",
        tier="pro",
        operation=operation,
        fields={**_IMAGE, **extra},
    )


def _catalogue() -> dict[str, Endpoint]:
    videos = [
        _video(tier, operation)
        for tier in ("standard", "pro", "4k")
        for operation in _VIDEO_OPERATIONS
        if tier != "4k" or not operation.startswith("video-to-video")
    ]
    images = [
        _image("text-to-image", {"aspect_ratio": Field("enum", allowed=IMAGE_RATIOS)}),
        _image(
            "image-to-image",
            {
                "aspect_ratio": Field("enum", allowed=("auto", *IMAGE_RATIOS)),
                "image_urls": Field("urls", required=True, high=10),
            },
        ),
    ]
    voice = Endpoint(
        id="fal-ai/kling-video/create-voice",
        media="voice",
        speed="voice",
        operation="create-voice",
        fields={"voice_url": Field("url", required=True)},
    )
    return {each.id: each for each in (*images, *videos, voice)}


CATALOGUE: Mapping[str, Endpoint] = _catalogue()


def endpoint_for(endpoint_id: str, extra: tuple[str, ...] = ()) -> Endpoint | None:
    """Endpoint of this id: a generic one for other models, None if fal has no such app.

    Below the two O3 families only the listed ids exist, so that a misspelt one is refused.
    """
    if found := CATALOGUE.get(endpoint_id):
        return found
    if endpoint_id not in extra:
        o3 = endpoint_id.startswith(("fal-ai/kling-video/o3", "fal-ai/kling-image/o3"))
        if o3 or not endpoint_id.startswith("fal-ai/"):
            return None
    return _loose(endpoint_id)


def _loose(endpoint_id: str) -> Endpoint:
    media: Media = "other"
    if "video" in endpoint_id:
        media = "video"
    elif "image" in endpoint_id or "flux" in endpoint_id:
        media = "image"
    speed = "standard" if media == "video" else "image"
    return Endpoint(id=endpoint_id, media=media, speed=speed, known=False)


def is_on(value: object) -> bool:
    """Whether a flag of an input is true, with the runner's leniency."""
    return value in (1, "1", "true")


def app_of(endpoint_id: str) -> str:
    """Owner and app: the part of the id in request URLs (docs/fal-api.md#request-urls)."""
    return "/".join(endpoint_id.split("/")[:2])
