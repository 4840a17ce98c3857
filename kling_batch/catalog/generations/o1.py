"""Kling O1 on fal.ai as data: endpoints, parameters, limits, prices, and the source of each.

Data only. Its pro tier has no segment in the id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerImage, PerSecond, Rate

_TYPES = "https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts"
_OTHERS = "https://github.com/Comfy-Org/docs/pull/971"

_PICTURE = MediaLimits(hard=Bounds(megabytes=10, side=(300, None), ratio=(0.4, 2.5)))
_CLIP = MediaLimits(
    hard=Bounds(megabytes=200, side=(720, 2160), seconds=(3, 10)),
    soft=Bounds(fps=(24, 60)),
    soft_source="fal's page says",
)
_ELEMENTS = replace(
    common.IMAGE_ELEMENTS,
    item=Parameter(
        name="element",
        kind="object",
        doc="One character or object, in pictures.",
        fields=(
            Parameter(
                name="frontal_image_url",
                kind="url",
                media="image",
                limits=_PICTURE,
                required=True,
                doc="Main view of the element.",
            ),
            common.urls("reference_image_urls", "Further views, 1 to 3.", most=3, required=True),
        ),
    ),
)
_DURATION = replace(
    common.DURATION, choices=common.numbers(3, 10), doc="Seconds of video, 3 to 10."
)
_SOURCE = (
    common.PROMPT_OPEN_NEEDED,
    replace(
        common.VIDEO_URL,
        limits=_CLIP,
        doc="The source clip, @Video1 in the prompt: mp4 or mov, 3 to 10 s, at most 200 MB.",
    ),
    common.IMAGE_URLS,
    _ELEMENTS,
    # fal's own default is false here.
    replace(common.KEEP_AUDIO, fal_default=False),
)
_SOURCE_RULES = (rules.mentions, rules.at_most(4, "elements", "image_urls"))

#: mode → (end of the id, what it does, parameters, rules).
_MODES = {
    "image-to-video": (
        "image-to-video",
        "A clip that begins with a picture.",
        (
            common.PROMPT_OPEN_NEEDED,
            replace(common.START_NEEDED, limits=_PICTURE),
            replace(common.END_IMAGE_URL, limits=_PICTURE),
            _DURATION,
        ),
        (rules.mentions_through(Image=("start_image_url", "end_image_url")),),
    ),
    "reference-to-video": (
        "reference-to-video",
        "A clip with the style, characters and objects of references.",
        (
            common.PROMPT_OPEN_NEEDED,
            common.IMAGE_URLS,
            _ELEMENTS,
            _DURATION,
            common.ASPECT_VIDEO,
        ),
        (rules.mentions, rules.at_most(7, "elements", "image_urls")),
    ),
    "edit": (
        "video-to-video/edit",
        "The source clip with changes; as long as the source.",
        _SOURCE,
        _SOURCE_RULES,
    ),
    "remix": (
        "video-to-video/reference",
        "A new clip in the style of the source clip.",
        (*_SOURCE, common.ASPECT_REMIX, _DURATION),
        _SOURCE_RULES,
    ),
}
_NO_SOUND = {"generate_audio": "it never makes sound"}


def _clips() -> Iterator[Endpoint]:
    for mode, (end, doc, parameters, mode_rules) in _MODES.items():
        made = mode in ("image-to-video", "reference-to-video")
        prices = ("0.084", "0.112") if made else ("0.126", "0.168")
        for tier, segment, usd in zip(("standard", "pro"), ("standard/", ""), prices, strict=True):
            endpoint_id = f"fal-ai/kling-video/o1/{segment}{end}"
            yield Endpoint(
                id=endpoint_id,
                mode=mode,
                tier=tier,
                output="video",
                doc=doc,
                parameters=parameters,
                rules=mode_rules,
                price=PerSecond((Rate(usd=usd),)),
                source=_TYPES,
                dated="2026-08",
                price_source=f"https://fal.ai/models/{endpoint_id}" if tier == "pro" else _OTHERS,
                price_dated="2025-12",
                price_evidence=Evidence.THIRD_PARTIES,
                refused=_NO_SOUND,
                longest=10,
            )


_PICTURES = Endpoint(
    id="fal-ai/kling-image/o1",
    mode="image-to-image",
    tier="pro",
    output="image",
    doc="A picture from pictures.",
    parameters=(
        common.PROMPT_NEEDED,
        common.IMAGE_URLS_NEEDED,
        common.ASPECT_IMAGE_EDIT,
        common.IMAGE_ELEMENTS,
        common.RESOLUTION_2K,
        common.NUM_IMAGES,
        common.OUTPUT_FORMAT,
        common.SYNC_MODE,
    ),
    rules=(
        rules.mentions,
        rules.elements_complete,
        rules.at_most(10, "elements", "image_urls"),
        rules.kept_in_history,
    ),
    price=PerImage("0.028"),
    source=_TYPES,
    dated="2026-08",
    price_source="https://fal.ai/models/fal-ai/kling-image/o1",
    price_dated="2026-08",
    price_evidence=Evidence.THIRD_PARTIES,
)

GENERATION = Generation(
    name="o1",
    doc="Kling O1: clips and pictures from references and clips, without sound.",
    since="2025-12",
    endpoints=(*_clips(), _PICTURES),
)
