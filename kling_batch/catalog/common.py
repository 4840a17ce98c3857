"""Parameters that several model generations share, with their limits.

Data only. What one generation alone has stands in its own module. Where sources disagree, the wider
limit is the rule and the comment says so.
"""

from __future__ import annotations

from dataclasses import replace

from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter

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
    # fal's own default is 16:9; image jobs here are square unless they say otherwise.
    default="1:1",
    doc="Aspect ratio of the picture.",
)
ASPECT_IMAGE_EDIT = replace(ASPECT_IMAGE, choices=("auto", *ASPECT_IMAGE.choices), default="auto")
AUDIO = Parameter(
    name="generate_audio",
    kind="flag",
    default=False,
    doc="Sound generated with the video; it raises the price, except for 4k.",
)
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
    name="image_url", kind="url", media="image", limits=IMAGE, required=True, doc="The first frame."
)
START_IMAGE_URL = Parameter(
    name="start_image_url", kind="url", media="image", limits=IMAGE, doc="The first frame."
)
END_IMAGE_URL = Parameter(
    name="end_image_url", kind="url", media="image", limits=IMAGE, doc="The last frame."
)
VIDEO_URL = Parameter(
    name="video_url",
    kind="url",
    media="video",
    limits=VIDEO,
    required=True,
    doc="The source clip, @Video1 in the prompt: mp4 or mov, 3 to 15 s, at most 200 MB.",
)
KEEP_AUDIO = Parameter(
    name="keep_audio", kind="flag", default=True, doc="Keeps the sound of the source clip."
)
IMAGE_URLS = urls("image_urls", "Reference images: @Image1, @Image2… in the prompt.")
IMAGE_URLS_NEEDED = urls(
    "image_urls", "Source images: @Image1, @Image2… in the prompt.", most=10, required=True
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
            Parameter(
                name="voice_id", kind="text", maximum=200, doc="A voice made by `create-voice`."
            ),
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
