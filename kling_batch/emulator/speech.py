"""Avatar, lipsync, speech and sound of the emulated platform, as data.

Written from docs/fal-api.md#generations, not from the client's catalogue, so that each checks the
other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .endpoints import Endpoint, Field, Tariff

_UNIT = 140_000
_SOURCE: Mapping[str, Field] = {"video_url": Field("url", required=True)}
_SOUND: Mapping[str, Field] = {"audio_url": Field("url", required=True)}


def _endpoints() -> Iterator[Endpoint]:
    # What the first version costs is not published.
    avatars = {
        "ai-avatar/v2/standard": ("standard", 56_200),
        "ai-avatar/v2/pro": ("pro", 115_000),
        "v1/standard/ai-avatar": ("standard", 56_200),
        "v1/pro/ai-avatar": ("pro", 115_000),
    }
    for below, (tier, second) in avatars.items():
        yield Endpoint(
            id=f"fal-ai/kling-video/{below}",
            media="video",
            speed="edit",
            tier=tier,
            operation="avatar",
            fields={"image_url": Field("url", required=True), **_SOUND, "prompt": Field("text")},
            tariff=Tariff(unit_micro_usd=_UNIT, second=second),
            sound="always",
        )
    for below, longest, fields in (
        ("audio-to-video", 10.0, _SOUND),
        (
            "text-to-video",
            60.0,
            {
                "text": Field("text", required=True, high=120),
                "voice_id": Field("text", required=True),
                "voice_language": Field("enum", allowed=("zh", "en")),
                "voice_speed": Field("float", low=0.8, high=2),
            },
        ),
    ):
        yield Endpoint(
            id=f"fal-ai/kling-video/lipsync/{below}",
            media="video",
            speed="edit",
            operation="lipsync",
            fields={**_SOURCE, **fields},
            tariff=Tariff(unit_micro_usd=_UNIT, second=14_000, block=5),
            clips=(2.0, longest),
            sound="always",
        )
    yield Endpoint(
        id="fal-ai/kling-video/v1/tts",
        media="audio",
        speed="voice",
        operation="tts",
        fields={
            "text": Field("text", required=True),
            "voice_id": Field("text"),
            "voice_speed": Field("float", low=0.8, high=2),
        },
        tariff=Tariff(unit="request", unit_micro_usd=10_000, call=10_000),  # not published
    )
    yield Endpoint(
        id="fal-ai/kling-video/video-to-audio",
        media="video",
        speed="edit",
        operation="video-to-audio",
        fields={
            **_SOURCE,
            "sound_effect_prompt": Field("text", high=200),
            "background_music_prompt": Field("text", high=200),
            "asmr_mode": Field("bool"),
        },
        tariff=Tariff(unit="request", unit_micro_usd=35_000, call=35_000),
        clips=(3.0, 20.0),
        sound="always",
    )


SPEECH: Mapping[str, Endpoint] = {each.id: each for each in _endpoints()}
