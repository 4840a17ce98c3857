"""Avatar, lipsync, speech and sound of the emulated platform, as data.

Written from docs/fal-api.md#generations, not from the client's catalogue, so that each checks the
other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .endpoints import Endpoint, Field, Tariff

_UNIT = 140_000
_VOICES = """
genshin_vindi2 zhinen_xuesheng AOT ai_shatang genshin_klee2 genshin_kirara ai_kaiya
oversea_male1 ai_chenjiahao_712 girlfriend_4_speech02 chat1_female_new-3 chat_0407_5-1
cartoon-boy-07 uk_boy1 cartoon-girl-01 PeppaPig_platform ai_huangzhong_712
ai_huangyaoshi_712 ai_laoguowang_712 chengshu_jiejie you_pingjing calm_story1 uk_man2
laopopo_speech02 heainainai_speech02 reader_en_m-v1 commercial_lady_en_f-v1 tiyuxi_xuedi
tiexin_nanyou girlfriend_1_speech02 girlfriend_2_speech02 zhuxi_speech02 uk_oldman3
dongbeilaotie_speech02 chongqingxiaohuo_speech02 chuanmeizi_speech02 chaoshandashu_speech02
ai_taiwan_man2_speech02 xianzhanggui_speech02 tianjinjiejie_speech02
diyinnansang_DB_CN_M_04-v2 yizhipiannan-v1 guanxiaofang-v2 tianmeixuemei-v1
daopianyansang-v1 mengwa-v1
"""
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
                "voice_id": Field("enum", required=True, allowed=tuple(_VOICES.split())),
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
            "voice_id": Field("enum", allowed=tuple(_VOICES.split())),
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
