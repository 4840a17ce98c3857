"""The catalogue's parameters of an endpoint held against fal's own schema of it. Pure.

Whatever has another form than expected is left out. Must not fetch documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from kling_batch.catalog.endpoint import Endpoint
from kling_batch.catalog.openapi import Schema
from kling_batch.catalog.parameter import Parameter
from kling_batch.core.diagnostics import show


class Change(StrEnum):
    """What has moved since the catalogue was written."""

    NEW = "new"
    GONE = "gone"
    REQUIRED = "required"
    CHOICES = "choices"
    LIMIT = "limit"
    PRICE = "price"
    #: fal fills in something else than is always sent: no change of what is bought.
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Difference:
    """One point in which fal's schema and the catalogue differ."""

    change: Change
    #: The parameter, with the names of those around it; empty for the endpoint itself.
    name: str
    message: str
    #: The catalogue differs on purpose.
    meant: bool = False

    @property
    def moved(self) -> bool:
        """Whether the catalogue is out of date for it."""
        return self.change is not Change.DEFAULT and not self.meant


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What fal says about one endpoint today, next to the catalogue."""

    endpoint: Endpoint
    differences: tuple[Difference, ...] = ()
    #: Why its schema could not be compared; empty where it was.
    unread: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogCheck:
    """The result for every endpoint that was asked about."""

    endpoints: tuple[Checked, ...]
    #: Why prices were not compared; empty where they were.
    no_prices: str = ""

    @property
    def fits(self) -> bool:
        """Whether every schema was read and nothing has moved."""
        return not any(
            each.unread or any(found.moved for found in each.differences) for each in self.endpoints
        )


def differences(endpoint: Endpoint, found: Schema) -> list[Difference]:
    """Every point in which fal's schema of the input differs from the catalogue."""
    known = endpoint.by_name
    listed = list(_fields(known, found, ""))
    return [
        each
        for each in listed
        # A field that the catalogue refuses on purpose is not new to it.
        if not (each.change is Change.NEW and each.name in endpoint.refused)
    ]


def _fields(known: Mapping[str, Parameter], found: Schema, above: str) -> Iterator[Difference]:
    theirs, required = found.properties, found.required
    for name in theirs.keys() - known.keys():
        more = f": {', '.join(theirs[name].choices)}" if theirs[name].choices else ""
        must = ", which must be given" if name in required else ""
        message = f"fal has it, the catalogue does not{must}{more}"
        yield Difference(Change.NEW, above + name, message)
    for name, parameter in known.items():
        if name not in theirs:
            message = "the catalogue has it, fal does not"
            yield Difference(Change.GONE, above + name, message)
            continue
        if parameter.required != (name in required):
            words = "must be given" if name in required else "may be left out"
            meant = parameter.insisted
            yield Difference(Change.REQUIRED, above + name, f"at fal it {words}", meant=meant)
        yield from _one(parameter, theirs[name], above + name)


def _one(parameter: Parameter, found: Schema, name: str) -> Iterator[Difference]:
    yield from _choices(parameter, found, name)
    yield from _limits(parameter, found, name)
    default = found.value.get("default")
    if default is not None and parameter.default is not None and default != parameter.default:
        message = f"fal's default is {show(default)}; {show(parameter.default)} is always sent"
        yield Difference(Change.DEFAULT, name, message)
    inner = parameter.item if parameter.item is not None else parameter
    theirs = found.part("items").resolved() if parameter.item is not None else found
    if inner.fields and theirs.properties:
        yield from _fields({each.name: each for each in inner.fields}, theirs, f"{name}.")


def _choices(parameter: Parameter, found: Schema, name: str) -> Iterator[Difference]:
    ours, theirs = parameter.choices, found.choices
    if not ours or not theirs:
        return
    if more := [each for each in theirs if each not in ours]:
        yield Difference(Change.CHOICES, name, f"fal also takes {', '.join(more)}")
    if less := [each for each in ours if each not in theirs]:
        yield Difference(Change.CHOICES, name, f"fal does not take {', '.join(less)}")


#: The words of JSON Schema for a parameter's least and greatest, by its kind.
_LIMITS: Mapping[str, tuple[str, str]] = {
    "text": ("minLength", "maxLength"),
    "whole": ("minimum", "maximum"),
    "decimal": ("minimum", "maximum"),
    "list": ("minItems", "maxItems"),
}


def _limits(parameter: Parameter, found: Schema, name: str) -> Iterator[Difference]:
    words = _LIMITS.get(parameter.kind)
    for word, ours in zip(words or (), (parameter.minimum, parameter.maximum), strict=False):
        theirs = found.number(word)
        if theirs is not None and theirs != ours and not (ours is None and theirs <= 1):
            ours_text = "none" if ours is None else show(ours)
            message = f"fal's {word} is {show(theirs)}, the catalogue's {ours_text}"
            yield Difference(Change.LIMIT, name, message)
