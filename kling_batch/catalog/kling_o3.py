"""Kling O3 on fal.ai as data: endpoints, parameters, limits, prices, and the source of each.

Data only. Where sources disagree, the wider limit is the rule and the comment says so.
Only `registry.py` may import a data module; everybody else asks the registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kling_batch.catalog import rules
from kling_batch.catalog.endpoint import Endpoint
from kling_batch.catalog.parameters import Parameter
from kling_batch.catalog.pricing import PerImage, PerSecond


def _numbers(first: int, last: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(first, last + 1))


def _urls(name: str, doc: str, *, most: int | None = None, required: bool = False) -> Parameter:
    item = Parameter(name=name, kind="url", media="image", doc="An image.")
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
            choices=_numbers(1, 15),
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
    choices=_numbers(3, 15),
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
    name="image_url", kind="url", media="image", required=True, doc="The first frame."
)
START_IMAGE_URL = Parameter(
    name="start_image_url", kind="url", media="image", doc="The first frame."
)
END_IMAGE_URL = Parameter(name="end_image_url", kind="url", media="image", doc="The last frame.")
VIDEO_URL = Parameter(
    name="video_url",
    kind="url",
    media="video",
    required=True,
    doc="The source clip, @Video1 in the prompt: mp4 or mov, 3 to 15 s, at most 200 MB.",
)
KEEP_AUDIO = Parameter(
    name="keep_audio", kind="flag", default=True, doc="Keeps the sound of the source clip."
)
IMAGE_URLS = _urls("image_urls", "Reference images: @Image1, @Image2… in the prompt.")
IMAGE_URLS_NEEDED = _urls(
    "image_urls", "Source images: @Image1, @Image2… in the prompt.", most=10, required=True
)
_FRONTAL = Parameter(
    name="frontal_image_url", kind="url", media="image", doc="Main view of the element."
)
IMAGE_ELEMENTS = Parameter(
    name="elements",
    kind="list",
    doc="Characters or objects to keep the same: @Element1, @Element2… in the prompt.",
    item=Parameter(
        name="element",
        kind="object",
        doc="One character or object, in pictures.",
        fields=(_FRONTAL, _urls("reference_image_urls", "Further views, at most 3.", most=3)),
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
            _urls("reference_image_urls", "Further views, 1 to 3.", most=3),
            Parameter(
                name="video_url",
                kind="url",
                media="video",
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

# --- endpoints ----------------------------------------------------------------------------------

_TYPES = "https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts"
_IMAGE_PARAMETERS = (
    RESOLUTION,
    RESULT_TYPE,
    NUM_IMAGES,
    SERIES_AMOUNT,
    OUTPUT_FORMAT,
    SYNC_MODE,
)
_IMAGE_RULES = (
    rules.mentions,
    rules.elements_complete,
    rules.single_or_series,
    rules.kept_in_history,
)
_SHOTS = (PROMPT, MULTI_PROMPT, DURATION)
_CLIP_RULES = (rules.prompt_or_shots, rules.shots_add_up, rules.shots_alone)
_SHOT_RULES = (*_CLIP_RULES, rules.mentions)
_SOURCE_RULES = (rules.mentions, rules.references_with_video, rules.elements_complete)
_FROM_VIDEO = (PROMPT_NEEDED, VIDEO_URL, IMAGE_URLS, IMAGE_ELEMENTS, KEEP_AUDIO, SHOT_TYPE)

#: mode → (path below `fal-ai/kling-video/o3/{tier}/`, what it does, parameters, rules).
_VIDEO_MODES = {
    "text-to-video": (
        "text-to-video",
        "A clip from a prompt.",
        (*_SHOTS, ASPECT_VIDEO, AUDIO, SHOT_TYPE),
        _SHOT_RULES,
    ),
    "image-to-video": (
        "image-to-video",
        "A clip that begins with a picture and keeps its aspect ratio.",
        (IMAGE_URL, END_IMAGE_URL, *_SHOTS, AUDIO, SHOT_TYPE),
        (*_CLIP_RULES, rules.mentions_of_frames),
    ),
    "reference-to-video": (
        "reference-to-video",
        "A clip with the style, characters and objects of references.",
        (
            *_SHOTS,
            START_IMAGE_URL,
            END_IMAGE_URL,
            IMAGE_URLS,
            COMBO_ELEMENTS,
            ASPECT_VIDEO,
            AUDIO,
            SHOT_TYPE,
        ),
        (
            *_SHOT_RULES,
            rules.references_of_clip,
            rules.elements_of_clip,
            rules.end_needs_start,
        ),
    ),
    "edit": (
        "video-to-video/edit",
        "The source clip with changes; as long as the source.",
        _FROM_VIDEO,
        _SOURCE_RULES,
    ),
    "remix": (
        "video-to-video/reference",
        "A new clip in the style of the source clip.",
        (*_FROM_VIDEO, ASPECT_REMIX, DURATION_OPEN),
        _SOURCE_RULES,
    ),
}

#: US dollars per second by tier: clips from prompts and pictures, and from source clips.
_MADE = {
    "standard": PerSecond("0.084", audio="0.112"),
    "pro": PerSecond("0.112", audio="0.14"),
    "4k": PerSecond("0.42"),
}
_FROM_SOURCE = {
    "standard": PerSecond("0.126"),
    "pro": PerSecond("0.168"),
    "4k": PerSecond("0.42"),
}
#: The same with a clip in an element: the only figures found are those of video-to-video
#: (docs/fal-api.md#prices).
_WITH_CLIP = {tier: replace(price, clip=_FROM_SOURCE[tier].silent) for tier, price in _MADE.items()}
#: US dollars per billable unit by tier (docs/fal-api.md#billing-units): standard and pro are billed
#: in credits of $0.14, a standard silent second being 0.6 of one; 4k is billed by the second.
_UNIT = {"standard": "0.14", "pro": "0.14", "4k": "0.42"}
#: Published on the image-to-video page only: a 5 s clip at each tier.
_TYPICAL = {("image-to-video", "standard"): 94, ("image-to-video", "pro"): 318}


def _video_endpoints() -> Iterator[Endpoint]:
    for mode, (below, doc, parameters, mode_rules) in _VIDEO_MODES.items():
        prices = _FROM_SOURCE if VIDEO_URL in parameters else _MADE
        if COMBO_ELEMENTS in parameters:
            prices = _WITH_CLIP
        for tier, price in prices.items():
            endpoint_id = f"fal-ai/kling-video/o3/{tier}/{below}"
            yield Endpoint(
                id=endpoint_id,
                mode=mode,
                tier=tier,
                output="video",
                doc=doc,
                parameters=parameters,
                rules=mode_rules,
                price=price,
                unit_price=_UNIT[tier],
                source=_TYPES,
                dated="2026-08",
                price_source=f"https://fal.ai/models/{endpoint_id}",
                price_dated="2026-10",
                typical_seconds=_TYPICAL.get((mode, tier), 0),
            )


def _image_endpoint(mode: str, doc: str, parameters: tuple[Parameter, ...]) -> Endpoint:
    return Endpoint(
        id=f"fal-ai/kling-image/o3/{mode}",
        mode=mode,
        tier="pro",
        output="image",
        doc=doc,
        parameters=(*parameters, *_IMAGE_PARAMETERS),
        rules=_IMAGE_RULES,
        # Stated by fal for V3; the same for O3, and twice as much for 4K, by others' readings.
        price=PerImage("0.028", {"4K": 2}),
        unit_price="0.028",
        source=_TYPES,
        dated="2026-08",
        price_source="https://fal.ai/models/fal-ai/kling-image/v3/text-to-image/llms.txt",
        price_dated="2026-08",
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    _image_endpoint(
        "text-to-image", "A picture from a prompt.", (PROMPT_NEEDED, ASPECT_IMAGE, IMAGE_ELEMENTS)
    ),
    _image_endpoint(
        "image-to-image",
        "A picture from pictures.",
        (PROMPT_NEEDED, IMAGE_URLS_NEEDED, ASPECT_IMAGE_EDIT, IMAGE_ELEMENTS),
    ),
    *_video_endpoints(),
)
