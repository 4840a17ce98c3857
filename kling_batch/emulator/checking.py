"""Type check of values from YAML or JSON against the annotations of a dataclass. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints


def refuse_unknown(what: str, cls: type[Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError if a key is no field of the dataclass."""
    known = {each.name for each in fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown {what}: {', '.join(unknown)}")


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
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return hint is Any or (isinstance(value, origin or hint) and _holds(value, inner))


def _holds(value: object, inner: tuple[Any, ...]) -> bool:
    """Whether the elements of a container fit its type parameters."""
    if isinstance(value, Mapping):
        return all(_fits(each, inner[1]) for each in value.values())
    if isinstance(value, tuple | frozenset):
        return all(_fits(each, inner[0]) for each in value)
    return True
