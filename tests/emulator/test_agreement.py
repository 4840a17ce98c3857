"""The emulator's tables against the catalogue, endpoint by endpoint: two readings of one sheet.

Neither was written from the other. Where they differ, the sheet (docs/fal-api.md) leaves it open,
or the catalogue asks for more on purpose; each such point is listed here with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator

from kling_batch.catalog.drift import Change, differences
from kling_batch.catalog.endpoint import Endpoint
from kling_batch.catalog.openapi import Schema, input_schema
from kling_batch.catalog.registry import endpoints
from kling_batch.emulator.catalogue import CATALOGUE
from kling_batch.emulator.schema_api import document

#: Endpoint, parameter, what differs → why.
EXPLAINED = {
    ("fal-ai/kling-video/video-to-audio", "sound_effect_prompt", "required"): "fal: a car race",
    ("fal-ai/kling-video/video-to-audio", "background_music_prompt", "required"): "the same",
    **{
        (f"fal-ai/kling-video/{place}", "multi_prompt", "maxItems"): "six upstream, none at fal"
        for place in (
            *(
                f"o3/{tier}/{made}-to-video"
                for tier in ("standard", "pro", "4k")
                for made in ("text", "image", "reference")
            ),
            *(
                f"v3/{tier}/{made}-to-video"
                for tier in ("standard", "pro", "4k")
                for made in ("text", "image")
            ),
        )
    },
}

#: What the sheet leaves to `endpoint:`, and the emulator has.
ONLY_BY_ID = {
    *(
        f"fal-ai/kling-video/{place}/effects"
        for place in ("v1/standard", "v1.5/pro", "v1.6/standard", "v1.6/pro")
    ),
    *(f"fal-ai/kling-video/v1/{tier}/ai-avatar" for tier in ("standard", "pro")),
}

LIMITS = {
    "text": ("minLength", "maxLength"),
    "whole": ("minimum", "maximum"),
    "decimal": ("minimum", "maximum"),
    "list": ("minItems", "maxItems"),
}


def found_in(endpoint: Endpoint) -> Iterator[tuple[str, str, str]]:
    """What `catalog --check` would tell, and what only the catalogue limits."""
    theirs = input_schema(document(CATALOGUE[endpoint.id]), endpoint.id)
    assert theirs is not None
    for each in differences(endpoint, theirs):
        yield endpoint.id, each.name, each.change.value
    for parameter in endpoint.parameters:
        if parameter.name not in theirs.properties or parameter.open:
            continue
        field = theirs.properties[parameter.name]
        if parameter.choices and not field.choices:
            yield endpoint.id, parameter.name, Change.CHOICES.value
        yield from unlimited(
            endpoint.id,
            parameter.name,
            field,
            LIMITS.get(parameter.kind, ()),
            (parameter.minimum, parameter.maximum),
        )


def unlimited(
    endpoint: str,
    name: str,
    field: Schema,
    words: tuple[str, ...],
    limits: tuple[float | None, float | None],
) -> Iterator[tuple[str, str, str]]:
    """Hard limits that the emulator does not know."""
    for word, limit in zip(words, limits, strict=False):
        if limit is not None and field.number(word) is None:
            yield endpoint, name, word


def test_both_have_the_same_endpoints() -> None:
    assert set(CATALOGUE) - ONLY_BY_ID == {endpoint.id for endpoint in endpoints()}


def test_both_read_the_same_parameters_and_limits() -> None:
    different = {point for endpoint in endpoints() for point in found_in(endpoint)}

    assert different == EXPLAINED.keys()


def test_both_make_the_same_kind_of_thing() -> None:
    for endpoint in endpoints():
        assert CATALOGUE[endpoint.id].media == endpoint.output, endpoint.id
