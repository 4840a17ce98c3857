"""Kling 1.6 on fal.ai as data: endpoints, parameters, prices, and the source of each.

Data only. fal publishes no price of most of it: those of Kling 2.1 are inferred.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kling_batch.catalog import common, earlier, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerSecond, Rate
from kling_batch.catalog.rules import Rule

_INFERRED = "inferred from the next generation: fal publishes no price"
_PRICES = {"standard": "0.056", "pro": "0.098"}
_IMAGES = replace(
    common.urls("input_image_urls", "One to four pictures to make a clip of.", most=4),
    required=True,
    also=("image_urls",),
)


def _clip(
    mode: str, tier: str, doc: str, parameters: tuple[Parameter, ...], *mode_rules: Rule
) -> Endpoint:
    below = "elements" if mode == "reference-to-video" else mode
    endpoint_id = f"fal-ai/kling-video/v1.6/{tier}/{below}"
    billed = below == "elements" and tier == "pro"
    return Endpoint(
        id=endpoint_id,
        mode=mode,
        tier=tier,
        output="video",
        doc=doc,
        parameters=parameters,
        rules=mode_rules,
        price=PerSecond((Rate(usd=_PRICES[tier], note="" if billed else _INFERRED),)),
        source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
        dated="2026-08",
        price_source=f"https://fal.ai/models/{endpoint_id}",
        price_dated="2026-08",
        price_evidence=Evidence.THIRD_PARTIES if billed else Evidence.INFERRED,
        refused=earlier.NEVER_SOUND,
        longest=10,
        typical_seconds=360,
    )


def _endpoints() -> Iterator[Endpoint]:
    for tier in ("standard", "pro"):
        yield _clip(
            "text-to-video",
            tier,
            "A clip from a prompt.",
            (common.ASPECT_VIDEO, *earlier.OLD_CLIP, common.CFG_SCALE),
            rules.mentions,
        )
        frames: tuple[Parameter, ...] = (earlier.FIRST_FRAME,)
        if tier == "pro":
            frames = (*frames, earlier.TAIL_IMAGE_URL, common.ASPECT_VIDEO)
        yield _clip(
            "image-to-video",
            tier,
            "A clip that begins with a picture.",
            (*frames, *earlier.OLD_CLIP, common.CFG_SCALE),
            rules.mentions_of_frames,
        )
        yield _clip(
            "reference-to-video",
            tier,
            "A clip with the characters and objects of pictures.",
            (_IMAGES, common.ASPECT_VIDEO, *earlier.OLD_CLIP),
        )


GENERATION = Generation(
    name="v1.6",
    doc="Kling 1.6: silent clips of 5 or 10 s from a prompt, frames or pictures.",
    since="2025",
    endpoints=tuple(_endpoints()),
)
