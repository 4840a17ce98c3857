"""JSON Schema fragments of parameters, for editors.

The schema of a whole manifest is made by `manifest/schema.py`. Must not know manifests. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.registry import default_model, index, models, models_with, modes
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


def parameter_names() -> tuple[str, ...]:
    """Every name that a parameter of any endpoint has."""
    return tuple(index().users)


def parameters_named(
    name: str, mode: str | None = None, model: str | None = None
) -> list[Parameter]:
    """Every definition of a parameter, or those of one mode, or of one mode of one model.

    A parameter also has the names that other endpoints have for it.
    """
    found: list[Parameter] = []
    for endpoint in index().users.get(name, ()):
        if mode in (None, endpoint.mode) and model in (None, endpoint.model):
            parameter = endpoint.by_any_name[name]
            if parameter not in found:
                found.append(parameter)
    # The definition under its own name first: it describes the name.
    return sorted(found, key=lambda parameter: parameter.name != name)


def by_mode() -> list[Schema]:
    """A job that names a mode has that mode's parameters, and with a model that model's alone."""
    return [
        *(_if_mode(mode, _narrowed(mode)) for mode in modes()),
        *({"if": _has(model=model), "then": _of_model(model)} for model in models()),
    ]


def by_default_model() -> list[Schema]:
    """For a manifest: the same for jobs that leave the model to `defaults:`, or unsaid."""
    unsaid = {"not": {"anyOf": [{"required": [name]} for name in ("model", "from", "matrix")]}}

    def jobs_of(model: str) -> Schema:
        return {"properties": {"jobs": {"items": {"if": unsaid, "then": _of_model(model)}}}}

    said = {
        "required": ["defaults"],
        "properties": {"defaults": {"type": "object", "required": ["model"]}},
    }
    return [
        {"if": {"not": said}, "then": jobs_of(default_model())},
        *(
            {
                "if": {"required": ["defaults"], "properties": {"defaults": _has(model=model)}},
                "then": jobs_of(model),
            }
            for model in models()
        ),
    ]


def model_definitions() -> dict[str, Schema]:
    """What by_mode and by_default_model refer to: the jobs of each model."""
    return {_definition(model): _jobs_of(model) for model in models()}


def _of_model(model: str) -> Schema:
    return {"$ref": f"#/$defs/{_definition(model)}"}


def _definition(model: str) -> str:
    return f"model-{model}"


def _jobs_of(model: str) -> Schema:
    """A job of a model: its modes, and the parameters that it has less of than other models."""
    # A mode that one other model alone has means that model, where none is said.
    absent = [each for each in modes() if model not in (found := models_with(each)) and found[1:]]
    narrowed = [
        _if_mode(mode, properties)
        for mode in modes(model)
        if (properties := _narrowed(mode, model))
    ]
    schema: Schema = {"properties": {"mode": {"not": {"enum": absent}}}} if absent else {}
    return {**schema, "allOf": narrowed} if narrowed else schema


def _if_mode(mode: str, properties: Schema) -> Schema:
    return {"if": _has(mode=mode), "then": {"properties": properties}}


def _has(**words: str) -> Schema:
    """The condition that a job has these words."""
    return {
        "type": "object",
        "properties": {name: {"const": word} for name, word in words.items()},
        "required": list(words),
    }


def shared(schema: JSON) -> JSON:
    """The same schema, with repeated parts replaced by references to `$defs`."""
    if isinstance(schema, list):
        return [shared(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    for name, definition in definitions().items():
        if schema == definition:
            return {"$ref": f"#/$defs/{name}"}
    return {name: shared(part) for name, part in schema.items()}


def _narrowed(mode: str, model: str | None = None) -> Schema:
    """Schemas of the parameters for which a mode accepts less than all modes together.

    With a model: for which that model's mode accepts less than the mode.
    """
    properties: Schema = {}
    for name in parameter_names():
        definitions = parameters_named(name, mode, model)
        wider = parameters_named(name, mode if model else None)
        if not definitions and wider:
            # Null removes a default, so it is allowed everywhere.
            properties[name] = {"type": "null"}
        elif definitions != wider:
            properties[name] = parameter_schema(definitions)
    return properties


def _options(parameter: Parameter) -> list[Schema]:
    return _OPTIONS[parameter.kind](parameter)


def _text_options(parameter: Parameter) -> list[Schema]:
    limit = _unless_open(parameter, {"maxLength": parameter.maximum})
    return [{"type": "string", "minLength": 1, **limit}, {"type": "number"}]


def _whole_options(parameter: Parameter) -> list[Schema]:
    limits = _unless_open(parameter, {"minimum": parameter.minimum, "maximum": parameter.maximum})
    return [{"type": "integer", **limits}]


def _decimal_options(parameter: Parameter) -> list[Schema]:
    limits = _unless_open(parameter, {"minimum": parameter.minimum, "maximum": parameter.maximum})
    return [{"type": "number", **limits}]


def _unless_open(parameter: Parameter, limits: Schema) -> Schema:
    """The limits that are known and no mere doubt."""
    return {
        name: each
        for name, each in limits.items()
        if each is not None and not (parameter.open and name.startswith("max"))
    }


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
    limit = _unless_open(parameter, {"maxItems": parameter.maximum})
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
    "decimal": _decimal_options,
    "flag": lambda _parameter: [{"type": "boolean"}],
    "url": _url_options,
    "voice": lambda parameter: [*_text_options(parameter), REFERENCE],
    "list": _list_options,
    "object": _object_options,
}


@cache
def definitions() -> dict[str, Schema]:
    """Everything that the schema refers to by name, parameters in all their forms included."""
    found = {"template": TEMPLATE, "reference": REFERENCE}
    for name in parameter_names():
        cases = [(mode, model) for mode in modes() for model in (None, *models_with(mode))]
        forms = [
            parameter_schema(parameters)
            for case in [(None, None), *cases]
            if (parameters := parameters_named(name, *case))
        ]
        distinct = [form for n, form in enumerate(forms) if form not in forms[:n]]
        found |= {f"{name}-{n}" if n else name: form for n, form in enumerate(distinct)}
    return found
