"""Kling 3.0 Turbo on fal.ai as data: endpoints, parameters, limits, prices, and the source of each.

Data only. What fal does not state is a doubt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.pricing import PerSecond, Rate

_FIRST_FRAME = replace(
    common.IMAGE_URL,
    limits=MediaLimits(hard=Bounds(megabytes=50, side=(300, None), ratio=(0.4, 2.5))),
)
_SHOTS = (common.PROMPT_OPEN, common.MULTI_PROMPT, common.DURATION)
_SHOT_RULES = (rules.shots_within(3, 15),)

_MODES = {
    "text-to-video": (
        "A clip from a prompt.",
        (*_SHOTS, common.ASPECT_VIDEO),
        (rules.prompt_or_shots, *_SHOT_RULES, rules.mentions),
    ),
    "image-to-video": (
        "A clip that begins with a picture and keeps its aspect ratio.",
        (_FIRST_FRAME, *_SHOTS),
        (rules.prompt_or_neither, *_SHOT_RULES, rules.mentions_of_frames),
    ),
}


def _endpoints() -> Iterator[Endpoint]:
    for mode, (doc, parameters, mode_rules) in _MODES.items():
        for tier, usd in (("standard", "0.112"), ("pro", "0.14")):
            endpoint_id = f"fal-ai/kling-video/v3/turbo/{tier}/{mode}"
            yield Endpoint(
                id=endpoint_id,
                mode=mode,
                tier=tier,
                output="video",
                doc=doc,
                parameters=parameters,
                rules=mode_rules,
                price=PerSecond((Rate(usd=usd),)),
                source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
                dated="2026-08",
                price_source=f"https://fal.ai/models/{endpoint_id}",
                price_dated="2026-07",
                price_evidence=Evidence.THIRD_PARTIES,
                refused={
                    "generate_audio": "it has no switch for sound; clips were seen to have it"
                },
            )


GENERATION = Generation(
    name="v3-turbo",
    doc="Kling 3.0 Turbo: clips from a prompt or a first frame, and nothing else.",
    since="2026-06",
    endpoints=tuple(_endpoints()),
)
