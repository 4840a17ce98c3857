"""Values of a caller's program, checked by type before anything is made of them.

What Python would accept and turn into some text would be paid for. Must not know what a value is
for, nor what an option means.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from kling_batch.core.diagnostics import show
from kling_batch.core.locations import Location
from kling_batch.errors import UsageError
from kling_batch.settings import typed_location, typed_path

StrPath: TypeAlias = str | PathLike[str]


class Check(NamedTuple):
    """What a value may be, and what becomes of it."""

    types: tuple[type, ...]
    #: As the message has it: `is …`.
    otherwise: str
    #: Raises `ValueError` for a value that makes no sense.
    parse: Callable[[Any], Any] = lambda value: value
    optional: bool = True

    def __call__(self, name: str, value: object) -> Any:
        """The value, parsed; None stays None where that is allowed.

        Raises:
            UsageError: it makes no sense.
        """
        if value is None and self.optional:
            return None
        flag = isinstance(value, bool) and bool not in self.types
        if flag or not isinstance(value, self.types):
            raise UsageError(f"{name}: {shown(value)} {self.otherwise}")
        try:
            return self.parse(value)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None


#: Types of what is written as text or as a number.
TEXT, NUMBER, LENGTH = (str,), (str, int, float), (str, int, float, timedelta)
AMOUNT = (str, int, float, Decimal)


def shown(value: object) -> str:
    """A value in a message, by its type where Python alone has it."""
    if value is None or isinstance(value, str | int | float | bytes):
        return repr(value) if isinstance(value, bytes | bool) or value is None else show(value)
    return f"a {type(value).__name__}"


def flag() -> Check:
    """Yes or no; any other value, such as the text "no", would count as yes."""
    return Check((bool,), "is neither True nor False", optional=False)


def whole_number(least: int) -> Check:
    """A whole number that is not less."""

    def parse(value: int) -> int:
        if value < least:
            raise ValueError(f"{show(value)} is less than {least}")
        return value

    return Check((int,), "is no whole number", parse)


def path_of(name: str, value: object) -> Path:
    """A path on this machine.

    Raises:
        UsageError: it is none.
    """
    return typed_path(_fspath(name, value))


def location_of(name: str, value: object) -> Location:
    """A path on this machine, or an address in a store.

    Raises:
        UsageError: it is neither.
    """
    return typed_location(_fspath(name, value))


def _fspath(name: str, value: object) -> str:
    text = value.__fspath__() if isinstance(value, PathLike) else value
    if not isinstance(text, str):
        raise UsageError(f"{name}: {shown(value)} is no path")
    if not text:
        raise UsageError(f"{name}: the path is empty")
    return text


def paths_of(name: str, value: object) -> list[Path]:
    """One path or several.

    Raises:
        UsageError: some value is none.
    """
    if isinstance(value, str | bytes | PathLike) or not isinstance(value, Iterable):
        return [path_of(name, value)]
    return [path_of(name, each) for each in value]


def names_of(name: str, value: object) -> tuple[str, ...]:
    """One text or several; what can be read once only would choose something else each time.

    Raises:
        UsageError: it is neither.
    """
    given = (value,) if isinstance(value, str) else value
    if isinstance(given, bytes | Mapping) or not isinstance(given, Collection):
        raise UsageError(f"{name}: {shown(value)} is neither a text nor a list of texts")
    for each in given:
        if not isinstance(each, str):
            raise UsageError(f"{name}: {shown(each)} is no text")
    return tuple(given)


def variables_of(value: object) -> dict[str, str]:
    """Variables of manifests, as `--set` spells them; a prompt with "None" would be paid for.

    Raises:
        UsageError: one is neither text nor a number nor a flag.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"variables: {shown(value)} is no mapping of names to values")
    return {_name(name): _spelt(name, each) for name, each in value.items()}


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise UsageError(f"variables: {shown(name)} is no name of a variable")
    return name


def _spelt(name: str, value: object) -> str:
    # By the type itself: an enumeration that is text, too, spells itself by its name.
    match value:
        case str():
            return str.__str__(value)
        case bool():
            return str(value).lower()
        case int():
            return int.__repr__(value)
        case float():
            return float.__repr__(value)
        case _:
            raise UsageError(
                f"variables: {name}: {shown(value)} is neither text nor a number nor True or "
                "False; nothing was loaded"
            )
