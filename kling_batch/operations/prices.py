"""Live prices from fal's pricing API, compared with the catalogue. Must not pay or stop anything.

The API gives the price of a *billable unit*, which need not be a second of the model page's price
(docs/fal-api.md#billing-units): it is compared with the catalogue's unit price of the endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio

from kling_batch.catalog.endpoint import Endpoint
from kling_batch.catalog.registry import by_id
from kling_batch.core.outcomes import Unread
from kling_batch.core.quantities import exact_usd, parse_usd
from kling_batch.errors import KlingBatchError
from kling_batch.fal.client import connect
from kling_batch.operations.services import gateway_of
from kling_batch.operations.unit_prices import AT_ONCE, unit_factor
from kling_batch.settings import Settings


def live_price_changes(endpoints: Sequence[str], settings: Settings) -> list[str]:
    """A line for each endpoint: its live price, compared with the catalogue.

    Raises:
        KlingBatchError: the API did not answer.
    """
    with gateway_of(settings) as gateway:
        return price_changes(endpoints, anyio.run(live_prices, endpoints, gateway))


async def live_prices(
    endpoints: Sequence[str], gateway: str | None
) -> Mapping[str, tuple[float, str]]:
    """Unit price in US dollars and unit of each endpoint.

    Raises:
        KlingBatchError: the API did not answer.
    """
    found: dict[str, tuple[float, str]] = {}
    async with connect(gateway) as fal:
        for start in range(0, len(endpoints), AT_ONCE):
            answer = await fal.queue.prices(list(endpoints[start : start + AT_ONCE]))
            if isinstance(answer, Unread):
                raise KlingBatchError(f"fal's pricing API gave no prices: {answer.reason}")
            found.update(answer)
    return found


def price_changes(endpoints: Sequence[str], live: Mapping[str, tuple[float, str]]) -> list[str]:
    """A line for each endpoint: the same price, changed by a factor, or unknown."""
    lines = [_line(name, live.get(name)) for name in endpoints]
    if any(
        endpoint is not None and endpoint.output == "video" for endpoint in map(by_id, endpoints)
    ):
        lines.append(
            "(for video the API prices a billing unit, not a second: a standard silent second is "
            "0.6 units, a pro second with audio 1.0, a 4k second 1.0 of its own)"
        )
    return lines


def _line(name: str, price: tuple[float, str] | None) -> str:
    endpoint: Endpoint | None = by_id(name)
    if price is None:
        return f"{name}: fal names no price"
    amount, unit = price
    text = f"${amount:g} per {unit or 'unit'}"
    if endpoint is None:
        return f"{name}: {text}"
    if not endpoint.unit_price:
        return f"{name}: {text}; the catalogue knows no unit of it"
    factor = unit_factor(endpoint, amount)
    if abs(factor - 1) < 0.001:
        return f"{name}: {text}, as in the catalogue"
    return (
        f"{name}: {text}; the catalogue's unit is {exact_usd(parse_usd(endpoint.unit_price))}, so "
        f"expect {factor:.2f} times the planned cost"
    )
