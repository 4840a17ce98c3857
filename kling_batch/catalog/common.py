"""Parameters that several model generations share, with their limits.

Data only. What one generation alone has stands in its own module. Where sources disagree, the wider
limit is the rule and the comment says so. Where fal's defaults differ between generations, a
missing argument means here what it means for the default one, and is always sent: nobody pays for
sound that he did not ask for because he changed `model:`.
"""

from __future__ import annotations

from dataclasses import replace

from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import AS_SENT, Parameter

# --- limits of files ----------------------------------------------------------------------------

IMAGE = MediaLimits(
    hard=Bounds(megabytes=50, side=(300, None), ratio=(0.4, 2.5)),
    soft=Bounds(megabytes=10),
    soft_source="a page of February 2026 says",
)
VIDEO = MediaLimits(
    hard=Bounds(megabytes=200, side=(720, 3840), seconds=(3, 15)),
    soft=Bounds(side=(None, 2160), seconds=(None, 10), fps=(24, 60)),
    soft_source="pages of early 2026 say",
)


def numbers(first: int, last: int) -> tuple[str, ...]:
    """Whole numbers as the choices of a parameter."""
    return tuple(str(number) for number in range(first, last + 1))


def with_limits(parameter: Parameter, **limits: MediaLimits) -> Parameter:
    """A parameter with other limits of its files, by their media, inner ones included."""
    return replace(
        parameter,
        limits=limits.get(parameter.media, parameter.limits),
        item=None if parameter.item is None else with_limits(parameter.item, **limits),
        fields=tuple(with_limits(each, **limits) for each in parameter.fields),
    )


def urls(name: str, doc: str, *, most: int | None = None, required: bool = False) -> Parameter:
    """A list of images."""
    item = Parameter(name=name, kind="url", media="image", limits=IMAGE, doc="An image.")
    return Parameter(name=name, kind="list", item=item, maximum=most, required=required, doc=doc)


# --- parameters ---------------------------------------------------------------------------------

PROMPT = Parameter(
    name="prompt",
    kind="text",
    maximum=2500,
    doc="What to make: at most 2,500 characters.",
)
PROMPT_NEEDED = replace(PROMPT, required=True)
SHOT = Parameter(
    name="shot",
    kind="object",
    doc="One shot of a clip.",
    fields=(
        # 512: upstream's limit, repeated by resellers; fal's own schema names none.
        replace(PROMPT_NEEDED, maximum=512, doc="What the shot shows: at most 512 characters."),
        Parameter(
            name="duration",
            kind="choice",
            choices=numbers(1, 15),
            default="5",
            doc="Seconds of this shot.",
        ),
    ),
)
MULTI_PROMPT = Parameter(
    name="multi_prompt",
    kind="list",
    item=SHOT,
    # Upstream says 1 to 6, another host 0 to 5, fal's schema nothing.
    maximum=6,
    doc="Instead of `prompt`: 1 to 6 shots, together 3 to 15 seconds.",
)
DURATION = Parameter(
    name="duration",
    kind="choice",
    choices=numbers(3, 15),
    default="5",
    doc="Seconds of video, 3 to 15.",
)
#: How long a remix is without a duration is not published; so there is no default to spell out.
DURATION_OPEN = replace(DURATION, default=None, doc="Seconds of video; without it fal decides.")
ASPECT_VIDEO = Parameter(
    name="aspect_ratio",
    kind="choice",
    choices=("16:9", "9:16", "1:1"),
    aliases={"square": "1:1", "landscape": "16:9", "portrait": "9:16", "widescreen": "16:9"},
    default="16:9",
    doc="Aspect ratio of the picture.",
)
ASPECT_REMIX = replace(ASPECT_VIDEO, choices=("auto", *ASPECT_VIDEO.choices), default="auto")
ASPECT_IMAGE = Parameter(
    name="aspect_ratio",
    kind="choice",
    choices=("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"),
    aliases={"square": "1:1", "landscape": "4:3", "portrait": "3:4", "widescreen": "16:9"},
    # Image jobs here are square unless they say otherwise.
    default="1:1",
    fal_default="16:9",
    doc="Aspect ratio of the picture.",
)
ASPECT_IMAGE_EDIT = replace(
    ASPECT_IMAGE, choices=("auto", *ASPECT_IMAGE.choices), default="auto", fal_default=AS_SENT
)
AUDIO = Parameter(
    name="generate_audio",
    kind="flag",
    default=False,
    doc="Sound generated with the video; it raises the price, except for 4k.",
)
#: For endpoints that fal itself gives sound where nobody says anything.
AUDIO_UNLESS_SENT = replace(AUDIO, fal_default=True)
SHOT_TYPE = Parameter(
    name="shot_type",
    kind="choice",
    choices=("customize", "intelligent"),
    # An enum in the types of August 2026, a free string in the pages of April to June.
    open=True,
    default="customize",
    doc="How shots are cut.",
)
IMAGE_URL = Parameter(
    name="image_url",
    kind="url",
    also=("start_image_url",),
    media="image",
    limits=IMAGE,
    required=True,
    doc="The first frame.",
)
START_IMAGE_URL = Parameter(
    name="start_image_url", kind="url", media="image", limits=IMAGE, doc="The first frame."
)
END_IMAGE_URL = Parameter(
    name="end_image_url",
    kind="url",
    also=("tail_image_url",),
    media="image",
    limits=IMAGE,
    doc="The last frame.",
)
VIDEO_URL = Parameter(
    name="video_url",
    kind="url",
    also=("video_urls",),
    media="video",
    limits=VIDEO,
    required=True,
    doc="The source clip, @Video1 in the prompt: mp4 or mov, 3 to 15 s, at most 200 MB.",
)
KEEP_AUDIO = Parameter(
    name="keep_audio",
    kind="flag",
    also=("keep_original_sound",),
    default=True,
    doc="Keeps the sound of the source clip.",
)
#: What other endpoints call a list of pictures.
PICTURES_ALSO = ("input_image_urls",)
IMAGE_URLS = replace(
    urls("image_urls", "Reference images: @Image1, @Image2… in the prompt."), also=PICTURES_ALSO
)
IMAGE_URLS_NEEDED = replace(
    urls("image_urls", "Source images: @Image1, @Image2… in the prompt.", most=10, required=True),
    also=(*PICTURES_ALSO, "image_url"),
)
_FRONTAL = Parameter(
    name="frontal_image_url",
    kind="url",
    media="image",
    limits=IMAGE,
    doc="Main view of the element.",
)
IMAGE_ELEMENTS = Parameter(
    name="elements",
    kind="list",
    doc="Characters or objects to keep the same: @Element1, @Element2… in the prompt.",
    item=Parameter(
        name="element",
        kind="object",
        doc="One character or object, in pictures.",
        fields=(_FRONTAL, urls("reference_image_urls", "Further views, at most 3.", most=3)),
    ),
)
VOICE_ID = Parameter(
    name="voice_id",
    kind="voice",
    media="voice",
    maximum=200,
    doc="A voice made by `create-voice`: its id, or {job: …}.",
)
COMBO_ELEMENTS = replace(
    IMAGE_ELEMENTS,
    item=Parameter(
        name="element",
        kind="object",
        doc="One character or object, in pictures or a video.",
        fields=(
            _FRONTAL,
            urls("reference_image_urls", "Further views, 1 to 3.", most=3),
            Parameter(
                name="video_url",
                kind="url",
                media="video",
                limits=VIDEO,
                doc="A clip of it; one element of a request may have one.",
            ),
            VOICE_ID,
        ),
    ),
)
RESOLUTION = Parameter(
    name="resolution",
    kind="choice",
    choices=("1K", "2K", "4K"),
    default="1K",
    doc="Size of the picture; 4K costs twice as much.",
)
RESULT_TYPE = Parameter(
    name="result_type",
    kind="choice",
    choices=("single", "series"),
    default="single",
    doc="Single pictures, or a series that belongs together.",
)
NUM_IMAGES = Parameter(
    name="num_images",
    kind="whole",
    minimum=1,
    maximum=9,
    default=1,
    doc="How many pictures, 1 to 9; each is paid for.",
)
SERIES_AMOUNT = Parameter(
    name="series_amount",
    kind="whole",
    minimum=2,
    maximum=9,
    doc="How many pictures a series has, 2 to 9; each is paid for.",
)
OUTPUT_FORMAT = Parameter(
    name="output_format",
    kind="choice",
    choices=("jpeg", "png", "webp"),
    aliases={"jpg": "jpeg"},
    default="png",
    doc="File format of the picture.",
)
SYNC_MODE = Parameter(
    name="sync_mode",
    kind="flag",
    default=False,
    doc="Returns the picture as a data URI instead of a URL.",
)

# --- of several generations, not of all ---------------------------------------------------------

#: fal states no length; others say 2,500.
PROMPT_OPEN = replace(PROMPT, open=True)
PROMPT_OPEN_NEEDED = replace(PROMPT_OPEN, required=True)
NEGATIVE_PROMPT = Parameter(
    name="negative_prompt",
    kind="text",
    maximum=2500,
    open=True,
    default="blur, distort, and low quality",
    doc="What must not be seen.",
)
CFG_SCALE = Parameter(
    name="cfg_scale",
    kind="decimal",
    minimum=0,
    maximum=1,
    default=0.5,
    doc="How closely the prompt is followed, 0 to 1.",
)
FIVE_OR_TEN = replace(DURATION, choices=("5", "10"), doc="Seconds of video, 5 or 10.")
START_NEEDED = replace(START_IMAGE_URL, required=True, also=("image_url",))
RESOLUTION_2K = replace(RESOLUTION, choices=("1K", "2K"), doc="Size of the picture.")

#: What a motion-control clip must be; its greatest length depends on `character_orientation`.
_MOTION_SOFT = Bounds(megabytes=200, seconds=(3, None))
_MOTION = {
    word: MediaLimits(
        hard=Bounds(seconds=(None, most)), soft=_MOTION_SOFT, soft_source="users report"
    )
    for word, most in (("image", 10), ("video", 30))
}
MOTION_CONTROL = (
    Parameter(
        name="image_url",
        kind="url",
        also=("start_image_url",),
        media="image",
        limits=MediaLimits(soft=Bounds(megabytes=10), soft_source="users report"),
        required=True,
        doc="The figure: whole or upper body, nothing before it.",
    ),
    Parameter(
        name="video_url",
        kind="url",
        also=("video_urls",),
        media="video",
        limits=_MOTION["video"],
        limits_by=("character_orientation", _MOTION),
        required=True,
        doc="The movement: one figure, at most 10 s, or 30 s with `character_orientation: video`.",
    ),
    Parameter(
        name="character_orientation",
        kind="choice",
        choices=("image", "video"),
        required=True,
        doc="Whether the figure faces as in the picture or as in the clip.",
    ),
    Parameter(
        name="keep_original_sound",
        kind="flag",
        also=("keep_audio",),
        default=True,
        doc="Keeps the sound of the clip.",
    ),
    PROMPT_OPEN,
)

#: Of endpoints whose schema fal shows in part, and whose length is a whole number.
SECONDS = Parameter(
    name="duration",
    kind="whole",
    minimum=3,
    maximum=30,
    default=5,
    doc="Seconds of video, 3 to 30.",
)
SHOTS_IN_PART = Parameter(
    name="multi_prompt",
    kind="list",
    maximum=6,
    open=True,
    item=Parameter(
        name="shot",
        kind="object",
        doc="One shot of a clip.",
        fields=(
            Parameter(name="prompt", kind="text", required=True, doc="What the shot shows."),
            replace(SECONDS, minimum=1, fal_default=None, doc="Seconds of this shot."),
        ),
    ),
    doubt="fal names shots, but not their fields; prompt and duration are inferred",
    doc="Instead of `prompt`: shots, together as long as the clip.",
)
#: The longest that any host states; fal states none.
PROMPT_LONG = replace(
    PROMPT, maximum=26_000, open=True, doc="What to make; fal states no greatest length."
)

# --- speech -------------------------------------------------------------------------------------

_PRESET_VOICES = """
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
PRESET_VOICE = Parameter(
    name="voice_id",
    kind="choice",
    choices=tuple(_PRESET_VOICES.split()),
    doc="Who says it.",
)
#: Those of them that fal does not find, as users report.
VOICES_NOT_FOUND = ("reader_en_m-v1", "commercial_lady_en_f-v1")
VOICE_SPEED = Parameter(
    name="voice_speed",
    kind="decimal",
    minimum=0.8,
    maximum=2,
    default=1.0,
    doc="How fast, 0.8 to 2.",
)
