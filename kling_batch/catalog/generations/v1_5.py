"""Kling 1.5 on fal.ai as data: endpoints, parameters, prices, and the source of each.

Data only. No price of it is published.
"""

from __future__ import annotations

from kling_batch.catalog import common, earlier, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.rules import Rule


def _clip(mode: str, doc: str, parameters: tuple[Parameter, ...], rule: Rule) -> Endpoint:
    endpoint_id = f"fal-ai/kling-video/v1.5/pro/{mode}"
    return Endpoint(
        id=endpoint_id,
        mode=mode,
        tier="pro",
        output="video",
        doc=doc,
        parameters=(*parameters, common.ASPECT_VIDEO, *earlier.OLD_CLIP, common.CFG_SCALE),
        rules=(rule,),
        price=None,
        source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
        dated="2026-08",
        price_source=f"https://fal.ai/models/{endpoint_id}",
        price_dated="2026-08",
        price_evidence=Evidence.INFERRED,
        refused=earlier.NEVER_SOUND,
        longest=10,
        typical_seconds=360,
    )


GENERATION = Generation(
    name="v1.5",
    doc="Kling 1.5: silent clips of 5 or 10 s from a prompt or frames; no price is published.",
    since="2024",
    endpoints=(
        _clip("text-to-video", "A clip from a prompt.", (), rules.mentions),
        _clip(
            "image-to-video",
            "A clip that begins with a picture, parts of which may be moved.",
            (earlier.FIRST_FRAME, earlier.TAIL_IMAGE_URL, *earlier.MASKS),
            rules.mentions_of_frames,
        ),
    ),
)
