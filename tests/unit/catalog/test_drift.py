"""The catalogue against fal's schemas: what has moved is told, whatever form the document has."""

from __future__ import annotations

from typing import Any

import pytest

from kling_batch.catalog.drift import Change, differences
from kling_batch.catalog.openapi import input_schema
from kling_batch.catalog.registry import find

T2V = find("text-to-video", "pro")
KINDS = {
    "text": "string",
    "choice": "string",
    "flag": "boolean",
    "list": "array",
    "whole": "integer",
    "url": "string",
}


def document(**changes: Any) -> dict[str, Any]:
    """The schema as the catalogue has it, in fal's form; None removes a field."""
    properties: dict[str, Any] = {}
    for each in T2V.parameters:
        properties[each.name] = {"type": KINDS[each.kind]}
        if each.choices:
            properties[each.name]["enum"] = list(each.choices)
        if each.kind == "text":
            properties[each.name]["maxLength"] = each.maximum
    required = changes.pop("required", list(T2V.required))
    properties |= changes
    fields = {name: value for name, value in properties.items() if value is not None}
    return {
        "paths": {
            "/x/requests/{request_id}": {"get": {"responses": {}}},
            f"/{T2V.id}": {
                "post": {
                    "requestBody": {
                        "content": {"application/json": {"schema": {"$ref": "#/components/In"}}}
                    }
                }
            },
        },
        "components": {"In": {"properties": fields, "required": required}},
    }


def moved(**changes: Any) -> list[tuple[str, str]]:
    schema = input_schema(document(**changes), T2V.id)
    assert schema is not None
    return [(each.change.value, each.name) for each in differences(T2V, schema)]


RATIO = ["16:9", "9:16", "1:1"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"seed": {"type": "integer"}}, [("new", "seed")]),
        ({"shot_type": None}, [("gone", "shot_type")]),
        ({"required": ["prompt"]}, [("required", "prompt")]),
        ({"aspect_ratio": {"enum": [*RATIO, "4:3"]}}, [("choices", "aspect_ratio")]),
        ({"aspect_ratio": {"enum": RATIO[:2]}}, [("choices", "aspect_ratio")]),
        ({"prompt": {"type": "string", "maxLength": 3000}}, [("limit", "prompt")]),
        ({"prompt": {"type": "string", "minLength": 1}}, []),
        ({"generate_audio": {"type": "boolean", "default": True}}, [("default", "generate_audio")]),
        ({"multi_prompt": {"type": "array", "maxItems": 4}}, [("limit", "multi_prompt")]),
        # The forms in which pydantic writes a field that may be null.
        ({"aspect_ratio": {"anyOf": [{"type": "null"}, {"enum": RATIO}]}}, []),
        ({"aspect_ratio": {"allOf": [{"enum": RATIO[1:]}]}}, [("choices", "aspect_ratio")]),
        (
            {
                "multi_prompt": {
                    "anyOf": [{"items": {"properties": {"prompt": {}, "camera": {}}}}, {}]
                }
            },
            [
                ("new", "multi_prompt.camera"),
                ("gone", "multi_prompt.duration"),
                ("required", "multi_prompt.prompt"),
            ],
        ),
    ],
)
def test_what_has_moved_is_reported_by_parameter(
    changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert sorted(moved(**changes)) == sorted(expected)


def test_a_default_of_fals_is_no_change_of_what_is_bought() -> None:
    schema = input_schema(document(generate_audio={"default": True}), T2V.id)
    assert schema is not None

    (found,) = differences(T2V, schema)

    assert found.change is Change.DEFAULT
    assert not found.moved
    assert "False is always sent" in found.message or "false is always sent" in found.message


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        "text",
        {},
        {"paths": []},
        {"paths": {f"/{T2V.id}": {"post": 3}}},
        {"paths": {f"/{T2V.id}": {"post": {"requestBody": {"content": None}}}}},
    ],
)
def test_a_document_of_another_form_is_no_schema(odd: Any) -> None:
    assert input_schema(odd, T2V.id) is None


def test_references_in_a_circle_end() -> None:
    circle = document()
    circle["components"]["In"] = {"$ref": "#/components/In"}

    assert input_schema(circle, T2V.id) is None


def test_odd_values_in_a_schema_are_left_out() -> None:
    odd = {"enum": "none", "maxLength": "many", "minimum": True, "items": 3, "default": [1]}

    assert {kind for kind, _ in moved(prompt=odd, aspect_ratio=odd)} <= {"default"}
