"""The border: what a manifest may say, and where, before anything is made of it.

The only home of `pydantic`. The model, made of the tables in `fields.py`, checks the frame; what a
parameter may hold is judged by the catalogue once templates are rendered. `schema()` prints the
same model for editors. Must not expand, render or look anything up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as data_field
from functools import cache
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic import Field as ModelField
from pydantic_core import ErrorDetails, PydanticCustomError

from kling_batch.catalog.json_schema import DEFINITIONS, Schema, by_mode, shared
from kling_batch.core.diagnostics import nearest, show
from kling_batch.core.jobs import JSON, Limits
from kling_batch.errors import ArgumentPath, Problem
from kling_batch.manifest import fields
from kling_batch.manifest.fields import Field
from kling_batch.manifest.paths import DEFAULT_PATH


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest whose frame is sound; its strings are as written, templates and all."""

    name: str | None = None
    output: str | None = None
    path: str = DEFAULT_PATH
    limits: Limits = data_field(default=Limits())
    vars: Mapping[str, JSON]
    env: Mapping[str, str]
    defaults: Mapping[str, JSON]
    #: None where an entry is no mapping: it is reported, and keeps its number.
    entries: tuple[Mapping[str, JSON] | None, ...]


def read_manifest(value: JSON) -> tuple[Manifest, list[Problem]]:
    """The valid part of a document, and a problem for everything else."""
    if not isinstance(value, Mapping):
        message = f"a manifest is a mapping with `jobs:`, not {show(value)}"
        return _manifest({}), [Problem.about((), message, "wrong-type")]
    problems: list[Problem] = []
    frame = _copy(value)
    # Each round cuts what was wrong out of the frame, so that the rest can be judged as well.
    while found := _errors(frame):
        for error in found:
            problems.append(_problem(error))
            _cut(frame, error["loc"])
    return _manifest(frame), problems


_CONFIG = ConfigDict(extra="forbid")
#: Top-level keys that mean nothing here; `$schema` is how JSON names its own for editors.
_AUTHORS = r"^(x-|\$schema$)"
#: Stands in a frame for what was no job.
_CUT = {"id": None, "mode": None}


@cache
def schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a manifest."""
    made = _model().model_json_schema()
    job = made["$defs"]["Job"]
    job["allOf"] = by_mode()
    job["anyOf"] = [{"required": [name]} for name in ("id", "from", "matrix")]
    made |= {"required": ["jobs"], "patternProperties": {_AUTHORS: True}}
    definitions = {**made.pop("$defs"), **DEFINITIONS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_tidy(made),
        "title": "kling-batch manifest",
        "$defs": {name: _tidy(part) for name, part in definitions.items()},
    }


def _tidy(part: Schema) -> Schema:
    """Without pydantic's titles and null defaults, and with references instead of repetition."""
    part = {name: shared(inner) for name, inner in part.items() if name != "title"}
    for inner in part.get("properties", {}).values():
        inner.pop("title", None)
        if inner.get("default", ...) is None:
            del inner["default"]
    return part


@cache
def _model() -> type[BaseModel]:
    job: Any = _table_model("Job", fields.JOB)
    limits: Any = _table_model("Limits", fields.LIMITS)
    defaults: Any = _table_model("Defaults", fields.DEFAULTS)
    jobs = ModelField(min_length=1, description="The renders to be had.")
    parts: dict[str, Any] = {
        "limits": (limits | None, None),
        "defaults": (defaults | None, None),
        "jobs": (list[job], jobs),
    }
    return _table_model("Manifest", fields.MANIFEST, parts)


def _table_model(
    name: str, table: Mapping[str, Field], more: Mapping[str, Any] | None = None
) -> type[BaseModel]:
    definitions: dict[str, Any] = {each: (_annotated(entry), None) for each, entry in table.items()}
    return create_model(name, __config__=_CONFIG, **definitions, **(more or {}))


def _annotated(field: Field) -> Any:
    def validate(value: JSON) -> JSON:
        try:
            return _read(field, value)
        except ValueError as error:
            # Braces are pydantic's own placeholders: the message goes in as the value of one.
            raise PydanticCustomError("manifest", "{text}", {"text": str(error)}) from None

    options = [field.schema, {"type": "null"}] if field.optional else [field.schema]
    told = {"description": field.doc, "anyOf": options}
    return Annotated[Any, BeforeValidator(validate), WithJsonSchema(told)]


def _copy(value: Mapping[str, JSON]) -> dict[str, JSON]:
    """A copy that can be cut; keys that begin with `x-` are the author's own, for anchors."""
    frame = {name: entry for name, entry in value.items() if not re.match(_AUTHORS, name)}
    for name in ("limits", "defaults"):
        if isinstance(frame.get(name), Mapping):
            frame[name] = dict(frame[name])
    if isinstance(frame.get("jobs"), list):
        frame["jobs"] = [dict(job) if isinstance(job, Mapping) else job for job in frame["jobs"]]
    return frame


def _manifest(frame: Mapping[str, JSON]) -> Manifest:
    limits = {
        name: value for name, value in (frame.get("limits") or {}).items() if value is not None
    }
    if (attempts := _read(fields.MANIFEST["retry"], frame.get("retry"))) is not None:
        limits.setdefault("retry_attempts", attempts)
    return Manifest(
        name=_read(fields.MANIFEST["name"], frame.get("name")),
        output=_read(fields.MANIFEST["output"], frame.get("output")),
        path=frame.get("path") or DEFAULT_PATH,
        limits=Limits(**{name: _read(fields.LIMITS[name], each) for name, each in limits.items()}),
        vars=frame.get("vars") or {},
        env=frame.get("env") or {},
        defaults=frame.get("defaults") or {},
        entries=tuple(None if job == _CUT else job for job in frame.get("jobs", ())),
    )


def _read(field: Field, value: JSON) -> Any:
    return value if value is None or field.read is None else field.read(value)


def _errors(frame: Mapping[str, JSON]) -> list[ErrorDetails]:
    try:
        _model().model_validate(frame)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _cut(frame: dict[str, JSON], loc: ArgumentPath) -> None:
    """Remove what an error is about; a job that is no mapping becomes an empty one."""
    match loc:
        case ("jobs", int(index)):
            frame["jobs"][index] = dict(_CUT)
        case ("jobs", int(index), str(name), *_):
            frame["jobs"][index].pop(name, None)
        case ("limits" | "defaults" as part, str(name), *_):
            frame[part].pop(name, None)
        case ("jobs",) | ():
            frame["jobs"] = [dict(_CUT)]
        case _:
            frame.pop(str(loc[0]), None)


def _problem(error: ErrorDetails) -> Problem:
    path = tuple(error["loc"])
    name = path[-1] if path else ""
    value = error["input"]
    match error["type"], path:
        case "manifest", _:
            return Problem.about(path, f"`{name}` {_sentence(error)}", "wrong-value")
        case "extra_forbidden", _:
            return _unknown(path)
        case (("missing" | "list_type" | "too_short"), _):
            message = "`jobs` must be a list with at least one job"
            return Problem.about(path, message, "missing", "- id: …")
        case _, ("jobs", int()):
            message = f"a job is a mapping with `id:` and more, not {show(value)}"
            return Problem.about(path, message, "wrong-type")
        case _:
            return Problem.about(
                path, f"`{name}` must be a mapping, not {show(value)}", "wrong-type"
            )


def _sentence(error: ErrorDetails) -> str:
    text = error["msg"]
    return text if text.startswith(("must", "has", "contains", "names")) else f"is wrong: {text}"


def _unknown(path: ArgumentPath) -> Problem:
    known: Iterable[str]
    match path:
        case ("jobs", _, _):
            known, where = fields.JOB, "a job"
        case ("limits", _):
            known, where = fields.LIMITS, "`limits`"
        case ("defaults", _):
            known, where = fields.DEFAULTS, "`defaults`"
        case _:
            known, where = (
                {**fields.MANIFEST, "limits": None, "defaults": None, "jobs": None},
                "a manifest",
            )
    hint = nearest(path[-1], known)
    if not hint and path[0] in ("jobs", "defaults"):
        hint = "new parameters of the API go into `params:`"
    return Problem.about(path, f"{where} has no key `{path[-1]}`", "unknown-key", hint)
