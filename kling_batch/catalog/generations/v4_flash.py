"""Kling 4.0 Flash on fal.ai as data: endpoints, parameters, limits, prices, and the source of each.

Data only. Little of fal's schema is known (docs/fal-api.md#generations), and the price is that of
resellers: nearly everything is a doubt.
"""

from __future__ import annotations

from dataclasses import replace

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerSecond, Rate
from kling_batch.catalog.rules import Rule

_UNSEEN = "fal's page does not show it; others have it"
_OTHERS = "other hosts say"
_PICTURE = MediaLimits(soft=Bounds(side=(300, None), ratio=(0.4, 2.5)), soft_source=_OTHERS)
_CLIP = MediaLimits(
    soft=Bounds(side=(700, 4553), ratio=(0.4, 2.5), seconds=(3, 20), fps=(24, None)),
    soft_source=_OTHERS,
)


def _list(name: str, media: str, most: int, doc: str) -> Parameter:
    limits = _PICTURE if media == "image" else _CLIP
    item = Parameter(name=name, kind="url", media=media, limits=limits, doc=f"A {media}.")
    return Parameter(name=name, kind="list", item=item, maximum=most, open=True, doc=doc)


_DURATION = replace(
    common.SECONDS, maximum=20, open=True, fal_default=None, doc="Seconds of video, 3 to 20."
)
_SHOTS = (common.PROMPT_LONG, replace(common.SHOTS_IN_PART, doubt=_UNSEEN), _DURATION)
#: As those of the larger model, whose page shows the first three.
_RATIOS = ("auto", "16:9", "9:16", "1:1", "21:9")
_ASPECT = replace(common.ASPECT_VIDEO, choices=_RATIOS, default=None, open=True, doubt=_UNSEEN)
_IMAGES = replace(
    _list("image_urls", "image", 10, "Reference images: @Image1, @Image2… in the prompt."),
    also=common.PICTURES_ALSO,
)
_CLIPS = replace(
    _list("video_urls", "video", 5, "Reference clips: @Video1… in the prompt."),
    also=("video_url",),
    doubt=_UNSEEN,
)
_ELEMENTS = replace(
    common.with_limits(common.COMBO_ELEMENTS, image=_PICTURE, video=_CLIP),
    maximum=7,
    open=True,
    doubt=_UNSEEN,
)
_SHOT_RULES = (rules.prompt_and_shots, rules.doubtful(rules.shots_within(3, 20)))

#: What three resellers ask for, and one of them with a clip; fal's own price was not found.
_PLAIN = Rate(usd="0.094", clip=False, note="resellers' price; fal's is not known")
_FROM_CLIPS = Rate(
    usd="0.126", clip=True, note="a reseller's price with a clip; fal's is not known"
)
_RATES = {"reference-to-video": (_PLAIN, _FROM_CLIPS), "edit": (_FROM_CLIPS,)}


def _endpoint(
    mode: str,
    doc: str,
    parameters: tuple[Parameter, ...],
    mode_rules: tuple[Rule, ...],
    doubt: str = "",
) -> Endpoint:
    below = "video-to-video" if mode == "edit" else mode
    return Endpoint(
        id=f"kling/v4/flash/{below}",
        mode=mode,
        tier="standard",
        output="video",
        doc=doc,
        parameters=parameters,
        rules=mode_rules,
        price=PerSecond(_RATES.get(mode, (_PLAIN,))),
        source=f"https://fal.ai/models/kling/v4/flash/{below}/api",
        dated="2026-11",
        evidence=Evidence.INFERRED if doubt else Evidence.PARTLY,
        price_source="https://docs.venice.ai/models/kling-4-0-flash",
        price_dated="2026-11",
        price_evidence=Evidence.THIRD_PARTIES,
        doubt=doubt,
        refused={"generate_audio": "it always has sound, and no other price without"},
        longest=20,
        clips_together=20,
        typical_seconds=86,
    )


GENERATION = Generation(
    name="v4-flash",
    doc="Kling 4.0 Flash: clips of up to 20 s with sound, at 720p.",
    since="2026-11",
    endpoints=(
        _endpoint(
            "text-to-video",
            "A clip with sound from a prompt.",
            (*_SHOTS, _ASPECT),
            (*_SHOT_RULES, rules.mentions),
            doubt="no page of fal shows this endpoint; that it exists is inferred from resellers",
        ),
        _endpoint(
            "image-to-video",
            "A clip with sound that begins with a picture.",
            (replace(common.START_NEEDED, limits=_PICTURE), *_SHOTS),
            (*_SHOT_RULES, rules.mentions_of_frames),
        ),
        _endpoint(
            "reference-to-video",
            "A clip with sound, with the style, characters and objects of references.",
            (*_SHOTS, _IMAGES, _CLIPS, _ELEMENTS, _ASPECT),
            (
                *_SHOT_RULES,
                rules.doubtful(rules.mentions_through(Video=("video_urls",))),
                rules.doubtful(rules.elements_of_sounding_clip),
            ),
        ),
        _endpoint(
            "edit",
            "The source clip with changes; as long as the source.",
            (
                replace(common.PROMPT_LONG, required=True),
                replace(
                    common.VIDEO_URL,
                    limits=_CLIP,
                    doc="The source clip, @Video1 in the prompt: 3 to 20 s.",
                ),
                _IMAGES,
            ),
            (rules.doubtful(rules.mentions),),
        ),
    ),
)
