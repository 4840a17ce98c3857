"""Avatar and lipsync of the emulated platform, as data.

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
    for tier, second in (("standard", 56_200), ("pro", 115_000)):
        yield Endpoint(
            id=f"fal-ai/kling-video/ai-avatar/v2/{tier}",
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


SPEECH: Mapping[str, Endpoint] = {each.id: each for each in _endpoints()}
