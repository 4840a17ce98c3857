"""The `Endpoint` type: what the catalogue records about one endpoint of fal.

Holds no data; each model generation is a data module beside this one (`kling_o3.py`). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from kling_batch.catalog.parameters import Parameter
from kling_batch.catalog.pricing import Price
from kling_batch.catalog.rules import Rule
from kling_batch.core.jobs import JSON


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A paid endpoint: its parameters, its output, its price, and the source of each."""

    id: str
    mode: str
    tier: str
    #: `image` or `video`.
    output: str
    doc: str
    parameters: tuple[Parameter, ...]
    rules: tuple[Rule, ...]
    price: Price
    #: Where and when the parameters were read (a date such as `2026-08`).
    source: str
    dated: str
    price_source: str
    price_dated: str
    #: Seconds that the source's own model page gives for a 5 s clip; 0 where none is published.
    typical_seconds: int = 0

    @cached_property
    def by_name(self) -> MappingProxyType[str, Parameter]:
        """The parameters by name."""
        return MappingProxyType({parameter.name: parameter for parameter in self.parameters})

    @cached_property
    def defaults(self) -> MappingProxyType[str, JSON]:
        """Values that fal assumes for missing parameters; written into every request and key."""
        return MappingProxyType(
            {each.name: each.default for each in self.parameters if each.default is not None}
        )

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The names of the parameters that must be given."""
        return tuple(parameter.name for parameter in self.parameters if parameter.required)

    @cached_property
    def url_names(self) -> frozenset[str]:
        """The names of the parameters that may hold a file or another job's output."""
        return frozenset(each.name for each in self.parameters if each.holds_urls)
