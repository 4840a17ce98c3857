"""Kling 2.6 on fal.ai as data: endpoints, parameters, limits, prices, and the source of each.

Data only. What fal does not state is a doubt.
"""

from __future__ import annotations

from dataclasses import replace

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerSecond, Rate
from kling_batch.catalog.rules import Rule

_TYPES = "https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts"

_VOICES = Parameter(
    name="voice_ids",
    kind="list",
    also=("voice_id",),
    maximum=2,
    item=common.VOICE_ID,
    doc="Voices: <<<voice_1>>> and <<<voice_2>>> in the prompt.",
)
_WITH_VOICE = "with a voice: fal publishes no price for it"
_RATES = (
    Rate(usd="0.07"),
    Rate(usd="0.14", sound=True),
    # The dearest that is known of the maker's own service. `params:` sends a voice to
    # text-to-video, too.
    Rate(usd="0.168", voice=True, note=_WITH_VOICE),
)


def _clip(
    mode: str, doc: str, parameters: tuple[Parameter, ...], mode_rules: tuple[Rule, ...]
) -> Endpoint:
    return Endpoint(
        id=f"fal-ai/kling-video/v2.6/pro/{mode}",
        mode=mode,
        tier="pro",
        output="video",
        doc=doc,
        parameters=(
            common.PROMPT_OPEN_NEEDED,
            *parameters,
            common.FIVE_OR_TEN,
            common.AUDIO_UNLESS_SENT,
            replace(common.NEGATIVE_PROMPT, maximum=None),
        ),
        rules=mode_rules,
        price=PerSecond(_RATES),
        source=_TYPES,
        dated="2026-08",
        price_source="https://github.com/camgraphe/MaxVideoAi kling-2-6.ts",
        price_dated="2026-08",
        price_evidence=Evidence.THIRD_PARTIES,
        longest=10,
    )


def _motion_control(tier: str, usd: str) -> Endpoint:
    endpoint_id = f"fal-ai/kling-video/v2.6/{tier}/motion-control"
    return Endpoint(
        id=endpoint_id,
        mode="motion-control",
        tier=tier,
        output="video",
        doc="A figure that moves as the one in the clip; as long as the clip.",
        parameters=common.MOTION_CONTROL,
        rules=(),
        price=PerSecond((Rate(usd=usd),)),
        source=_TYPES,
        dated="2026-08",
        price_source=f"https://fal.ai/models/{endpoint_id}",
        price_dated="2026-09",
        price_evidence=Evidence.THIRD_PARTIES,
        longest=30,
    )


GENERATION = Generation(
    name="v2.6",
    doc="Kling 2.6: clips of 5 or 10 s with sound and voices, and movement taken from a clip.",
    since="2025-12",
    endpoints=(
        _clip(
            "text-to-video",
            "A clip from a prompt.",
            (common.ASPECT_VIDEO, common.CFG_SCALE),
            (rules.mentions,),
        ),
        _clip(
            "image-to-video",
            "A clip that begins with a picture and keeps its aspect ratio.",
            (common.START_NEEDED, common.END_IMAGE_URL, _VOICES),
            (
                rules.mentions_of_frames,
                rules.doubtful(rules.voices_mentioned),
                rules.doubtful(
                    rules.not_with(
                        "end_image_url",
                        "generate_audio",
                        True,
                        "an end frame goes without sound",
                    )
                ),
            ),
        ),
        _motion_control("standard", "0.07"),
        _motion_control("pro", "0.112"),
    ),
)
