"""Kling Lipsync on fal.ai as data: endpoints, parameters, limits, prices, and their sources.

Data only. The price counts the source clip, in started blocks of five seconds.
"""

from __future__ import annotations

from dataclasses import replace

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import Counted, PerSecond, Rate
from kling_batch.catalog.rules import Rule

_TEXT = Parameter(
    name="text", kind="text", maximum=120, required=True, doc="What is said: 120 characters."
)
_LANGUAGE = Parameter(
    name="voice_language",
    kind="choice",
    choices=("zh", "en"),
    default="en",
    doc="The language of the text.",
)


def _source(longest: int) -> Parameter:
    bounds = Bounds(megabytes=100, side=(720, 1920), seconds=(2, longest))
    return Parameter(
        name="video_url",
        kind="url",
        also=("video_urls",),
        media="video",
        limits=MediaLimits(hard=bounds),
        required=True,
        doc=f"Who speaks: mp4 or mov, 2 to {longest} s, at most 100 MB.",
    )


_SOUND = Parameter(
    name="audio_url",
    kind="url",
    media="audio",
    limits=MediaLimits(hard=Bounds(megabytes=5, seconds=(2, 60))),
    required=True,
    doc="What is said: 2 to 60 s, at most 5 MB.",
)


def _endpoint(
    mode: str, below: str, doc: str, parameters: tuple[Parameter, ...], *more: Rule
) -> Endpoint:
    endpoint_id = f"fal-ai/kling-video/lipsync/{below}"
    return Endpoint(
        id=endpoint_id,
        mode=mode,
        tier="pro",
        output="video",
        doc=doc,
        parameters=parameters,
        rules=more,
        price=PerSecond((Rate(usd="0.014", counted=Counted.INPUT, block=5),)),
        source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
        dated="2026-08",
        price_source=f"https://fal.ai/models/{endpoint_id}",
        price_dated="2026-10",
        price_evidence=Evidence.THIRD_PARTIES,
        longest=60,
        typical_seconds=720,
    )


GENERATION = Generation(
    name="lipsync",
    doc="Kling Lipsync: a clip whose figure speaks a sound file or a text.",
    since="2025-03",
    endpoints=(
        _endpoint(
            "lipsync",
            "audio-to-video",
            "The source clip, its figure speaking a sound file.",
            (_source(10), _SOUND),
        ),
        _endpoint(
            "dub-text",
            "text-to-video",
            "The source clip, its figure speaking a text.",
            (
                _source(60),
                _TEXT,
                replace(common.PRESET_VOICE, required=True),
                _LANGUAGE,
                common.VOICE_SPEED,
            ),
            rules.doubtful(
                rules.not_among("voice_id", common.VOICES_NOT_FOUND, "fal answers: voice not found")
            ),
        ),
    ),
)
