"""Kling O3 on fal.ai as data: endpoints, parameters, limits, prices, and the source of each.

Data only. Nothing may import a data module; everybody asks the registry, which finds it.
"""

from __future__ import annotations

from collections.abc import Iterator

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Generation
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerImage, PerSecond, Rate

_TYPES = "https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts"
_IMAGE_PARAMETERS = (
    common.RESOLUTION,
    common.RESULT_TYPE,
    common.NUM_IMAGES,
    common.SERIES_AMOUNT,
    common.OUTPUT_FORMAT,
    common.SYNC_MODE,
)
_IMAGE_RULES = (
    rules.mentions,
    rules.elements_complete,
    rules.single_or_series,
    rules.kept_in_history,
)
_SHOTS = (common.PROMPT, common.MULTI_PROMPT, common.DURATION)
_CLIP_RULES = (rules.prompt_or_shots, rules.shots_within(3, 15), rules.shots_alone)
_SHOT_RULES = (*_CLIP_RULES, rules.mentions)
_SOURCE_RULES = (rules.mentions, rules.references_with_video, rules.elements_complete)
_FROM_VIDEO = (
    common.PROMPT_NEEDED,
    common.VIDEO_URL,
    common.IMAGE_URLS,
    common.IMAGE_ELEMENTS,
    common.KEEP_AUDIO,
    common.SHOT_TYPE,
)

#: mode → (path below `fal-ai/kling-video/o3/{tier}/`, what it does, parameters, rules).
_VIDEO_MODES = {
    "text-to-video": (
        "text-to-video",
        "A clip from a prompt.",
        (*_SHOTS, common.ASPECT_VIDEO, common.AUDIO, common.SHOT_TYPE),
        _SHOT_RULES,
    ),
    "image-to-video": (
        "image-to-video",
        "A clip that begins with a picture and keeps its aspect ratio.",
        (common.IMAGE_URL, common.END_IMAGE_URL, *_SHOTS, common.AUDIO, common.SHOT_TYPE),
        (*_CLIP_RULES, rules.mentions_of_frames),
    ),
    "reference-to-video": (
        "reference-to-video",
        "A clip with the style, characters and objects of references.",
        (
            *_SHOTS,
            common.START_IMAGE_URL,
            common.END_IMAGE_URL,
            common.IMAGE_URLS,
            common.COMBO_ELEMENTS,
            common.ASPECT_VIDEO,
            common.AUDIO,
            common.SHOT_TYPE,
        ),
        (
            *_SHOT_RULES,
            rules.references_of_clip,
            rules.elements_of_clip,
            rules.end_needs_start,
        ),
    ),
    "edit": (
        "video-to-video/edit",
        "The source clip with changes; as long as the source.",
        _FROM_VIDEO,
        _SOURCE_RULES,
    ),
    "remix": (
        "video-to-video/reference",
        "A new clip in the style of the source clip.",
        (*_FROM_VIDEO, common.ASPECT_REMIX, common.DURATION_OPEN),
        _SOURCE_RULES,
    ),
}

#: US dollars per second by tier: clips from prompts and pictures, silent and with sound, and clips
#: from source clips.
_MADE = {"standard": ("0.084", "0.112"), "pro": ("0.112", "0.14"), "4k": ("0.42", "0.42")}
_FROM_SOURCE = {"standard": "0.126", "pro": "0.168", "4k": "0.42"}
_CLIP_NOTE = "a clip in an element, priced as video-to-video; fal publishes no price for it"


def _price(parameters: tuple[Parameter, ...], tier: str) -> PerSecond:
    if common.VIDEO_URL in parameters:
        return PerSecond((Rate(usd=_FROM_SOURCE[tier]),))
    silent, sound = _MADE[tier]
    rates: tuple[Rate, ...] = (Rate(usd=silent), Rate(usd=sound, sound=True))
    if common.COMBO_ELEMENTS in parameters:
        # The only figures found for it are those of video-to-video (docs/fal-api.md#prices).
        rates += (Rate(usd=_FROM_SOURCE[tier], clip=True, note=_CLIP_NOTE),)
    return PerSecond(rates)


#: US dollars per billable unit by tier (docs/fal-api.md#billing-units): standard and pro are billed
#: in credits of $0.14, a standard silent second being 0.6 of one; 4k is billed by the second.
_UNIT = {"standard": "0.14", "pro": "0.14", "4k": "0.42"}
#: Published on the image-to-video page only: a 5 s clip at each tier.
_TYPICAL = {("image-to-video", "standard"): 94, ("image-to-video", "pro"): 318}


def _video_endpoints() -> Iterator[Endpoint]:
    for mode, (below, doc, parameters, mode_rules) in _VIDEO_MODES.items():
        for tier in _MADE:
            endpoint_id = f"fal-ai/kling-video/o3/{tier}/{below}"
            yield Endpoint(
                id=endpoint_id,
                mode=mode,
                tier=tier,
                output="video",
                doc=doc,
                parameters=parameters,
                rules=mode_rules,
                price=_price(parameters, tier),
                unit_price=_UNIT[tier],
                source=_TYPES,
                dated="2026-08",
                price_source=f"https://fal.ai/models/{endpoint_id}",
                price_dated="2026-10",
                typical_seconds=_TYPICAL.get((mode, tier), 0),
            )


def _image_endpoint(mode: str, doc: str, parameters: tuple[Parameter, ...]) -> Endpoint:
    return Endpoint(
        id=f"fal-ai/kling-image/o3/{mode}",
        mode=mode,
        tier="pro",
        output="image",
        doc=doc,
        parameters=(*parameters, *_IMAGE_PARAMETERS),
        rules=_IMAGE_RULES,
        # Stated by fal for V3; the same for O3, and twice as much for 4K, by others' readings.
        price=PerImage("0.028", {"4K": 2}),
        unit_price="0.028",
        source=_TYPES,
        dated="2026-08",
        price_source="https://fal.ai/models/fal-ai/kling-image/v3/text-to-image/llms.txt",
        price_dated="2026-08",
    )


_ENDPOINTS: tuple[Endpoint, ...] = (
    _image_endpoint(
        "text-to-image",
        "A picture from a prompt.",
        (common.PROMPT_NEEDED, common.ASPECT_IMAGE, common.IMAGE_ELEMENTS),
    ),
    _image_endpoint(
        "image-to-image",
        "A picture from pictures.",
        (
            common.PROMPT_NEEDED,
            common.IMAGE_URLS_NEEDED,
            common.ASPECT_IMAGE_EDIT,
            common.IMAGE_ELEMENTS,
        ),
    ),
    *_video_endpoints(),
)

GENERATION = Generation(
    name="o3",
    doc="Kling O3: clips and pictures from prompts, references and clips.",
    since="2026-02",
    endpoints=_ENDPOINTS,
    default=True,
)
