"""Kling 2.5 Turbo to 1.0, effects and try-on of the emulated platform, as data.

Written from docs/fal-api.md#generations, not from the client's catalogue, so that each checks the
other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .endpoints import VIDEO_RATIOS, Endpoint, Field, Tariff

_Fields = Mapping[str, Field]

_UNIT = 140_000
_CLIP: _Fields = {
    "prompt": Field("text", required=True),
    "duration": Field("enum", allowed=("5", "10")),
    "negative_prompt": Field("text"),
}
_FREE: _Fields = {**_CLIP, "cfg_scale": Field("float", low=0, high=1)}
_RATIO: _Fields = {"aspect_ratio": Field("enum", allowed=VIDEO_RATIOS)}
_START: _Fields = {"image_url": Field("url", required=True)}
_TAIL: _Fields = {"tail_image_url": Field("url")}
_MASKS: _Fields = {"static_mask_url": Field("url"), "dynamic_masks": Field("objects")}
_CAMERA: _Fields = {
    "camera_control": Field(
        "enum", allowed=("down_back", "forward_up", "right_turn_forward", "left_turn_forward")
    ),
    "advanced_camera_control": Field("object"),
}
_EFFECTS: _Fields = {
    "effect_scene": Field("text", required=True),
    "input_image_urls": Field("urls"),
    "duration": Field("enum", allowed=("5", "10")),
}
_ELEMENTS: _Fields = {
    "input_image_urls": Field("urls", required=True, high=4),
    **_CLIP,
    **_RATIO,
}

#: Family and tier → the end of the id → its fields, and micro-dollars a second. Of what has no
#: published price (1.0, 1.5, 1.6, effects) the nearest generation's is taken.
_ENDPOINTS: Mapping[str, tuple[Mapping[str, _Fields], int]] = {
    "v2.5-turbo/pro": (
        {"text-to-video": {**_FREE, **_RATIO}, "image-to-video": {**_START, **_TAIL, **_FREE}},
        70_000,
    ),
    "v2.5-turbo/standard": ({"image-to-video": {**_START, **_FREE}}, 42_000),
    "v2.1/master": (
        {"text-to-video": {**_FREE, **_RATIO}, "image-to-video": {**_START, **_FREE}},
        280_000,
    ),
    "v2.1/pro": ({"image-to-video": {**_START, **_TAIL, **_FREE}}, 98_000),
    "v2.1/standard": ({"image-to-video": {**_START, **_FREE}}, 56_000),
    "v2/master": (
        {"text-to-video": {**_FREE, **_RATIO}, "image-to-video": {**_START, **_FREE}},
        280_000,
    ),
    "v1.6/standard": (
        {
            "text-to-video": {**_FREE, **_RATIO},
            "image-to-video": {**_START, **_FREE},
            "elements": _ELEMENTS,
            "effects": _EFFECTS,
        },
        56_000,
    ),
    "v1.6/pro": (
        {
            "text-to-video": {**_FREE, **_RATIO},
            "image-to-video": {**_START, **_TAIL, **_FREE, **_RATIO},
            "elements": _ELEMENTS,
            "effects": _EFFECTS,
        },
        98_000,
    ),
    "v1.5/pro": (
        {
            "text-to-video": {**_FREE, **_RATIO},
            "image-to-video": {**_START, **_TAIL, **_FREE, **_RATIO, **_MASKS},
            "effects": _EFFECTS,
        },
        98_000,
    ),
    "v1/standard": (
        {
            "text-to-video": {**_FREE, **_RATIO, **_CAMERA},
            "image-to-video": {**_START, **_TAIL, **_FREE, **_MASKS},
            "effects": _EFFECTS,
        },
        56_000,
    ),
}


def _endpoints() -> Iterator[Endpoint]:
    for place, (operations, second) in _ENDPOINTS.items():
        tier = place.partition("/")[2]
        speed = "standard" if tier == "standard" else "pro"
        unit = second if place == "v2.1/master" else _UNIT
        for operation, fields in operations.items():
            yield Endpoint(
                id=f"fal-ai/kling-video/{place}/{operation}",
                media="video",
                speed=speed,
                tier=speed,
                operation=operation,
                fields=fields,
                tariff=Tariff(unit_micro_usd=unit, second=second),
                sound="never",
            )
    yield Endpoint(
        id="fal-ai/kling/v1-5/kolors-virtual-try-on",
        media="image",
        speed="image",
        operation="try-on",
        fields={
            "human_image_url": Field("url", required=True),
            "garment_image_url": Field("url", required=True),
            "sync_mode": Field("bool"),
        },
        tariff=Tariff(unit="request", unit_micro_usd=70_000, call=70_000),
    )


EARLIER: Mapping[str, Endpoint] = {each.id: each for each in _endpoints()}
