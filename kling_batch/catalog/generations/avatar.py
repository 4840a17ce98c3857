"""Kling AI Avatar v2 on fal.ai as data: endpoints, parameters, limits, prices, and their sources.

Data only. What fal does not state is a doubt.
"""

from __future__ import annotations

from dataclasses import replace

from kling_batch.catalog import common
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerSecond, Rate

_OTHERS = "other hosts say"
_PARAMETERS = (
    replace(
        common.IMAGE_URL,
        limits=MediaLimits(soft=Bounds(megabytes=10, side=(300, None)), soft_source=_OTHERS),
        doc="Who speaks.",
    ),
    Parameter(
        name="audio_url",
        kind="url",
        media="audio",
        limits=MediaLimits(soft=Bounds(megabytes=5, seconds=(2, 300)), soft_source=_OTHERS),
        required=True,
        doc="What is said; the clip is as long.",
    ),
    replace(common.PROMPT_OPEN, default=".", doc="How it is said."),
)


def _avatar(tier: str, usd: str) -> Endpoint:
    endpoint_id = f"fal-ai/kling-video/ai-avatar/v2/{tier}"
    return Endpoint(
        id=endpoint_id,
        mode="avatar",
        tier=tier,
        output="video",
        doc="A figure that speaks a sound file; as long as the sound.",
        parameters=_PARAMETERS,
        rules=(),
        price=PerSecond((Rate(usd=usd),)),
        source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
        dated="2026-08",
        price_source=f"https://fal.ai/models/{endpoint_id}",
        price_dated="2026-10",
        price_evidence=Evidence.THIRD_PARTIES,
        longest=300,
    )


GENERATION = Generation(
    name="avatar",
    doc="Kling AI Avatar v2: a picture that speaks a sound file.",
    since="2025-12",
    endpoints=(_avatar("standard", "0.0562"), _avatar("pro", "0.115")),
)
