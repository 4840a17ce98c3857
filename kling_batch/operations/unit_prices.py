"""fal's unit prices against the catalogue's, for the caps of a run. Must not pay or stop anything.

Both are prices of the same thing, one billable unit of one endpoint: what the API calls a unit is
no second (docs/fal-api.md#billing-units).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio

from kling_batch.catalog.endpoint import Endpoint
from kling_batch.catalog.registry import ROUNDING, by_id, cost_of
from kling_batch.core.outcomes import Unread
from kling_batch.core.quantities import MicroUSD, micro_usd, parse_usd
from kling_batch.fal.client import FalQueue

#: Endpoints a call (docs/fal-api.md#pricing).
AT_ONCE = 50

#: Seconds that a run waits for prices before it goes on with the catalogue's.
_PATIENCE = 20.0


def unit_factor(endpoint: Endpoint, unit_price: float) -> float:
    """How many times the catalogue's unit price this one is."""
    return micro_usd(unit_price) / parse_usd(endpoint.unit_price)


async def dearer_units(queue: FalQueue, endpoints: Sequence[str]) -> dict[str, float]:
    """By endpoint: how many times the catalogue's unit price fal asks, where that is more.

    Discounts are left out: a cap is held against the dearer of the two prices. Where fal does not
    answer, the catalogue's prices stand.
    """
    known = [each for name in endpoints if (each := by_id(name)) and each.unit_price]
    found: dict[str, float] = {}
    for start in range(0, len(known), AT_ONCE):
        some = {endpoint.id: endpoint for endpoint in known[start : start + AT_ONCE]}
        answer: Mapping[str, tuple[float, str]] | Unread | None = None
        with anyio.move_on_after(_PATIENCE):
            answer = await queue.prices(list(some))
        if answer is None or isinstance(answer, Unread):
            continue
        factors = {
            name: unit_factor(some[name], answer[name][0]) for name in some if name in answer
        }
        found |= {name: factor for name, factor in factors.items() if factor > ROUNDING}
    return found


def dearer_cost(factors: Mapping[str, float], endpoint: str, units: float) -> MicroUSD | None:
    """As `cost_of`, at the dearer of the two prices."""
    cost = cost_of(endpoint, units)
    return None if cost is None else MicroUSD(round(cost * factors.get(endpoint, 1.0)))


__all__ = ["AT_ONCE", "dearer_cost", "dearer_units", "unit_factor"]
