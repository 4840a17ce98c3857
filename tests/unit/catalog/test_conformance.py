"""Inputs against fal's schemas: errors are sentences, and what is ambiguous is a doubt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kling_batch.catalog.conformance import conformity
from kling_batch.catalog.openapi import input_as_written
from kling_batch.core.diagnostics import Collector
from kling_batch.core.jobs import JobKey, LocalFile, OutputOf

ID = "fal-ai/flux/dev"
LORA = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "scale": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 4}, {"type": "null"}]},
    },
    "required": ["path"],
}
SIZE = {
    "type": "object",
    "properties": {"width": {"type": "integer", "maximum": 14142}, "height": {"type": "integer"}},
}
FIELDS: dict[str, Any] = {
    "prompt": {"type": "string", "minLength": 3, "maxLength": 20, "description": "What. More."},
    "image_url": {"type": "string", "format": "uri"},
    "duration": {"type": "string", "enum": ["5", "10"]},
    "seconds": {"enum": [5, 10], "type": "integer"},
    "steps": {"type": "integer", "minimum": 1, "exclusiveMaximum": 50},
    "old": {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
    "side": {"type": "integer", "multipleOf": 8},
    "cfg": {"type": "number", "minimum": 0, "maximum": 1},
    "flag": {"type": "boolean"},
    "urls": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "minItems": 1},
    "image_size": {
        "anyOf": [
            {"$ref": "#/components/schemas/Size"},
            {"type": "string", "enum": ["square", "landscape_4_3"]},
        ]
    },
    "loras": {"type": "array", "items": {"$ref": "#/components/schemas/Lora"}},
    "either": {
        "oneOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]},
        ]
    },
    "open": {"type": "object", "additionalProperties": {"type": "number"}},
    "kind": {"const": "new"},
    "maybe": {"type": ["string", "null"]},
    "nullable": {"type": "string", "nullable": True},
    "defaulted": {"type": "string", "default": "x"},
    "circle": {"$ref": "#/components/schemas/Circle"},
    "both": {
        "allOf": [
            {"properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    "anything": {},
}
SCHEMAS = {
    "Input": {"type": "object", "properties": FIELDS, "required": ["prompt"]},
    "Lora": LORA,
    "Size": SIZE,
    "Circle": {
        "anyOf": [{"$ref": "#/components/schemas/Circle"}, {"$ref": "#/components/schemas/Circle"}]
    },
}


#: One reference after the other, and one that leads back to itself eight times.
SCHEMAS |= {f"Long{n}": {"$ref": f"#/components/schemas/Long{n + 1}"} for n in range(1500)}
SCHEMAS["Doubling"] = {"allOf": [{"$ref": "#/components/schemas/Doubling"}] * 8}


def document(body: Any) -> dict[str, Any]:
    post = {"requestBody": {"content": {"application/json": {"schema": body}}}}
    return {"paths": {f"/{ID}": {"post": post}}, "components": {"schemas": SCHEMAS}}


def held(arguments: dict[str, Any], body: Any = None) -> Collector:
    schema = input_as_written(document(body or {"$ref": "#/components/schemas/Input"}), ID)
    assert schema is not None
    return conformity(ID, schema, arguments)


FILE = LocalFile(sha256="0" * 64, path=Path("a.png"), size=1, content_type="image/png")
OUTPUT = OutputOf(key=JobKey("k1:0"), job_id="still", take=1)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"image_url": "https://a.example/1.png"},
        {"image_url": FILE},
        {"image_url": OUTPUT, "urls": [OUTPUT]},
        {"duration": "5", "seconds": 5, "steps": 49, "side": 512, "cfg": 0.5, "flag": False},
        {"steps": 3.0, "cfg": 1},
        {"old": 2},
        {"urls": ["a", "b"]},
        {"image_size": "square"},
        {"image_size": {"width": 512, "height": 512}},
        {"loras": [{"path": "a", "scale": None}, {"path": "b", "scale": 4}]},
        {"either": {"b": 1}},
        {"open": {"x": 1, "y": 2.5}},
        {"kind": "new", "maybe": None, "nullable": None, "anything": {"x": [None]}},
        {"circle": "what it is nobody knows"},
        {"both": {"a": "x", "b": "y"}},
    ],
)
def test_what_fal_takes_is_no_problem(arguments: dict[str, Any]) -> None:
    found = held({"prompt": "a boat", **arguments})

    assert (found.errors, found.warnings) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "path", "message", "hint"),
    [
        ({"prompt": None}, ("prompt",), "`prompt` must not be null", "leave it out"),
        ({"promt": "x"}, ("promt",), f"{ID} has no parameter `promt`", "did you mean `prompt`?"),
        ({"prompt": "x" * 21}, ("prompt",), "`prompt` has 21 characters; fal takes at most 20", ""),
        ({"prompt": "x"}, ("prompt",), "`prompt` has 1 characters; fal takes at least 3", ""),
        ({"prompt": 1234}, ("prompt",), "`prompt` must be text, not 1234", 'quotes: "1234"'),
        ({"duration": 5}, ("duration",), "`duration` must be text, not 5", 'quotes: "5"'),
        ({"duration": "7"}, ("duration",), '`duration` is "7"; fal takes 5, 10', ""),
        ({"seconds": True}, ("seconds",), "`seconds` must be a whole number, not true", ""),
        ({"seconds": 7}, ("seconds",), "`seconds` is 7; fal takes 5, 10", ""),
        ({"steps": 0}, ("steps",), "`steps` is 0; fal takes at least 1", ""),
        ({"steps": 50}, ("steps",), "`steps` is 50; fal takes less than 50", ""),
        ({"steps": 1.5}, ("steps",), "`steps` must be a whole number, not 1.5", ""),
        ({"steps": "many"}, ("steps",), '`steps` must be a whole number, not "many"', ""),
        ({"old": 1}, ("old",), "`old` is 1; fal takes more than 1", ""),
        ({"side": 513}, ("side",), "`side` is 513; fal takes multiples of 8", ""),
        ({"cfg": 1.1}, ("cfg",), "`cfg` is 1.1; fal takes at most 1", ""),
        ({"cfg": "high"}, ("cfg",), '`cfg` must be a number, not "high"', ""),
        ({"flag": "perhaps"}, ("flag",), '`flag` must be true or false, not "perhaps"', ""),
        ({"urls": "a"}, ("urls",), '`urls` must be a list, not "a"', "[ ]"),
        ({"urls": ["a", "b", "c"]}, ("urls",), "`urls` has 3 items; fal takes at most 2", ""),
        ({"urls": []}, ("urls",), "`urls` has 0 items; fal takes at least 1", ""),
        ({"urls": ["a", 1]}, ("urls", 1), "`urls[1]` must be text, not 1", ""),
        (
            {"image_size": "landscape"},
            ("image_size",),
            '`image_size` is "landscape"; fal takes square, landscape_4_3',
            "did you mean `landscape_4_3`?",
        ),
        (
            {"image_size": {"width": 20000}},
            ("image_size", "width"),
            "`image_size.width` is 20000; fal takes at most 14142",
            "",
        ),
        ({"image_size": 5}, ("image_size",), "must be a mapping or text, not 5", ""),
        ({"loras": [{"scale": 1}]}, ("loras", 0), "`loras[0]` needs `path`", ""),
        (
            {"loras": [{"path": "a", "scale": 5}]},
            ("loras", 0, "scale"),
            "`loras[0].scale` is 5; fal takes at most 4",
            "",
        ),
        ({"open": {"x": "y"}}, ("open", "x"), '`open.x` must be a number, not "y"', ""),
        ({"kind": "old"}, ("kind",), '`kind` is "old"; fal takes new', ""),
        ({"both": {"a": "x"}}, ("both",), "`both` needs `b`", ""),
        ({"flag": OUTPUT}, ("flag",), "`flag` must be true or false", ""),
    ],
)
def test_what_fal_refuses_is_an_error_at_its_place(
    arguments: dict[str, Any], path: tuple[str | int, ...], message: str, hint: str
) -> None:
    found = held({"prompt": "a boat", **arguments})

    (error,) = found.errors
    assert error.path == path
    assert message in error.message
    assert hint in error.hint
    assert found.warnings == []


def test_what_is_missing_is_reported_with_what_it_is() -> None:
    (error,) = held({}).errors

    assert (error.message, error.hint) == (f"{ID} needs `prompt`", "What")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": "12"}, '`steps` must be a whole number; "12" may be read as such'),
        ({"cfg": "0.5"}, '`cfg` must be a number; "0.5" may be read as such'),
        ({"flag": "true"}, '`flag` must be true or false; "true" may be read as such'),
        ({"flag": 1}, "`flag` must be true or false; 1 may be read as such"),
        ({"either": {"c": 1}}, "`either` fits none of its 2 forms"),
    ],
)
def test_what_is_ambiguous_is_a_doubt(arguments: dict[str, Any], message: str) -> None:
    found = held({"prompt": "a boat", **arguments})

    assert [each.message for each in found.warnings] == [message]
    assert found.errors == []


def test_a_field_that_must_be_given_and_has_a_default_is_a_doubt() -> None:
    body = {"properties": FIELDS, "required": ["prompt", "defaulted"]}

    found = held({"prompt": "a boat"}, body)

    assert found.errors == []
    assert "`defaulted` must be given, and has a default" in found.warnings[0].message


@pytest.mark.parametrize("more", [True, {}, {"type": "string"}])
def test_unknown_names_are_fine_where_the_schema_allows_them(more: Any) -> None:
    body = {"properties": FIELDS, "additionalProperties": more}

    assert not held({"prompt": "a boat", "seed": "1"}, body)


@pytest.mark.parametrize(
    "odd",
    [
        {"enum": "none"},
        {"maxLength": "many", "minLength": None},
        {"type": ["strange", 3]},
        {"anyOf": [None, 3]},
        {"anyOf": "x", "allOf": {}, "$ref": 4},
        {"$ref": "#/components/schemas/Nothing"},
        {"properties": 3, "required": 4},
        {"items": 3},
        {"$ref": "#/components/schemas/Long0"},
        {"$ref": "#/components/schemas/Doubling"},
        {"anyOf": [{"const": n} for n in range(300)] + [{"type": "null"}]},
    ],
)
@pytest.mark.parametrize("value", ["text", 3, {"a": [1]}, ["x"]])
def test_a_schema_of_another_form_keeps_nobody_from_paying(odd: Any, value: Any) -> None:
    found = held({"x": value}, {"properties": {"x": odd}})

    assert found.errors == []


def test_a_schema_that_leads_back_to_itself_is_read_to_an_end() -> None:
    body = {"$ref": "#/components/schemas/Doubling", "properties": {"x": {"type": "integer"}}}

    (error,) = held({"x": [1]}, body).errors

    assert error.message == "`x` must be a whole number, not a list"


def test_inputs_of_endless_depth_end() -> None:
    nested: Any = "x"
    for _ in range(500):
        nested = [nested]
    SCHEMAS["Deep"] = {"type": "array", "items": {"$ref": "#/components/schemas/Deep"}}

    assert held({"x": nested}, {"properties": {"x": SCHEMAS["Deep"]}}).errors == []
