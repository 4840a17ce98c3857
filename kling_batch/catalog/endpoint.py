"""The `Endpoint` and `Generation` types: what the catalogue records about models of fal.

Holds no data; each model generation is a data module in `generations/`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import Price
from kling_batch.catalog.rules import Rule
from kling_batch.core.jobs import JSON


class Evidence(StrEnum):
    """Who states something about fal."""

    FAL = "fal"
    PARTLY = "fal in part"
    THIRD_PARTIES = "third parties"
    INFERRED = "inferred"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A paid endpoint: its parameters, its output, its price, and the source of each."""

    id: str
    mode: str
    tier: str
    #: `image`, `video`, `audio` or `voice`.
    output: str
    doc: str
    parameters: tuple[Parameter, ...]
    rules: tuple[Rule, ...]
    #: None where no price is published and none could be an upper bound.
    price: Price | None
    #: US dollars for one of the billable units that fal reports with a result; empty where it is
    #: not known. It belongs to the endpoint, never to the family (docs/fal-api.md#billing-units).
    unit_price: str = ""
    #: Where and when the parameters were read (a date such as `2026-08`).
    source: str
    dated: str
    evidence: Evidence = Evidence.FAL
    price_source: str
    price_dated: str
    price_evidence: Evidence = Evidence.FAL
    #: The field of its answer that other jobs take as their input, where it makes no file.
    value: str = ""
    #: Why the endpoint itself is in doubt; a job that uses it is warned.
    doubt: str = ""
    #: The name of its generation, which fills it in.
    model: str = ""
    #: Arguments that its tier means, where the tier is no part of the id.
    presets: Mapping[str, JSON] = field(default_factory=dict)
    #: Arguments that other endpoints have and this one has not, each with the reason.
    refused: Mapping[str, str] = field(default_factory=dict)
    #: Seconds of the longest output, where neither the arguments nor an input say it.
    longest: int = 15
    #: Seconds of all input clips together, as a doubtful limit; 0: none is known.
    clips_together: int = 0
    #: Seconds that the source's own model page gives for a 5 s clip; 0 where none is published.
    typical_seconds: int = 0

    @cached_property
    def by_name(self) -> MappingProxyType[str, Parameter]:
        """The parameters by name."""
        return MappingProxyType({parameter.name: parameter for parameter in self.parameters})

    @cached_property
    def by_any_name(self) -> MappingProxyType[str, Parameter]:
        """The same, also by the names that other endpoints have for them."""
        other = {name: each for each in self.parameters for name in each.also}
        return MappingProxyType({**other, **self.by_name})

    @cached_property
    def defaults(self) -> MappingProxyType[str, JSON]:
        """Values that are sent for missing parameters; written into every request and key."""
        defaults = {each.name: each.default for each in self.parameters if each.default is not None}
        return MappingProxyType({**defaults, **self.presets})

    @cached_property
    def fal_defaults(self) -> MappingProxyType[str, JSON]:
        """What a request is rendered with that leaves these out, as far as it is known."""
        return MappingProxyType(
            {
                each.name: each.default if each.fal_default is None else each.fal_default
                for each in self.parameters
                if each.default is not None
            }
        )

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The names of the parameters that must be given."""
        return tuple(parameter.name for parameter in self.parameters if parameter.required)

    @cached_property
    def url_names(self) -> frozenset[str]:
        """The names of the parameters that may hold a file or another job's output."""
        return frozenset(each.name for each in self.parameters if each.holds_urls)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A model generation: what `model:` names, and its endpoints."""

    name: str
    doc: str
    #: The month in which fal began to sell it.
    since: str
    endpoints: tuple[Endpoint, ...]
    #: Whether a job that names no model means this one.
    default: bool = False

    def named(self) -> tuple[Endpoint, ...]:
        """Its endpoints, each with the generation's name."""
        return tuple(replace(endpoint, model=self.name) for endpoint in self.endpoints)
