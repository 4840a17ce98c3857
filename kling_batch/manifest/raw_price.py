"""Prices of `endpoint:` jobs: what the job gives, held against what the catalogue knows.

Nothing is filled into their inputs, so fal's own defaults count. Must not change an input, or let
a job pass for cheaper than the catalogue says.
"""

from __future__ import annotations

from kling_batch.catalog import registry as catalog
from kling_batch.catalog.pricing import Estimate
from kling_batch.catalog.registry import Endpoint
from kling_batch.core.diagnostics import Collector, InvalidValue
from kling_batch.core.jobs import JSON, Arguments
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import Problem
from kling_batch.manifest.fields import money

_UNKNOWN = Estimate(MicroUSD(0), "price unknown")


def raw_price(endpoint_id: str, arguments: Arguments, price: JSON, problems: Collector) -> Estimate:
    """The price of an input that is sent as it is written."""
    given, known = given_price(price, problems), catalog.by_id(endpoint_id)
    if known is None:
        return given or _UNKNOWN
    estimate = catalog.estimate_as_written(known, arguments)
    if isinstance(estimate, Problem):
        if given is None:
            message = f"the price of this input is unknown: {estimate.message}"
            path = ("input", *estimate.path)
            problems.warn(path, message, "unpriced", "mend it, or give the job a `price:`")
        return given or _UNKNOWN
    if given and given.micro >= estimate.micro:  # a lower one would make room under a cap
        return given
    message = f"the catalogue knows this endpoint: {_words(known)}"
    problems.warn(("endpoint",), message, "unchecked", "so it would be checked before it is paid")
    return estimate


def _words(known: Endpoint) -> str:
    words = f"`mode: {known.mode}` and `tier: {known.tier}`"
    return words if known.model == catalog.default_model() else f"`model: {known.model}`, {words}"


def given_price(price: JSON, problems: Collector) -> Estimate | None:
    """The price that a job says, if it says one that can be read."""
    if price is None:
        return None
    try:
        return Estimate(money(price), "as the manifest says")
    except InvalidValue as error:
        problems.error(("price",), str(error), "wrong-value")
        return None
