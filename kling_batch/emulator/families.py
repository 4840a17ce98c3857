"""Kling 4.0, 3.0, 2.6 and O1 of the emulated platform, as data.

Written from docs/fal-api.md#generations, not from the client's catalogue, so that each checks the
other. Defaults are fal's own: a field that a client leaves out has them here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .endpoints import (
    IMAGE_RATIOS,
    PER_IMAGE,
    PROMPT_LIMIT,
    VIDEO_RATIOS,
    Endpoint,
    Field,
    Tariff,
)

_Fields = Mapping[str, Field]

_UNIT = 140_000
_PROMPT: _Fields = {"prompt": Field("text", required=True, high=PROMPT_LIMIT)}
_SHOTS: _Fields = {
    "prompt": Field("text", high=PROMPT_LIMIT),
    "multi_prompt": Field("shots", allowed=tuple(map(str, range(1, 16)))),
    "duration": Field("enum", allowed=tuple(map(str, range(3, 16)))),
}
_RATIO: _Fields = {"aspect_ratio": Field("enum", allowed=VIDEO_RATIOS)}
_START: _Fields = {"start_image_url": Field("url", required=True), "end_image_url": Field("url")}
_STYLE: _Fields = {
    "generate_audio": Field("bool"),
    "negative_prompt": Field("text", high=PROMPT_LIMIT),
    "cfg_scale": Field("float", low=0, high=1),
}
_REFERENCES: _Fields = {"image_urls": Field("urls"), "elements": Field("elements")}
_MOTION: _Fields = {
    "image_url": Field("url", required=True),
    "video_url": Field("url", required=True),
    "character_orientation": Field("enum", required=True, allowed=("image", "video")),
    "keep_original_sound": Field("bool"),
    "prompt": Field("text", high=PROMPT_LIMIT),
}


def _motion(family: str, tier: str, second: int, extra: _Fields) -> Endpoint:
    return Endpoint(
        id=f"fal-ai/kling-video/{family}/{tier}/motion-control",
        media="video",
        speed="edit",
        tier=tier,
        operation="motion-control",
        fields={**_MOTION, **extra},
        tariff=Tariff(unit_micro_usd=_UNIT, second=second),
        clips=(3.0, 30.0),
        sound="kept",
        sound_field="keep_original_sound",
        sound_default=True,
    )


# -- 3.0 --

_V3_STYLE: _Fields = {**_STYLE, "shot_type": Field("text")}
_V3: Mapping[str, _Fields] = {
    "text-to-video": {**_SHOTS, **_RATIO, **_V3_STYLE},
    "image-to-video": {**_START, **_SHOTS, "elements": Field("elements"), **_V3_STYLE},
}
_V3_TARIFFS: Mapping[str, Tariff] = {
    "standard": Tariff(unit_micro_usd=_UNIT, second=84_000, sound=126_000, voice=154_000),
    "pro": Tariff(unit_micro_usd=_UNIT, second=112_000, sound=168_000, voice=196_000),
    "4k": Tariff(unit_micro_usd=420_000, second=420_000),
}
_SIX: _Fields = {
    **_SHOTS,
    "multi_prompt": Field("shots", allowed=tuple(map(str, range(1, 16))), high=6),
}
_TURBO: Mapping[str, _Fields] = {
    "text-to-video": {**_SIX, **_RATIO},
    "image-to-video": {"image_url": Field("url", required=True), **_SIX},
}


def _v3() -> Iterator[Endpoint]:
    for operation, fields in _V3.items():
        for tier, tariff in _V3_TARIFFS.items():
            yield Endpoint(
                id=f"fal-ai/kling-video/v3/{tier}/{operation}",
                media="video",
                speed=tier,
                tier=tier,
                operation=operation,
                fields=fields,
                tariff=tariff,
                views=True,
                sound_default=True,
            )
    for operation, fields in _TURBO.items():
        for tier, second in (("standard", 112_000), ("pro", 140_000)):
            yield Endpoint(
                id=f"fal-ai/kling-video/v3/turbo/{tier}/{operation}",
                media="video",
                speed="standard",
                tier=tier,
                operation=operation,
                fields=fields,
                tariff=Tariff(unit_micro_usd=_UNIT, second=second),
                sound="always",
            )
    one: _Fields = {"elements": Field("elements", high=1)}
    yield _motion("v3", "standard", 126_000, one)
    yield _motion("v3", "pro", 168_000, one)
    yield _picture("v3/text-to-image", {**_plain_image(), "negative_prompt": Field("text")})
    yield _picture(
        "v3/image-to-image", {**_plain_image(), "image_url": Field("url", required=True)}
    )


# -- images --


def _plain_image() -> dict[str, Field]:
    return {
        **_PROMPT,
        "resolution": Field("enum", allowed=("1K", "2K")),
        "num_images": Field("int", low=1, high=9),
        "aspect_ratio": Field("enum", allowed=IMAGE_RATIOS),
        "elements": Field("elements"),
        "output_format": Field("enum", allowed=("jpeg", "png", "webp")),
        "sync_mode": Field("bool"),
    }


def _picture(below: str, fields: _Fields, references: int | None = None) -> Endpoint:
    return Endpoint(
        id=f"fal-ai/kling-image/{below}",
        media="image",
        speed="image",
        tier="pro",
        operation="image-to-image" if below == "o1" else below.partition("/")[2],
        fields=fields,
        tariff=PER_IMAGE,
        references=references,
    )


# -- 2.6 --

#: fal states no length of what must not be seen.
_V2_6_STYLE: _Fields = {**_STYLE, "negative_prompt": Field("text")}
_V2_6: Mapping[str, _Fields] = {
    "text-to-video": {**_PROMPT, **_RATIO, **_V2_6_STYLE},
    "image-to-video": {
        **_PROMPT,
        **_START,
        **{name: field for name, field in _V2_6_STYLE.items() if name != "cfg_scale"},
        "voice_ids": Field("texts", high=2),
    },
}


def _v2_6() -> Iterator[Endpoint]:
    for operation, fields in _V2_6.items():
        yield Endpoint(
            id=f"fal-ai/kling-video/v2.6/pro/{operation}",
            media="video",
            speed="pro",
            tier="pro",
            operation=operation,
            fields={**fields, "duration": Field("enum", allowed=("5", "10"))},
            tariff=Tariff(unit_micro_usd=_UNIT, second=70_000, sound=140_000, voice=168_000),
            sound_default=True,
        )
    yield _motion("v2.6", "standard", 70_000, {})
    yield _motion("v2.6", "pro", 112_000, {})


# -- O1 --

_TEN: _Fields = {"duration": Field("enum", allowed=tuple(map(str, range(3, 11))))}
_O1_SOURCE: _Fields = {
    **_PROMPT,
    "video_url": Field("url", required=True),
    **_REFERENCES,
    "keep_audio": Field("bool"),
}
_O1: Mapping[str, _Fields] = {
    "image-to-video": {**_PROMPT, **_START, **_TEN},
    "reference-to-video": {**_PROMPT, **_REFERENCES, **_TEN, **_RATIO},
    "video-to-video/edit": _O1_SOURCE,
    "video-to-video/reference": {
        **_O1_SOURCE,
        **_TEN,
        "aspect_ratio": Field("enum", allowed=("auto", *VIDEO_RATIOS)),
    },
}


def _o1() -> Iterator[Endpoint]:
    for operation, fields in _O1.items():
        edits = operation.startswith("video-to-video")
        made, edited = {"standard": 84_000, "pro": 112_000}, {"standard": 126_000, "pro": 168_000}
        for tier, segment in (("standard", "standard/"), ("pro", "")):
            yield Endpoint(
                id=f"fal-ai/kling-video/o1/{segment}{operation}",
                media="video",
                speed="edit" if edits else tier,
                tier=tier,
                operation=operation,
                fields=fields,
                tariff=Tariff(unit_micro_usd=_UNIT, second=(edited if edits else made)[tier]),
                references=4 if edits else 7,
                views=True,
                clips=(3.0, 10.0),
                sound="kept" if edits else "never",
                sound_field="keep_audio",
            )
    fields = {
        **_plain_image(),
        "aspect_ratio": Field("enum", allowed=("auto", *IMAGE_RATIOS)),
        "image_urls": Field("urls", required=True, high=10),
    }
    yield _picture("o1", fields, references=10)


# -- 4.0 --

_LONG_PROMPT: _Fields = {"prompt": Field("text", required=True)}
_V4_REFERENCES: _Fields = {
    "start_image_url": Field("url"),
    "image_urls": Field("urls", high=10),
    "video_urls": Field("urls", high=5),
    "elements": Field("elements", high=7),
    "end_image_url": Field("url"),
}


def _long(longest: int) -> dict[str, Field]:
    """Prompt or shots, and a length that is a whole number."""
    return {
        "prompt": Field("text"),
        "multi_prompt": Field("shots"),
        "duration": Field("int", low=3, high=longest),
    }


_SIZE: _Fields = {"resolution": Field("enum", allowed=("720p", "1080p"))}
_WIDE: _Fields = {"aspect_ratio": Field("enum", allowed=("auto", *VIDEO_RATIOS, "21:9"))}
_FRAMES: _Fields = {**_START, "middle_image_urls": Field("urls", high=8)}
_V4: Mapping[str, _Fields] = {
    "text-to-video": {**_long(30), **_SIZE, **_WIDE},
    "image-to-video": {**_FRAMES, **_long(30), **_SIZE},
    "reference-to-video": {**_V4_REFERENCES, **_long(30), **_SIZE, **_WIDE},
    "video-to-video/edit": {
        **_LONG_PROMPT,
        "video_url": Field("url", required=True),
        **_REFERENCES,
        **_SIZE,
        "keep_audio": Field("bool"),
    },
}
_FLASH: Mapping[str, _Fields] = {
    "text-to-video": {**_long(20), **_WIDE},
    "image-to-video": {"start_image_url": Field("url", required=True), **_long(20)},
    "reference-to-video": {
        **{name: field for name, field in _V4_REFERENCES.items() if not name.endswith("image_url")},
        **_long(20),
        **_WIDE,
    },
    "video-to-video": {
        **_LONG_PROMPT,
        "video_url": Field("url", required=True),
        "image_urls": Field("urls"),
    },
}
_V4_TARIFF = Tariff(
    unit_micro_usd=157_000,
    resolutions={"720p": (157_000, 94_000), "1080p": (235_000, 141_000)},
)


def _v4() -> Iterator[Endpoint]:
    for operation, fields in _V4.items():
        yield Endpoint(
            id=f"kling/v4/{operation}",
            media="video",
            speed="edit" if operation.startswith("video-to-video") else "pro",
            tier="pro",
            operation=operation,
            fields=fields,
            tariff=_V4_TARIFF,
            both_prompts=True,
            shots=30,
            clips=(3.0, 30.0),
            sound="always",
        )
    for operation, fields in _FLASH.items():
        edits = operation == "video-to-video"
        yield Endpoint(
            id=f"kling/v4/flash/{operation}",
            media="video",
            speed="standard",
            tier="standard",
            operation=operation,
            fields=fields,
            tariff=Tariff(unit_micro_usd=94_000, second=126_000 if edits else 94_000, clip=126_000),
            both_prompts=True,
            shots=20,
            clips=(3.0, 20.0),
            sound="always",
        )


FAMILIES: Mapping[str, Endpoint] = {each.id: each for each in (*_v4(), *_v3(), *_v2_6(), *_o1())}
