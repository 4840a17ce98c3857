"""Endpoints of the emulated platform: their types, and Kling O3 as data.

Written from docs/fal-api.md, not from the client's catalogue, so that each checks the other. The
other model families are in `families.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

FieldKind = Literal[
    "text",
    "texts",
    "url",
    "urls",
    "enum",
    "bool",
    "int",
    "float",
    "shots",
    "elements",
    "object",
    "objects",
]
Sound = Literal["asked", "kept", "always", "never"]
Media = Literal["image", "video", "audio", "voice", "other"]

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
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What a render costs, in millionths of a dollar, and the size of a billing unit."""

    unit: str = "second"
    unit_micro_usd: int
    second: int = 0
    #: A second with sound, with a voice, and with a clip among references or elements; 0: the same.
    sound: int = 0
    voice: int = 0
    clip: int = 0
    #: By resolution: a second, and one with a clip, of which input counts, too.
    resolutions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    image: int = 0
    call: int = 0
    #: Not the output is billed, but the source clip, in started blocks of so many seconds.
    block: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint of the catalogue, or a generic one for an id that is not in it."""

    id: str
    media: Media
    speed: str  # the key into Settings.service_times
    tier: str = "standard"
    operation: str = ""
    fields: Mapping[str, Field] = field(default_factory=dict)
    tariff: Tariff
    known: bool = True
    references: int | None = None  # maximum of elements and image_urls together
    both_prompts: bool = False  # prompt and multi_prompt may be given together
    views: bool = False  # an element without a clip needs two views
    shots: int = 15  # seconds of all shots together
    clips: tuple[float, float] = (3.0, 15.0)  # seconds of an input clip
    sound: Sound = "asked"
    sound_field: str = "generate_audio"
    sound_default: bool = False


_PROMPT = Field("text", required=True, high=PROMPT_LIMIT)
_PROMPT_OR_SHOTS: Mapping[str, Field] = {
    "prompt": Field("text", high=PROMPT_LIMIT),
    "multi_prompt": Field("shots", allowed=SHOT_DURATIONS),
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


#: Standard and pro video are billed in units of $0.14, whatever price per second the page shows.
_O3: Mapping[str, Tariff] = {
    "standard": Tariff(unit_micro_usd=140_000, second=84_000, sound=112_000, clip=126_000),
    "pro": Tariff(unit_micro_usd=140_000, second=112_000, sound=140_000, clip=168_000),
    "4k": Tariff(unit_micro_usd=420_000, second=420_000),
}
_O3_EDITS: Mapping[str, Tariff] = {
    "standard": Tariff(unit_micro_usd=140_000, second=126_000),
    "pro": Tariff(unit_micro_usd=140_000, second=168_000),
    "4k": Tariff(unit_micro_usd=420_000, second=420_000),
}
PER_IMAGE = Tariff(unit="image", unit_micro_usd=28_000, image=28_000)


def _video(tier: str, operation: str) -> Endpoint:
    edits = operation.startswith("video-to-video")
    return Endpoint(
        id=f"fal-ai/kling-video/o3/{tier}/{operation}",
        media="video",
        speed="edit" if edits else tier,
        tier=tier,
        operation=operation,
        fields=_VIDEO_OPERATIONS[operation],
        tariff=(_O3_EDITS if edits else _O3)[tier],
        references=4 if edits else 7,
        views=operation == "reference-to-video",
        sound="kept" if edits else "asked",
        sound_field="keep_audio" if edits else "generate_audio",
        sound_default=edits,
    )


def _image(operation: str, extra: Mapping[str, Field]) -> Endpoint:
    return Endpoint(
        id=f"fal-ai/kling-image/o3/{operation}",
        media="image",
        speed="image",
        tier="pro",
        operation=operation,
        fields={**_IMAGE, **extra},
        tariff=PER_IMAGE,
    )


def _catalogue() -> dict[str, Endpoint]:
    videos = [
        _video(tier, operation)
        for tier in ("standard", "pro", "4k")
        for operation in _VIDEO_OPERATIONS
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
        tariff=Tariff(unit="request", unit_micro_usd=7_000, call=7_000),
    )
    return {each.id: each for each in (*images, *videos, voice)}


O3: Mapping[str, Endpoint] = _catalogue()


def is_on(value: object) -> bool:
    """Whether a flag of an input is true, with the runner's leniency."""
    return value in (1, "1", "true")


def makes_sound(endpoint: Endpoint, payload: Mapping[str, Any]) -> bool:
    """Whether the clip of this input has sound."""
    if endpoint.sound in ("always", "never"):
        return endpoint.sound == "always"
    given = payload.get(endpoint.sound_field)
    return endpoint.sound_default if given is None else is_on(given)


def app_of(endpoint_id: str) -> str:
    """Owner and app: the part of the id in request URLs (docs/fal-api.md#request-urls)."""
    return "/".join(endpoint_id.split("/")[:2])
