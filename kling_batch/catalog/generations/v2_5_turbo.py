"""Kling 2.5 Turbo on fal.ai as data: endpoints, parameters, prices, and the source of each.

Data only. fal states no limits of its frames.
"""

from __future__ import annotations

from kling_batch.catalog import common, earlier, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerSecond, Rate
from kling_batch.catalog.rules import Rule

_PAGE, _OTHERS = "https://fal.ai/models/", "https://github.com/camgraphe/MaxVideoAi kling-2-5.ts"


def _clip(
    mode: str, tier: str, usd: str, parameters: tuple[Parameter, ...], *mode_rules: Rule
) -> Endpoint:
    endpoint_id = f"fal-ai/kling-video/v2.5-turbo/{tier}/{mode}"
    begins = mode == "image-to-video"
    return Endpoint(
        id=endpoint_id,
        mode=mode,
        tier=tier,
        output="video",
        doc="A clip that begins with a picture." if begins else "A clip from a prompt.",
        parameters=(*parameters, *earlier.OLD_CLIP, common.CFG_SCALE),
        rules=mode_rules,
        price=PerSecond((Rate(usd=usd),)),
        source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
        dated="2026-08",
        price_source=f"{_PAGE}{endpoint_id}" if tier == "pro" else _OTHERS,
        price_dated="2026-08",
        price_evidence=Evidence.THIRD_PARTIES,
        refused=earlier.NEVER_SOUND,
        longest=10,
    )


GENERATION = Generation(
    name="v2.5-turbo",
    doc="Kling 2.5 Turbo: silent clips of 5 or 10 s from a prompt or frames.",
    since="2025-09",
    endpoints=(
        _clip("text-to-video", "pro", "0.07", (common.ASPECT_VIDEO,), rules.mentions),
        _clip(
            "image-to-video",
            "pro",
            "0.07",
            (earlier.FIRST_FRAME, earlier.TAIL_IMAGE_URL),
            rules.mentions_of_frames,
        ),
        _clip(
            "image-to-video", "standard", "0.042", (earlier.FIRST_FRAME,), rules.mentions_of_frames
        ),
    ),
)
