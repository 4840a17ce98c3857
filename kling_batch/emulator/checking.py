"""Checks of what comes from outside: JSON text, and values against a dataclass. Pure.

A number that is not finite, or so large that sums with it are not, is refused here: once kept, it
could be neither reckoned with nor written as JSON again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

#: Largest number of seconds, dollars or times that a setting or a fault may have.
LARGEST = 1e12
#: Smallest and largest value of a field; None where there is no limit.
Range = tuple[float, float | None]
_DEEPEST = 100  # levels of a JSON document; far below what recursion can follow


def read_json(text: str | bytes) -> Any:
    """Parsed JSON (RFC 8259) that can be written again; raises ValueError with the reason."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError(f"JSON deeper than {_DEEPEST} levels") from None
    _refuse_deep(value, _DEEPEST)
    # What the parser lets pass: numbers beyond the largest float, and halves of surrogate pairs.
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _refuse_deep(value: object, levels: int) -> None:
    if not isinstance(value, dict | list):
        return
    if levels == 0:
        raise ValueError(f"JSON deeper than {_DEEPEST} levels")
    for each in value.values() if isinstance(value, dict) else value:
        _refuse_deep(each, levels - 1)


def refuse_unknown(what: str, cls: type[Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError if a key is no field of the dataclass."""
    known = {each.name for each in fields(cls)}
    if unknown := sorted(map(str, set(values) - known)):
        raise ValueError(f"unknown {what}: {', '.join(unknown)}")


def refuse_out_of_range(what: str, instance: Any, ranges: Mapping[str, Range]) -> None:
    """Raise ValueError if a number, or one of a field's numbers, is too small or too large."""
    for name, (low, high) in ranges.items():
        value = getattr(instance, name)
        for each in value if isinstance(value, tuple) else (value,):
            if each is not None and (each < low or (high is not None and each > high)):
                limits = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
                raise ValueError(f"{what} {name} cannot be {each!r}; it is {limits}")


def refuse_misfits(what: str, instance: Any) -> None:
    """Raise ValueError if a field's value does not fit its annotation."""
    for name, hint in get_type_hints(type(instance)).items():
        value = getattr(instance, name)
        if not _fits(value, hint):
            allowed = f"; one of {', '.join(get_args(hint))}" if get_origin(hint) is Literal else ""
            raise ValueError(f"{what} {name} cannot be {value!r}{allowed}")


def _fits(value: object, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin is UnionType:
        return any(_fits(value, each) for each in inner)
    if hint is float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return -LARGEST <= value <= LARGEST
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or (isinstance(value, origin or hint) and _holds(value, inner))


def _holds(value: object, inner: tuple[Any, ...]) -> bool:
    """Whether the elements of a container fit its type parameters."""
    if isinstance(value, Mapping):
        return all(_fits(each, inner[1]) for each in value.values())
    if isinstance(value, tuple | frozenset):
        return all(_fits(each, inner[0]) for each in value)
    return True
