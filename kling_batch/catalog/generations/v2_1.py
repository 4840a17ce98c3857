"""Kling 2.1 on fal.ai as data: endpoints, parameters, prices, and the source of each.

Data only. Its dearest tier is called master.
"""

from __future__ import annotations

from kling_batch.catalog import common, earlier, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerSecond, Rate

#: tier → US dollars a second, who says so, and when.
_PRICES = {
    "standard": ("0.056", Evidence.THIRD_PARTIES, "2026-08"),
    "pro": ("0.098", Evidence.FAL, "2026-02"),
    "master": ("0.28", Evidence.THIRD_PARTIES, "2026-08"),
}


def _clip(mode: str, tier: str, parameters: tuple[Parameter, ...]) -> Endpoint:
    endpoint_id = f"fal-ai/kling-video/v2.1/{tier}/{mode}"
    usd, evidence, dated = _PRICES[tier]
    begins = mode == "image-to-video"
    return Endpoint(
        id=endpoint_id,
        mode=mode,
        tier=tier,
        output="video",
        doc="A clip that begins with a picture." if begins else "A clip from a prompt.",
        parameters=(*parameters, *earlier.OLD_CLIP, common.CFG_SCALE),
        rules=(rules.mentions_of_frames if begins else rules.mentions,),
        price=PerSecond((Rate(usd=usd),)),
        unit_price="0.28" if tier == "master" else "",
        source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
        dated="2026-08",
        price_source=f"https://fal.ai/models/{endpoint_id}",
        price_dated=dated,
        price_evidence=evidence,
        refused=earlier.NEVER_SOUND,
        longest=10,
        typical_seconds=0 if tier == "standard" else 300,
    )


GENERATION = Generation(
    name="v2.1",
    doc="Kling 2.1: silent clips of 5 or 10 s from frames; the master tier also from a prompt.",
    since="2025-05",
    endpoints=(
        _clip("text-to-video", "master", (common.ASPECT_VIDEO,)),
        _clip("image-to-video", "standard", (earlier.FIRST_FRAME,)),
        _clip("image-to-video", "pro", (earlier.FIRST_FRAME, earlier.TAIL_IMAGE_URL)),
        _clip("image-to-video", "master", (earlier.FIRST_FRAME,)),
    ),
)
