"""Kling 3.0 on fal.ai as data: endpoints, parameters, limits, prices, and the source of each.

Data only. Rules that are only reported of fal are doubts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerImage, PerSecond, Rate
from kling_batch.catalog.rules import Rule

_TYPES = "https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts"
_AUDIT = "https://github.com/camgraphe/MaxVideoAi kling-v3-4k-pricing-audit.md"

#: fal's schema states no limits of the frames.
_FRAME = MediaLimits(
    soft=Bounds(megabytes=50, side=(300, None), ratio=(0.4, 2.5)),
    soft_source="pages of similar endpoints say",
)
_SHOTS = (common.PROMPT_OPEN, common.MULTI_PROMPT, common.DURATION)
_STYLE = (common.AUDIO_UNLESS_SENT, common.SHOT_TYPE, common.NEGATIVE_PROMPT, common.CFG_SCALE)
_CLIP_RULES = (rules.prompt_or_shots, rules.shots_within(3, 15), rules.shots_alone)

_MODES = {
    "text-to-video": (
        "A clip from a prompt.",
        (*_SHOTS, common.ASPECT_VIDEO, *_STYLE),
        (*_CLIP_RULES, rules.mentions),
    ),
    "image-to-video": (
        "A clip that begins with a picture and keeps its aspect ratio.",
        (
            replace(common.START_NEEDED, limits=_FRAME),
            replace(common.END_IMAGE_URL, limits=_FRAME),
            *_SHOTS,
            common.COMBO_ELEMENTS,
            *_STYLE,
        ),
        (
            *_CLIP_RULES,
            rules.mentions_of_frames,
            rules.doubtful(rules.elements_of_clip),
            rules.doubtful(rules.one_clip),
        ),
    ),
}

#: US dollars per second by tier: silent, with sound, with a voice. Prices from the launch in
#: February 2026, twice as high, are still about.
_RATES = {
    "standard": ("0.084", "0.126", "0.154"),
    "pro": ("0.112", "0.168", "0.196"),
    "4k": ("0.42", "0.42", "0.42"),
}
_UNKNOWN_VOICE = "with a voice, which this endpoint is not known to take"
_UNIT = {"standard": "0.14", "pro": "0.14", "4k": "0.42"}
#: Measured by others, for a silent clip of 5 s.
_TYPICAL = {"standard": 52, "pro": 105, "4k": 94}


def _price(parameters: tuple[Parameter, ...], tier: str) -> PerSecond:
    silent, sound, voice = _RATES[tier]
    rates: tuple[Rate, ...] = (Rate(usd=silent), Rate(usd=sound, sound=True))
    # A voice is said to cost without sound, too.
    if common.COMBO_ELEMENTS in parameters:
        rates += (Rate(usd=voice, voice=True),)
    elif voice != sound:
        # `params:` sends one here, too.
        rates += (Rate(usd=voice, voice=True, note=_UNKNOWN_VOICE),)
    return PerSecond(rates)


def _clips() -> Iterator[Endpoint]:
    for mode, (doc, parameters, mode_rules) in _MODES.items():
        for tier in _RATES:
            endpoint_id = f"fal-ai/kling-video/v3/{tier}/{mode}"
            page = f"https://fal.ai/models/{endpoint_id}/llms.txt"
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
                price_source=page if tier == "4k" else _AUDIT,
                price_dated="2026-10",
                price_evidence=Evidence.FAL if tier == "4k" else Evidence.THIRD_PARTIES,
                typical_seconds=_TYPICAL[tier],
            )


#: By the picture's own rules at most one element, and only where the figure faces as in the clip.
_ONE_ELEMENT = replace(common.IMAGE_ELEMENTS, maximum=1, doc="The figure, in pictures: @Element1.")


def _motion_control(tier: str, usd: str, typical: int) -> Endpoint:
    return Endpoint(
        id=f"fal-ai/kling-video/v3/{tier}/motion-control",
        mode="motion-control",
        tier=tier,
        output="video",
        doc="A figure that moves as the one in the clip; as long as the clip.",
        parameters=(*common.MOTION_CONTROL, _ONE_ELEMENT),
        rules=(
            rules.mentions,
            rules.elements_complete,
            rules.only_with("elements", "character_orientation", "video", "or leave them out"),
        ),
        price=PerSecond((Rate(usd=usd),)),
        source=_TYPES,
        dated="2026-08",
        price_source=f"https://fal.ai/models/fal-ai/kling-video/v3/{tier}/motion-control",
        price_dated="2026-09",
        price_evidence=Evidence.THIRD_PARTIES,
        longest=30,
        typical_seconds=typical,
    )


def _image(
    mode: str, doc: str, parameters: tuple[Parameter, ...], mentions: Rule = rules.mentions
) -> Endpoint:
    return Endpoint(
        id=f"fal-ai/kling-image/v3/{mode}",
        mode=mode,
        tier="pro",
        output="image",
        doc=doc,
        parameters=(
            common.PROMPT_NEEDED,
            *parameters,
            common.ASPECT_IMAGE,
            common.IMAGE_ELEMENTS,
            common.RESOLUTION_2K,
            common.NUM_IMAGES,
            common.OUTPUT_FORMAT,
            common.SYNC_MODE,
        ),
        rules=(mentions, rules.elements_complete, rules.kept_in_history),
        price=PerImage("0.028"),
        source=_TYPES,
        dated="2026-08",
        price_source="https://fal.ai/models/fal-ai/kling-image/v3/text-to-image/llms.txt",
        price_dated="2026-08",
    )


_SOURCE = replace(
    common.IMAGE_URL,
    also=("start_image_url", "image_urls", *common.PICTURES_ALSO),
    limits=MediaLimits(hard=Bounds(megabytes=10, side=(300, None), ratio=(0.4, 2.5))),
    doc="The source image.",
)

GENERATION = Generation(
    name="v3",
    doc="Kling 3.0: clips with sound, movement taken from a clip, and pictures.",
    since="2026-02",
    endpoints=(
        *_clips(),
        _motion_control("standard", "0.126", 0),
        _motion_control("pro", "0.168", 167),
        _image(
            "text-to-image",
            "A picture from a prompt.",
            (replace(common.NEGATIVE_PROMPT, default=None),),
        ),
        _image(
            "image-to-image",
            "A picture from a picture.",
            (_SOURCE,),
            rules.doubtful(rules.mentions_through(Image=("image_url",))),
        ),
    ),
)
