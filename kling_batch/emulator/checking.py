"""Whether values from a YAML or JSON document have the types that a dataclass declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints


def refuse_unknown(what: str, cls: type[Any], values: Mapping[str, Any]) -> None:
    """ValueError if there is a name that the dataclass does not have."""
    known = {each.name for each in fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown {what}: {', '.join(unknown)}")


def refuse_misfits(what: str, instance: Any) -> None:
    """ValueError if a field holds what its annotation does not allow."""
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
    """Whether what is in a container fits its parameters."""
    if isinstance(value, Mapping):
        return all(_fits(each, inner[1]) for each in value.values())
    if isinstance(value, tuple | frozenset):
        return all(_fits(each, inner[0]) for each in value)
    return True
