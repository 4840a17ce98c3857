"""Voices of Kling on fal.ai as data: endpoint, parameters, limits, price, and their sources.

Data only. The endpoint makes no file: its answer is the id of a voice, which other jobs take.
"""

from __future__ import annotations

from kling_batch.catalog.endpoint import Endpoint, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerCall

_ID = "fal-ai/kling-video/create-voice"

GENERATION = Generation(
    name="voices",
    doc="Kling voices: a voice taken from a recording, for elements and `voice_ids`.",
    since="2025-12",
    endpoints=(
        Endpoint(
            id=_ID,
            mode="voice",
            tier="pro",
            output="voice",
            value="voice_id",
            doc="A voice, as an id that other jobs name: `voice_id: {job: …}`.",
            parameters=(
                Parameter(
                    name="voice_url",
                    kind="url",
                    media="audio or video",
                    limits=MediaLimits(hard=Bounds(seconds=(5, 30))),
                    required=True,
                    doc="A recording or clip of one clean voice: 5 to 30 s.",
                ),
            ),
            rules=(),
            price=PerCall("0.007"),
            unit_price="0.007",
            source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
            dated="2026-08",
            price_source=f"https://fal.ai/models/{_ID}",
            price_dated="2026-08",
            longest=30,
        ),
    ),
)
