"""Kling 4.0 on fal.ai as data: endpoints, parameters, limits, prices, and the source of each.

Data only. fal's schema is known in part (docs/fal-api.md#generations): what it does not show is a
doubt. A tier is a resolution here, no part of the id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import Counted, PerSecond, Rate

_UNSEEN = "the part of fal's schema that is known does not show it; others have it"
_OTHERS = "other hosts say"

_START = MediaLimits(hard=Bounds(megabytes=30, side=(300, None), ratio=(0.4, 2.5)))
_PICTURE = MediaLimits(
    soft=Bounds(megabytes=30, side=(300, None), ratio=(0.4, 2.5)), soft_source=_OTHERS
)
_SOURCE = MediaLimits(
    hard=Bounds(
        megabytes=300, side=(700, 4553), ratio=(0.4, 2.5), seconds=(3, 30), fps=(23.9, 60.05)
    )
)
_REFERENCE = MediaLimits(
    soft=Bounds(side=(700, 4553), ratio=(0.4, 2.5), seconds=(3, 30), fps=(24, None)),
    soft_source=_OTHERS,
)


def _list(name: str, media: str, most: int, doc: str, *, certain: bool = False) -> Parameter:
    limits = _PICTURE if media == "image" else _REFERENCE
    item = Parameter(name=name, kind="url", media=media, limits=limits, doc=f"A {media}.")
    return Parameter(name=name, kind="list", item=item, maximum=most, open=not certain, doc=doc)


_RESOLUTION = Parameter(
    name="resolution",
    kind="choice",
    choices=("720p", "1080p"),
    default="1080p",
    doc="Size of the picture; what `tier` means here: standard is 720p, pro 1080p.",
)
_ASPECT = replace(
    common.ASPECT_VIDEO,
    choices=("auto", "16:9", "9:16", "1:1", "21:9"),
    # fal's page breaks off after the third.
    open=True,
)
_SHOTS = (common.PROMPT_LONG, common.SHOTS_IN_PART, common.SECONDS)
_START_FRAME = replace(common.START_NEEDED, limits=_START)
_END_FRAME = replace(common.END_IMAGE_URL, limits=_PICTURE)
_MIDDLE = replace(
    _list(
        "middle_image_urls", "image", 8, "Frames between first and last, in order.", certain=True
    ),
    doubt="one of two copies of fal's page shows it",
)
_IMAGES = replace(
    _list(
        "image_urls",
        "image",
        10,
        "Reference images: @Image1, @Image2… in the prompt.",
        certain=True,
    ),
    also=common.PICTURES_ALSO,
)
_CLIPS = replace(
    _list("video_urls", "video", 5, "Reference clips, 3 to 30 s together: @Video1… in the prompt."),
    also=("video_url",),
)
_ELEMENT_CLIP = replace(_REFERENCE, soft=replace(_REFERENCE.soft, seconds=(3, 8)))
_ELEMENTS = replace(
    common.with_limits(common.COMBO_ELEMENTS, image=_PICTURE, video=_ELEMENT_CLIP),
    maximum=7,
    open=True,
    doubt="fal names elements, but not their fields; those of its other endpoints are sent",
)
_SHOT_RULES = (rules.prompt_and_shots, rules.shots_within(3, 30))
_FRAMES = ("start_image_url", "middle_image_urls", "end_image_url")

_MODES = {
    "text-to-video": (
        "A clip with sound from a prompt.",
        (*_SHOTS, _RESOLUTION, _ASPECT),
        (*_SHOT_RULES, rules.mentions),
    ),
    "image-to-video": (
        "A clip with sound that begins with a picture.",
        (_START_FRAME, _MIDDLE, _END_FRAME, *_SHOTS, _RESOLUTION),
        (
            *_SHOT_RULES,
            rules.doubtful(rules.mentions_through(Image=_FRAMES)),
            rules.doubtful(rules.at_most(10, *_FRAMES)),
        ),
    ),
    "reference-to-video": (
        "A clip with sound, with the style, characters and objects of references.",
        (
            *_SHOTS,
            replace(common.START_IMAGE_URL, limits=_START),
            replace(_END_FRAME, doubt=_UNSEEN),
            _IMAGES,
            _CLIPS,
            _ELEMENTS,
            _RESOLUTION,
            replace(_ASPECT, default=None, doubt=_UNSEEN),
        ),
        (
            *_SHOT_RULES,
            rules.doubtful(
                rules.mentions_through(
                    Image=("image_urls", "start_image_url"), Video=("video_urls",)
                )
            ),
            rules.doubtful(rules.at_most(10, "start_image_url", "image_urls", "end_image_url")),
            rules.doubtful(
                rules.at_most(15, "start_image_url", "image_urls", "video_urls", "elements")
            ),
            rules.doubtful(rules.elements_of_sounding_clip),
        ),
    ),
    "edit": (
        "The source clip with changes; as long as the source.",
        (
            replace(common.PROMPT_LONG, required=True),
            replace(
                common.VIDEO_URL,
                limits=_SOURCE,
                doc="The source clip, @Video1 in the prompt: 3 to 30 s, at most 300 MB.",
            ),
            replace(_IMAGES, open=True),
            _RESOLUTION,
            replace(common.KEEP_AUDIO, default=None, doubt=_UNSEEN),
            replace(_ELEMENTS, doubt=_UNSEEN),
        ),
        (rules.doubtful(rules.mentions), rules.doubtful(rules.elements_complete)),
    ),
}


def _with_clip(resolution: str, usd: str) -> Rate:
    """Input and output are counted, and at least twice the output."""
    return Rate(usd=usd, clip=True, resolution=resolution, counted=Counted.BOTH, least=2)


_PLAIN = (
    Rate(usd="0.157", clip=False, resolution="720p"),
    Rate(usd="0.235", clip=False, resolution="1080p"),
)
_FROM_CLIPS = (_with_clip("720p", "0.094"), _with_clip("1080p", "0.141"))
_RATES = {"reference-to-video": (*_PLAIN, *_FROM_CLIPS), "edit": _FROM_CLIPS}


def _endpoints() -> Iterator[Endpoint]:
    for mode, (doc, parameters, mode_rules) in _MODES.items():
        below = "video-to-video/edit" if mode == "edit" else mode
        for tier, resolution in (("standard", "720p"), ("pro", "1080p")):
            yield Endpoint(
                id=f"kling/v4/{below}",
                mode=mode,
                tier=tier,
                output="video",
                doc=doc,
                parameters=parameters,
                rules=mode_rules,
                price=PerSecond(_RATES.get(mode, _PLAIN)),
                source=f"https://fal.ai/models/kling/v4/{below}/llms.txt",
                dated="2026-10",
                evidence=Evidence.PARTLY,
                price_source="https://fal.ai/learn/tools/kling-api",
                price_dated="2026-10",
                presets={"resolution": resolution},
                refused={"generate_audio": "it always has sound, and no other price without"},
                longest=30,
                clips_together=30,
                typical_seconds=213,
            )


GENERATION = Generation(
    name="v4",
    doc="Kling 4.0: clips of up to 30 s with sound, from prompts, references and clips.",
    since="2026-10",
    endpoints=tuple(_endpoints()),
)
