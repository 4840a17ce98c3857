"""Every key of a manifest as data: what reads it, what editors are told, what it is for.

A reader raises `InvalidValue` with a sentence. Where there is no reader, the value is judged later,
when its templates are rendered. `document.py` makes the model of this. Must not know places. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kling_batch.catalog.json_schema import TEMPLATE, Schema, parameter_schema, parameters_named
from kling_batch.catalog.parameters import whole_number
from kling_batch.catalog.registry import MODES, PARAMETER_MODES, TIERS
from kling_batch.core.diagnostics import InvalidValue, show
from kling_batch.core.jobs import JSON
from kling_batch.core.quantities import (
    _DURATION,
    _RATE,
    _YEAR,
    MicroUSD,
    parse_duration,
    parse_rate,
    parse_usd,
)

MOST_TAKES = 1000
#: Never a variable: keys stay out of ledgers, logs and prompts.
SECRETS = ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET")

_DOLLARS = r"^\s*\$?[0-9]{1,8}(?:\.[0-9]{1,6})?\s*$"
_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"


@dataclass(frozen=True, slots=True)
class Field:
    """One key: null means "not said"."""

    read: Callable[[JSON], JSON] | None
    schema: Schema
    doc: str
    #: Whether it may be null.
    optional: bool = True


# --- readers ------------------------------------------------------------------------------------


def money(value: JSON) -> MicroUSD:
    """Dollars as a number or as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidValue(f"{show(value)} is not an amount in dollars, such as 40.00")
    try:
        return parse_usd(value if isinstance(value, str) else show(value))
    except ValueError as error:
        raise InvalidValue(str(error)) from None


def takes(value: JSON) -> int:
    """How many takes are wanted."""
    number = whole_number(value)
    if number is None or not 1 <= number <= MOST_TAKES:
        raise InvalidValue(f"{show(value)} is not a whole number from 1 to {MOST_TAKES:,}")
    return number


def tags(value: JSON) -> tuple[str, ...]:
    """A list of words, or words with commas between them."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list):
        raise InvalidValue(f"must be a list of words, not {show(value)}")
    return tuple(dict.fromkeys(text(word) for word in words if word != ""))


def text(value: JSON) -> str:
    """Text that is not empty; a number counts as its digits."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidValue(f"must be text, not {show(value)}")
    written = value.strip() if isinstance(value, str) else show(value)
    if not written or "\x00" in written:
        raise InvalidValue("contains a NUL character" if written else "must not be empty")
    return written


def _between(low: int, high: int) -> Callable[[JSON], int]:
    def read(value: JSON) -> int:
        number = None if isinstance(value, str) else whole_number(value)
        if number is None or not low <= number <= high:
            raise InvalidValue(f"{show(value)} is not a whole number from {low} to {high:,}")
        return number

    return read


def _on_doubt(value: JSON) -> JSON:
    if value not in ("hold", "resubmit"):
        raise InvalidValue(f"{show(value)} is neither hold nor resubmit")
    return value


def _version(value: JSON) -> int:
    if isinstance(value, bool) or value != 1:
        raise InvalidValue(f"{show(value)} is no version that this program knows; write 1")
    return 1


def _mapping(value: JSON) -> Mapping[str, JSON]:
    if not isinstance(value, Mapping):
        raise InvalidValue(f"must be a mapping, not {show(value)}")
    return value


def _jobs(value: JSON) -> JSON:
    if not isinstance(value, list) or not value:
        raise InvalidValue("must be a list of jobs, each beginning with `- id:`")
    return value


def _variables(value: JSON) -> JSON:
    for name in _mapping(value):
        if not re.match(_NAME, name):
            raise InvalidValue(f"`{name}` is no name that a template could use: letters, digits, _")
    return value


def _environment(value: JSON) -> JSON:
    for name, source in _variables(value).items():
        if not isinstance(source, str) or not re.match(_NAME, source):
            raise InvalidValue(f"`{name}` must name an environment variable, not {show(source)}")
        if source in SECRETS:
            raise InvalidValue(f"{source} is a secret and never part of a manifest")
    return value


def _retry(value: JSON) -> JSON:
    """The number of attempts, or None."""
    said = _mapping(value)
    if unknown := [name for name in said if name != "attempts"]:
        raise InvalidValue(f"has no key {show(unknown[0])}; it has `attempts`")
    attempts = said.get("attempts")
    return None if attempts is None else _between(1, 100)(attempts)


def _matrix(value: JSON) -> JSON:
    if not _mapping(value):
        raise InvalidValue("has no names; give at least one list of values, or remove it")
    for name, entries in value.items():
        if not isinstance(entries, list):
            raise InvalidValue(f"`{name}` must be a list of values, not {show(entries)}")
        if name in ("include", "exclude"):
            if not all(isinstance(entry, Mapping) and entry for entry in entries):
                raise InvalidValue(f"`{name}` must be a list of mappings, such as [{{tier: pro}}]")
        elif not entries:
            raise InvalidValue(f"`{name}` is an empty list, so there would be no job at all")
        elif not re.match(_NAME, name):
            raise InvalidValue(f"`{name}` is no name that a template could use: letters, digits, _")
    return value


# --- what editors are told ----------------------------------------------------------------------

_TEXT: Schema = {"anyOf": [{"type": "string", "pattern": r"\S"}, {"type": "number"}]}
_WORD: Schema = {"type": "string", "pattern": r"\S"}
_OBJECT: Schema = {"type": "object"}
_NAMED: Schema = {"type": "object", "propertyNames": {"pattern": _NAME}}
_SECONDS: Schema = {
    "anyOf": [
        {"type": "string", "pattern": _DURATION},
        {"type": "number", "exclusiveMinimum": 0, "maximum": _YEAR},
    ],
    "examples": ["90s", "30m", "3h"],
}
_MONEY: Schema = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 10_000_000},
        {"type": "string", "pattern": _DOLLARS},
    ],
    "examples": [40.00],
}
_COMBINATIONS: Schema = {
    "type": "array",
    "items": {"type": "object", "minProperties": 1},
}
_MATRIX: Schema = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": _NAME},
    "properties": {
        "include": {**_COMBINATIONS, "description": "Combinations to add, or to add values to."},
        "exclude": {**_COMBINATIONS, "description": "Combinations to leave out."},
    },
    "additionalProperties": {"type": "array", "minItems": 1},
}


def _whole(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _templated(schema: Schema) -> Schema:
    return {"anyOf": [schema, TEMPLATE]}


# --- the keys -----------------------------------------------------------------------------------

LIMITS: dict[str, Field] = {
    "concurrency": Field(_between(1, 10_000), _whole(1, 10_000), "Open requests at most."),
    "rate": Field(
        parse_rate, {"type": "string", "pattern": _RATE}, "Submissions at most, such as 60/min."
    ),
    "max_cost": Field(money, _MONEY, "US dollars at most for this batch, over all its runs."),
    "max_cost_per_day": Field(money, _MONEY, "US dollars at most in any 24 hours."),
    "deadline": Field(parse_duration, _SECONDS, "How long a run may last, such as 3h."),
    "on_doubt": Field(
        _on_doubt,
        {"enum": ["hold", "resubmit"]},
        "What to do with a submission whose fate stays unknown.",
    ),
    "doubt_wait": Field(parse_duration, _SECONDS, "How long to look for a trace of one."),
    "retry_attempts": Field(
        _between(1, 100), _whole(1, 100), "The same as `retry: {attempts: 3}`."
    ),
}

#: API parameters, which stand in a job (or in `defaults:`) under their API names.
PARAMETERS: dict[str, Field] = {
    name: Field(None, parameter_schema(definitions), definitions[0].doc)
    for name in PARAMETER_MODES
    if (definitions := parameters_named(name))
}

DEFAULTS: dict[str, Field] = {
    "mode": Field(None, _templated({"enum": [*MODES]}), "What kind of render."),
    "tier": Field(None, _templated({"enum": [*TIERS]}), "Quality and price; pro if not said."),
    "takes": Field(
        None, _templated(_whole(1, MOST_TAKES)), "How many renderings of the same job are wanted."
    ),
    "tags": Field(
        None,
        {"anyOf": [{"type": "array", "items": _TEXT}, {"type": "string"}]},
        "Words to select jobs by.",
    ),
    "params": Field(_mapping, _OBJECT, "Parameters that the catalogue does not know: passed on."),
    **PARAMETERS,
}

#: What a job has of its own; with `DEFAULTS`, every key of a job.
OWN: dict[str, Field] = {
    "id": Field(
        None,
        _TEXT,
        "The job's name: part of its file names, and what others refer to.",
        optional=False,
    ),
    "from": Field(text, _WORD, "A table (CSV, TSV, JSONL): a row is a job, columns are variables."),
    "matrix": Field(_matrix, _MATRIX, "Lists of values: every combination is a job."),
    "when": Field(
        None, {"type": ["string", "boolean", "number"]}, "The job exists only where this holds."
    ),
    "endpoint": Field(None, _WORD, "Any fal endpoint, instead of `mode`."),
    "input": Field(_mapping, _OBJECT, "The whole input of such an endpoint: passed on."),
    "price": Field(None, _templated(_MONEY), "US dollars for one attempt at such an endpoint."),
}
JOB: dict[str, Field] = {**OWN, **DEFAULTS}

MANIFEST: dict[str, Field] = {
    "version": Field(_version, {"const": 1}, "The version of this language: 1."),
    "name": Field(text, _TEXT, "The batch's name; the file's name if not said."),
    "output": Field(text, _WORD, "The folder for everything; relative to the working folder."),
    "path": Field(text, _WORD, "Where artifacts land below it: {batch}/{mode}/{job}{suffix}{ext}"),
    "vars": Field(_variables, _NAMED, "Values that templates name."),
    "env": Field(
        _environment,
        {**_NAMED, "additionalProperties": {"type": "string", "pattern": _NAME}},
        "Variables that are taken from environment variables: {market: CAMPAIGN_MARKET}.",
    ),
    "retry": Field(
        _retry,
        {
            "type": "object",
            "properties": {"attempts": _whole(1, 100)},
            "additionalProperties": False,
        },
        "How often a job is tried after failures that fal does not bill: {attempts: 3}.",
    ),
}
#: With the keys that have models of their own.
MANIFEST_KEYS = (*MANIFEST, "limits", "defaults", "jobs")
