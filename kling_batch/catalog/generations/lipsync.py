"""Kling Lipsync on fal.ai as data: endpoints, parameters, limits, prices, and their sources.

Data only. The price counts the source clip, in started blocks of five seconds.
"""

from __future__ import annotations

from kling_batch.catalog import rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import Counted, PerSecond, Rate
from kling_batch.catalog.rules import Rule

_VOICE_NAMES = """
genshin_vindi2 zhinen_xuesheng AOT ai_shatang genshin_klee2 genshin_kirara ai_kaiya
oversea_male1 ai_chenjiahao_712 girlfriend_4_speech02 chat1_female_new-3 chat_0407_5-1
cartoon-boy-07 uk_boy1 cartoon-girl-01 PeppaPig_platform ai_huangzhong_712 ai_huangyaoshi_712
ai_laoguowang_712 chengshu_jiejie you_pingjing calm_story1 uk_man2 laopopo_speech02
heainainai_speech02 reader_en_m-v1 commercial_lady_en_f-v1 tiyuxi_xuedi tiexin_nanyou
girlfriend_1_speech02 girlfriend_2_speech02 zhuxi_speech02 uk_oldman3 dongbeilaotie_speech02
chongqingxiaohuo_speech02 chuanmeizi_speech02 chaoshandashu_speech02 ai_taiwan_man2_speech02
xianzhanggui_speech02 tianjinjiejie_speech02 diyinnansang_DB_CN_M_04-v2 yizhipiannan-v1
guanxiaofang-v2 tianmeixuemei-v1 daopianyansang-v1 mengwa-v1
"""
_VOICES = tuple(_VOICE_NAMES.split())
_REPORTED = ("reader_en_m-v1", "commercial_lady_en_f-v1")
_TEXT = Parameter(
    name="text", kind="text", maximum=120, required=True, doc="What is said: 120 characters."
)
_VOICE = Parameter(
    name="voice_id", kind="choice", choices=_VOICES, required=True, doc="Who says it."
)
_LANGUAGE = Parameter(
    name="voice_language",
    kind="choice",
    choices=("zh", "en"),
    default="en",
    doc="The language of the text.",
)
_SPEED = Parameter(
    name="voice_speed",
    kind="decimal",
    minimum=0.8,
    maximum=2,
    default=1.0,
    doc="How fast, 0.8 to 2.",
)


def _source(longest: int) -> Parameter:
    bounds = Bounds(megabytes=100, side=(720, 1920), seconds=(2, longest))
    return Parameter(
        name="video_url",
        kind="url",
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
            (_source(60), _TEXT, _VOICE, _LANGUAGE, _SPEED),
            rules.doubtful(rules.not_among("voice_id", _REPORTED, "fal answers: voice not found")),
        ),
    ),
)
