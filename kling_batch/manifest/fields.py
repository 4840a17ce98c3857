"""Readers of a manifest's values, and JSON Schema fragments of what they accept.

A reader raises `InvalidValue` with a message that continues the name of the key. The models in
`schema.py` say which key has which reader. Must not know places. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from kling_batch.catalog.json_schema import TEMPLATE, Schema
from kling_batch.catalog.parameters import whole_number
from kling_batch.core.diagnostics import InvalidValue, show
from kling_batch.core.jobs import JSON, Hooks
from kling_batch.core.quantities import (
    _DURATION,
    _PERCENT,
    _RATE,
    _YEAR,
    MicroUSD,
    parse_usd,
)

MOST_TAKES = 1000
#: Never a variable: keys stay out of ledgers, logs and prompts.
_HOOKS = ("on_saved", "on_finished")
_ADDRESS = r"^(\$[A-Za-z_][A-Za-z0-9_]*|[a-zA-Z][a-zA-Z0-9+.-]*://\S+)$"
SECRETS = ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET")

#: JSON and templates can write it; neither a ledger nor a file name can hold it.
_HALF = re.compile(r"[\ud800-\udfff]")
_DOLLARS = r"^\s*\$?[0-9]{1,8}(?:\.[0-9]{1,6})?\s*$"
_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
#: Of an amount with a unit that is nothing: `0s`, `0.0/min`, `0%`.
_ZERO = r"^[^1-9]*$"


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
    """The number of takes."""
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


def rendition_names(value: JSON) -> tuple[str, ...]:
    """Names of recipes; null is none of them."""
    return () if value is None else tags(value)


def text(value: JSON) -> str:
    """Text that is not empty; a number counts as its digits."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidValue(f"must be text, not {show(value)}")
    written = value.strip() if isinstance(value, str) else json.dumps(value)
    if not written or "\x00" in written:
        raise InvalidValue("contains a NUL character" if written else "must not be empty")
    if not written.isascii() and _HALF.search(written):
        raise InvalidValue("contains half a character (a lone surrogate)")
    return written


def between(low: int, high: int) -> Callable[[JSON], int]:
    """A reader of a whole number; text is refused."""

    def read(value: JSON) -> int:
        number = None if isinstance(value, str) else whole_number(value)
        if number is None or not low <= number <= high:
            raise InvalidValue(f"{show(value)} is not a whole number from {low} to {high:,}")
        return number

    return read


def condition(value: JSON) -> JSON:
    """An expression, or what it would come to."""
    if value is not None and not isinstance(value, bool | str | int | float):
        raise InvalidValue(
            f"must be an expression such as \"market == 'de'\", in quotes, not {show(value)}"
        )
    return value


def on_doubt(value: JSON) -> JSON:
    """`hold`; `resubmit`, which earlier versions had, is named."""
    if value == "resubmit":
        raise InvalidValue(
            "`resubmit` could pay twice and exists no more: a submission without a trace stays in "
            "doubt until `kling-batch resolve` settles it; remove `on_doubt`, or write hold"
        )
    if value != "hold":
        raise InvalidValue(f"{show(value)} is not hold")
    return value


def version(value: JSON) -> int:
    """The version of the manifest language: 1."""
    if isinstance(value, bool) or value != 1:
        raise InvalidValue(f"{show(value)} is no version that this program knows; write 1")
    return 1


def mapping(value: JSON) -> Mapping[str, JSON]:
    """Any mapping."""
    if not isinstance(value, Mapping):
        raise InvalidValue(f"must be a mapping, not {show(value)}")
    return value


def variables(value: JSON) -> JSON:
    """A mapping whose keys may stand in a template."""
    for name in mapping(value):
        if not re.match(_NAME, name):
            message = f"`{name}` is no name that a template could use: letters, digits, _"
            raise InvalidValue(message, path=(name,))
    return value


def environment(value: JSON) -> JSON:
    """Variables and the environment variables that they are taken from."""
    for name, source in variables(value).items():
        if not isinstance(source, str) or not re.match(_NAME, source):
            message = f"`{name}` must name an environment variable, not {show(source)}"
            raise InvalidValue(message, path=(name,))
        if source in SECRETS:
            message = f"{source} is a secret and never part of a manifest"
            raise InvalidValue(message, path=(name,))
    return value


def retry(value: JSON) -> JSON:
    """`{attempts: 3}` as the number of attempts, or None."""
    given = mapping(value)
    if unknown := [name for name in given if name != "attempts"]:
        raise InvalidValue(f"has no key {show(unknown[0])}; it has `attempts`")
    attempts = given.get("attempts")
    return None if attempts is None else between(1, 100)(attempts)


def hooks(value: JSON) -> Hooks:
    """Commands by the event that starts them."""
    found: dict[str, tuple[str, ...]] = {}
    for name, command in mapping(value).items():
        if name not in _HOOKS:
            raise InvalidValue(f"has no key {show(name)}; it has {' and '.join(_HOOKS)}")
        if command is None:
            continue
        if not isinstance(command, list) or not command:
            raise InvalidValue(f"must be a list of words for `{name}`, such as [./publish.sh]")
        found[name] = tuple(map(text, command))
    return Hooks(**found)


def notify(value: JSON) -> tuple[str, ...]:
    """Addresses for notifications; messages never quote them, since they are secrets."""
    given = value if isinstance(value, list) else [value]
    for address in given:
        if not isinstance(address, str) or not re.match(_ADDRESS, address):
            raise InvalidValue(
                "must be a list of addresses, such as [mailto://…, $SLACK_URL], where $NAME stands "
                "for an environment variable"
            )
    return tuple(given)


def matrix(value: JSON) -> JSON:
    """Lists of values by name, with `include` and `exclude`."""
    if not mapping(value):
        raise InvalidValue("has no names; give at least one list of values, or remove it")
    for name, entries in value.items():
        if not isinstance(entries, list):
            message = f"`{name}` must be a list of values, not {show(entries)}"
            raise InvalidValue(message, path=(name,))
        if name in ("include", "exclude"):
            if not all(isinstance(entry, Mapping) and entry for entry in entries):
                raise InvalidValue(f"`{name}` must be a list of mappings, such as [{{tier: pro}}]")
        elif not entries:
            message = f"`{name}` is an empty list, so there would be no job at all"
            raise InvalidValue(message, path=(name,))
        elif not re.match(_NAME, name):
            message = f"`{name}` is no name that a template could use: letters, digits, _"
            raise InvalidValue(message, path=(name,))
    return value


# --- JSON Schema fragments ------------------------------------------------------------------------

TEXT: Schema = {"anyOf": [{"type": "string", "pattern": r"\S"}, {"type": "number"}]}
WORD: Schema = {"type": "string", "pattern": r"\S"}
HOOKS: Schema = {
    "type": "object",
    "properties": {
        name: {"anyOf": [{"type": "array", "minItems": 1, "items": TEXT}, {"type": "null"}]}
        for name in _HOOKS
    },
    "additionalProperties": False,
}
_ONE_ADDRESS: Schema = {"type": "string", "pattern": _ADDRESS}
NOTIFY: Schema = {"anyOf": [{"type": "array", "items": _ONE_ADDRESS}, _ONE_ADDRESS]}
OBJECT: Schema = {"type": "object"}
NAMED: Schema = {"type": "object", "propertyNames": {"pattern": _NAME}}
SECONDS: Schema = {
    "anyOf": [
        {"type": "string", "pattern": _DURATION, "not": {"pattern": _ZERO}},
        {"type": "number", "exclusiveMinimum": 0, "maximum": _YEAR},
    ],
    "examples": ["90s", "30m", "3h"],
}
START_TIMEOUT: Schema = {
    "anyOf": [
        {"type": "string", "pattern": _DURATION, "not": {"pattern": _ZERO}},
        {"type": "number", "exclusiveMinimum": 1, "maximum": _YEAR},
    ],
    "examples": ["10m", "1h"],
}
WINDOW: Schema = {
    "anyOf": [
        {"type": "string", "pattern": _DURATION},
        {"type": "number", "minimum": 0, "maximum": _YEAR},
        {"enum": [False, "0"]},
    ],
    "examples": ["7d", "12h", 0],
}
FAILURES: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 100_000},
        {
            "type": "string",
            "pattern": rf"^\s*[0-9]{{1,6}}\s*$|{_PERCENT}",
            "not": {"pattern": _ZERO},
        },
    ]
}

MONEY: Schema = {
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
MATRIX: Schema = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": _NAME},
    "properties": {
        "include": {**_COMBINATIONS, "description": "Combinations to add, or to add values to."},
        "exclude": {**_COMBINATIONS, "description": "Combinations to leave out."},
    },
    "additionalProperties": {"type": "array", "minItems": 1},
}


def whole(low: int, high: int) -> Schema:
    """The schema of a whole number."""
    return {"type": "integer", "minimum": low, "maximum": high}


def templated(schema: Schema) -> Schema:
    """The schema of a value that may also be a template."""
    return {"anyOf": [schema, TEMPLATE]}


RATE: Schema = {"type": "string", "pattern": _RATE, "not": {"pattern": _ZERO}}
TAGS: Schema = {"anyOf": [{"type": "array", "items": TEXT}, {"type": "string"}]}
ENVIRONMENT: Schema = {
    **NAMED,
    "additionalProperties": {"type": "string", "pattern": _NAME, "not": {"enum": [*SECRETS]}},
}
RETRY: Schema = {
    "type": "object",
    "properties": {"attempts": {"anyOf": [whole(1, 100), {"type": "null"}]}},
    "additionalProperties": False,
}
