"""JSON Schema fragments of parameters, for editors.

The schema of a whole manifest is made by `manifest/schema.py`. Must not know manifests. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kling_batch.catalog.registry import CATALOG, MODES, PARAMETER_MODES, Parameter
from kling_batch.core.jobs import JSON

Schema = dict[str, Any]

#: Text with a template in it is allowed wherever a value is.
TEMPLATE: Schema = {"type": "string", "pattern": r"\{[{%]", "title": "a template"}
REFERENCE: Schema = {
    "type": "object",
    "title": "an output of another job",
    "properties": {
        "job": {"type": ["string", "integer"], "description": "The id of the other job."},
        "take": {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 1000},
                {"const": "picked"},
                TEMPLATE,
            ],
            "default": 1,
            "description": "Which of its takes; `picked` waits for a person's pick.",
        },
        "output": {
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": 1000}, TEMPLATE],
            "default": 1,
            "description": "Which of its files; they count from 1.",
        },
    },
    "required": ["job"],
    "additionalProperties": False,
}


def parameter_schema(parameters: Sequence[Parameter]) -> Schema:
    """The schema of a parameter: what any of its definitions accepts."""
    options: list[Schema] = []
    for parameter in parameters:
        for option in _options(parameter):
            if option not in options:
                options.append(option)
    return {"description": parameters[0].doc, "anyOf": [*options, TEMPLATE, {"type": "null"}]}


def parameters_named(name: str, mode: str | None = None) -> list[Parameter]:
    """Every definition of a parameter, or those of one mode."""
    found: list[Parameter] = []
    for endpoint in CATALOG:
        parameter = endpoint.by_name.get(name)
        if parameter is not None and mode in (None, endpoint.mode) and parameter not in found:
            found.append(parameter)
    return found


def by_mode() -> list[Schema]:
    """For each mode: a job that names it has that mode's parameters and no others."""
    return [
        {
            "if": {"properties": {"mode": {"const": mode}}, "required": ["mode"]},
            "then": {"properties": _narrowed(mode)},
        }
        for mode in MODES
    ]


def shared(schema: JSON) -> JSON:
    """The same schema, with repeated parts replaced by references to `$defs`."""
    if isinstance(schema, list):
        return [shared(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    for name, definition in DEFINITIONS.items():
        if schema == definition:
            return {"$ref": f"#/$defs/{name}"}
    return {name: shared(part) for name, part in schema.items()}


def _narrowed(mode: str) -> Schema:
    """Schemas of the parameters for which a mode accepts less than all modes together."""
    properties: Schema = {}
    for name, modes in PARAMETER_MODES.items():
        definitions = parameters_named(name, mode)
        if mode not in modes:
            # Null removes a default, so it is allowed everywhere.
            properties[name] = {"type": "null"}
        elif definitions != parameters_named(name):
            properties[name] = parameter_schema(definitions)
    return properties


def _options(parameter: Parameter) -> list[Schema]:
    return _OPTIONS[parameter.kind](parameter)


def _text_options(parameter: Parameter) -> list[Schema]:
    limit = {} if parameter.maximum is None else {"maxLength": parameter.maximum}
    return [{"type": "string", "minLength": 1, **limit}, {"type": "number"}]


def _whole_options(parameter: Parameter) -> list[Schema]:
    limits = {"minimum": parameter.minimum, "maximum": parameter.maximum}
    return [{"type": "integer", **limits}]


def _url_options(parameter: Parameter) -> list[Schema]:
    what = f"address, data URI or local file of {parameter.media}"
    return [{"type": "string", "minLength": 1, "title": what}, REFERENCE]


def _choice_options(parameter: Parameter) -> list[Schema]:
    options: list[Schema] = [{"enum": [*parameter.choices, *parameter.aliases]}]
    numbers = [int(choice) for choice in parameter.choices if choice.isdecimal()]
    if numbers:
        options.append({"enum": numbers})
    if parameter.open:
        options.append({"type": "string", "minLength": 1})
    return options


def _list_options(parameter: Parameter) -> list[Schema]:
    assert parameter.item is not None
    items = _options(parameter.item)
    limit = {} if parameter.maximum is None else {"maxItems": parameter.maximum}
    return [{"type": "array", "items": {"anyOf": [*items, TEMPLATE]}, **limit}, *items]


def _object_options(parameter: Parameter) -> list[Schema]:
    schema = {
        "type": "object",
        "description": parameter.doc,
        "properties": {field.name: parameter_schema([field]) for field in parameter.fields},
        "required": [field.name for field in parameter.fields if field.required],
        "additionalProperties": False,
    }
    return [schema]


_OPTIONS: Mapping[str, Callable[[Parameter], list[Schema]]] = {
    "text": _text_options,
    "choice": _choice_options,
    "whole": _whole_options,
    "flag": lambda _parameter: [{"type": "boolean"}],
    "url": _url_options,
    "list": _list_options,
    "object": _object_options,
}

DEFINITIONS: dict[str, Schema] = {
    "template": TEMPLATE,
    "reference": REFERENCE,
    **{name: parameter_schema(parameters_named(name)) for name in PARAMETER_MODES},
}
