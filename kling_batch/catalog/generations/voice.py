"""Voices, speech and sound of Kling on fal.ai as data: endpoints, limits, prices, their sources.

Data only. `voice` makes no file: its answer is the id of a voice, which other jobs take.
"""

from __future__ import annotations

from dataclasses import replace

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerCall

_ID = "fal-ai/kling-video/create-voice"
_SPEECH = "fal-ai/kling-video/v1/tts"
_SOUND = "fal-ai/kling-video/video-to-audio"
_TYPES = "https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts"


def _wish(name: str, doc: str) -> Parameter:
    """What is to be heard. It must be said: fal's own default is a car race."""
    return Parameter(name=name, kind="text", maximum=200, required=True, insisted=True, doc=doc)


GENERATION = Generation(
    name="voices",
    doc="Kling voices: a voice taken from a recording, speech from a text, sound for a clip.",
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
            source=_TYPES,
            dated="2026-08",
            price_source=f"https://fal.ai/models/{_ID}",
            price_dated="2026-08",
            longest=30,
        ),
        Endpoint(
            id=_SPEECH,
            mode="speech",
            tier="pro",
            output="audio",
            doc="A text, spoken; a sound file.",
            parameters=(
                Parameter(name="text", kind="text", required=True, doc="What is said."),
                replace(common.PRESET_VOICE, default="genshin_vindi2"),
                common.VOICE_SPEED,
            ),
            rules=(
                rules.doubtful(
                    rules.not_among(
                        "voice_id", common.VOICES_NOT_FOUND, "fal answers: voice not found"
                    )
                ),
            ),
            price=None,
            source=_TYPES,
            dated="2026-08",
            price_source=f"https://fal.ai/models/{_SPEECH}",
            price_dated="2026-08",
            price_evidence=Evidence.INFERRED,
            typical_seconds=8,
        ),
        Endpoint(
            id=_SOUND,
            mode="sound",
            tier="pro",
            output="video",
            doc="A clip with sound made for it, and the sound as a file of its own.",
            parameters=(
                Parameter(
                    name="video_url",
                    kind="url",
                    also=("video_urls",),
                    media="video",
                    limits=MediaLimits(hard=Bounds(megabytes=100, seconds=(3, 20))),
                    required=True,
                    doc="The clip: mp4 or mov, 3 to 20 s, at most 100 MB.",
                ),
                _wish("sound_effect_prompt", "The noises: at most 200 characters."),
                _wish("background_music_prompt", "The music: at most 200 characters."),
                Parameter(
                    name="asmr_mode",
                    kind="flag",
                    default=False,
                    doc="Noises close to the ear.",
                ),
            ),
            rules=(),
            price=PerCall("0.035"),
            source=_TYPES,
            dated="2026-08",
            price_source=f"https://fal.ai/models/{_SOUND}",
            price_dated="2026-08",
            price_evidence=Evidence.THIRD_PARTIES,
            longest=20,
        ),
    ),
)
