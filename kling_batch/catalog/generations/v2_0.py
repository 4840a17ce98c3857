"""Kling 2.0 on fal.ai as data: endpoints, parameters, prices, and the source of each.

Data only. It has one tier, master.
"""

from __future__ import annotations

from kling_batch.catalog import common, earlier, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerSecond, Rate
from kling_batch.catalog.rules import Rule


def _clip(mode: str, doc: str, parameter: Parameter, rule: Rule) -> Endpoint:
    endpoint_id = f"fal-ai/kling-video/v2/master/{mode}"
    return Endpoint(
        id=endpoint_id,
        mode=mode,
        tier="master",
        output="video",
        doc=doc,
        parameters=(parameter, *earlier.OLD_CLIP, common.CFG_SCALE),
        rules=(rule,),
        price=PerSecond((Rate(usd="0.28"),)),
        source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
        dated="2026-08",
        price_source=f"https://fal.ai/models/{endpoint_id}",
        price_dated="2026-08",
        price_evidence=Evidence.THIRD_PARTIES,
        refused=earlier.NEVER_SOUND,
        longest=10,
        typical_seconds=300,
    )


GENERATION = Generation(
    name="v2.0",
    doc="Kling 2.0: silent clips of 5 or 10 s from a prompt or a first frame.",
    since="2025-04",
    endpoints=(
        _clip("text-to-video", "A clip from a prompt.", common.ASPECT_VIDEO, rules.mentions),
        _clip(
            "image-to-video",
            "A clip that begins with a picture.",
            earlier.FIRST_FRAME,
            rules.mentions_of_frames,
        ),
    ),
)
