"""An input held against fal's own schema of its endpoint: errors, and doubts where it is ambiguous.

For endpoints that the catalogue does not describe. Leaves out whatever of a schema it does not
understand: nobody is kept from paying by a word of JSON Schema. Must not fetch schemas. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kling_batch.catalog.openapi import Schema
from kling_batch.core.diagnostics import Collector, nearest, show
from kling_batch.core.jobs import JSON, Arguments, LocalFile, OutputOf
from kling_batch.errors import ArgumentPath, Problem

#: Longer lists of choices are cut short in a message.
_MOST_LISTED = 20
_MOST_LEVELS = 20
_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def conformity(endpoint_id: str, schema: Schema, arguments: Arguments) -> Collector:
    """The problems of an input; their paths lead into `arguments`."""
    problems = Collector()
    _check(_Place((), endpoint_id), schema, arguments, problems)
    return problems


class _Place:
    """A value's place in the input, and its name in messages."""

    def __init__(self, path: ArgumentPath, endpoint_id: str) -> None:
        self.path, self.endpoint_id = path, endpoint_id

    def below(self, step: str | int) -> _Place:
        return _Place((*self.path, step), self.endpoint_id)

    def __str__(self) -> str:
        """`loras[0].scale`; for the input as a whole the endpoint's id."""
        words = "".join(f"[{n}]" if isinstance(n, int) else f".{n}" for n in self.path)
        return f"`{words[1:]}`" if words else self.endpoint_id


def _check(place: _Place, schema: Schema, value: JSON, problems: Collector) -> None:
    """Hold a value against all forms that it may have, and report what the fitting one lacks."""
    if len(place.path) > _MOST_LEVELS:
        return
    forms = schema.forms
    if value is None:
        if forms and not (schema.nullable or any(_takes_null(form) for form in forms)):
            problems.error(place.path, f"{place} must not be null", "wrong-type", "leave it out")
        return
    found: list[tuple[Schema, Collector]] = []
    for form in forms:
        one = Collector()
        _hold(place, form, value, one)
        if not one.errors:
            problems.warnings += one.warnings
            return
        found.append((form, one))
    alike = [one for form, one in found if _fits_kind(form, value)]
    if len(found) == 1 or len(alike) == 1:
        (one,) = alike if len(alike) == 1 else [found[0][1]]
        problems.errors += one.errors
        problems.warnings += one.warnings
    elif alike:
        message = f"{place} fits none of its {len(forms)} forms"
        problems.warn(place.path, message, "undocumented", _first(alike[0].errors))
    elif found:
        kinds = dict.fromkeys(_WORDS[kind] for form in forms for kind in _kinds(form))
        message = f"{place} must be {' or '.join(kinds)}, not {show(value)}"
        problems.error(place.path, message, "wrong-type")


def _first(problems: Sequence[Problem]) -> str:
    return f"of one of them: {problems[0].message}"


def _takes_null(form: Schema) -> bool:
    return form.nullable or not (_kinds(form) or form.choices)


def _kinds(form: Schema) -> list[str]:
    """The types that a form names, as far as they are known; what has fields is an object."""
    named = form.value.get("type")
    kinds = named if isinstance(named, list) else [named]
    known = [kind for kind in kinds if isinstance(kind, str) and kind in _WORDS]
    return known or (["object"] if form.fields else [])


def _fits_kind(form: Schema, value: JSON) -> bool:
    kinds = _kinds(form)
    return not kinds or any(_KINDS[kind](value) is not False for kind in kinds)


def _hold(place: _Place, form: Schema, value: JSON, problems: Collector) -> None:
    """Hold a value against one form."""
    if not _right_kind(place, form, value, problems):
        return
    if isinstance(value, LocalFile | OutputOf):
        return  # an address by the time it is sent
    if choices := form.value.get("enum", [form.value["const"]] if "const" in form.value else None):
        _one_of(place, choices, value, problems)
    for limit in _LIMITS:
        limit(place, form, value, problems)
    if isinstance(value, Mapping):
        _object(place, form, value, problems)
    elif isinstance(value, list | tuple):
        items = form.items
        for number, each in enumerate(value if items.value else ()):
            _check(place.below(number), items, each, problems)


def _right_kind(place: _Place, form: Schema, value: JSON, problems: Collector) -> bool:
    """Whether a value is of a type that the form names, or may be read as one."""
    kinds = _kinds(form)
    fits = [_KINDS[kind](value) for kind in kinds]
    if not kinds or True in fits:
        return True
    words = " or ".join(_WORDS[kind] for kind in kinds)
    if None in fits:
        message = f"{place} must be {words}; {show(value)} may be read as such"
        problems.warn(place.path, message, "undocumented")
        return True
    hint = ""
    if kinds == ["array"]:
        hint = "put it into [ ]: a list of one is a list"
    elif "string" in kinds and isinstance(value, int | float):
        hint = f'put it in quotes: "{show(value)}"'
    problems.error(place.path, f"{place} must be {words}, not {show(value)}", "wrong-type", hint)
    return False


def _is_text(value: JSON) -> bool:
    return isinstance(value, str | LocalFile | OutputOf)


def _is_whole(value: JSON) -> bool | None:
    if isinstance(value, str):
        return None if re.fullmatch(r"\s*[+-]?\d+\s*", value) else False
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    )


def _is_number(value: JSON) -> bool | None:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return None
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_flag(value: JSON) -> bool | None:
    if isinstance(value, bool):
        return True
    words = ("true", "false", "0", "1", "yes", "no", "on", "off")
    return None if str(value).lower() in words else False


#: By type of JSON Schema: True, False, or None where a lenient reader takes the value for one.
_KINDS: Mapping[str, Callable[[JSON], bool | None]] = {
    "string": _is_text,
    "integer": _is_whole,
    "number": _is_number,
    "boolean": _is_flag,
    "array": lambda value: isinstance(value, list | tuple),
    "object": lambda value: isinstance(value, Mapping),
}


def _one_of(place: _Place, choices: object, value: JSON, problems: Collector) -> None:
    if not isinstance(choices, list) or any(_same(each, value) for each in choices):
        return
    texts = [str(each) for each in choices if each is not None]
    hint = nearest(value, texts)
    if isinstance(value, int | float) and str(value) in texts:
        hint = f'put it in quotes: "{value}"'
    listed = ", ".join(texts[:_MOST_LISTED])
    more = f" and {len(texts) - _MOST_LISTED} more" if len(texts) > _MOST_LISTED else ""
    message = f"{place} is {show(value)}; fal takes {listed}{more}"
    problems.error(place.path, message, "wrong-value", hint)


def _same(one: object, other: object) -> bool:
    """Whether two values are equal in JSON, where true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _lengths(place: _Place, form: Schema, value: JSON, problems: Collector) -> None:
    if isinstance(value, str):
        low, high, unit = form.number("minLength"), form.number("maxLength"), "characters"
    elif isinstance(value, list | tuple):
        low, high, unit = form.number("minItems"), form.number("maxItems"), "items"
    else:
        return
    if high is not None and len(value) > high:
        message = f"{place} has {len(value):,} {unit}; fal takes at most {high:,.0f}"
        problems.error(place.path, message, "too-long" if unit == "characters" else "too-many")
    elif low is not None and len(value) < low:
        message = f"{place} has {len(value):,} {unit}; fal takes at least {low:,.0f}"
        problems.error(place.path, message, "wrong-value")


def _range(place: _Place, form: Schema, value: JSON, problems: Collector) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high = form.number("minimum"), form.number("maximum")
    above, below = form.number("exclusiveMinimum"), form.number("exclusiveMaximum")
    # In OpenAPI 3.0 these two are flags.
    if form.value.get("exclusiveMinimum") is True:
        low, above = None, low
    if form.value.get("exclusiveMaximum") is True:
        high, below = None, high
    wrong = [
        words
        for words, beyond in (
            (f"at least {_number(low)}", low is not None and value < low),
            (f"at most {_number(high)}", high is not None and value > high),
            (f"more than {_number(above)}", above is not None and value <= above),
            (f"less than {_number(below)}", below is not None and value >= below),
        )
        if beyond
    ]
    if wrong:
        message = f"{place} is {show(value)}; fal takes {wrong[0]}"
        problems.error(place.path, message, "wrong-value")
        return
    step = form.number("multipleOf")
    if step and isinstance(value, int) and isinstance(step, int) and value % step:
        message = f"{place} is {show(value)}; fal takes multiples of {step}"
        problems.error(place.path, message, "wrong-value")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _object(place: _Place, form: Schema, value: Mapping[str, Any], problems: Collector) -> None:
    fields, more = form.fields, form.value.get("additionalProperties")
    for name in sorted(form.required - value.keys()):
        if name in fields and fields[name].resolved().value.get("default") is not None:
            message = f"fal's schema says that `{name}` must be given, and has a default for it"
            problems.warn(place.path, message, "undocumented")
            continue
        doc = fields[name].resolved().value.get("description") if name in fields else None
        hint = doc.partition(". ")[0][:120] if isinstance(doc, str) else ""
        problems.error(place.path, f"{place} needs `{name}`", "missing", hint)
    for name, each in value.items():
        if name in fields:
            _check(place.below(name), fields[name], each, problems)
        elif isinstance(more, Mapping) and more:
            _check(place.below(name), form.others, each, problems)
        elif fields and more in (None, False):
            hint = nearest(name, fields) or f"there are {', '.join(list(fields)[:_MOST_LISTED])}"
            message = f"{place} has no parameter `{name}`"
            problems.error((*place.path, name), message, "unknown-parameter", hint)


_LIMITS = (_lengths, _range)
