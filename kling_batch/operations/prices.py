"""What fal's pricing API says now, beside the catalogue. Asks, never decides.

The unit trap (docs/fal-api.md#billing-units): for Kling video the API gives the price of a
*billing unit*, $0.14 at the catalogue's date, of which a second takes 0.6 (standard, silent) to 3
(4k). Times seconds it is no price at all; against $0.14 it tells whether prices have moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kling_batch.catalog.kling_o3 import Endpoint
from kling_batch.catalog.registry import UNIT_PRICE, by_id
from kling_batch.core.outcomes import Unread
from kling_batch.core.quantities import format_usd, micro_usd
from kling_batch.errors import KlingBatchError
from kling_batch.fal.client import FalQueue
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION, authorization
from kling_batch.fal.transport import GatewayTransport, connections

_BATCH = 50  # endpoints a call, docs/fal-api.md#pricing


async def ask(endpoints: Sequence[str], gateway: str | None) -> Mapping[str, tuple[float, str]]:
    """Unit price in US dollars and unit of each endpoint.

    Raises:
        KlingBatchError: the API did not answer.
    """
    auth = DUMMY_AUTHORIZATION if gateway else authorization()
    found: dict[str, tuple[float, str]] = {}
    async with connections(auth, GatewayTransport(gateway) if gateway else None) as (api, _):
        for start in range(0, len(endpoints), _BATCH):
            answer = await FalQueue(api).prices(list(endpoints[start : start + _BATCH]))
            if isinstance(answer, Unread):
                raise KlingBatchError(f"fal's pricing API gave no prices: {answer.reason}")
            found.update(answer)
    return found


def compare(endpoints: Sequence[str], live: Mapping[str, tuple[float, str]]) -> list[str]:
    """A line an endpoint: the same, moved by a factor, or unknown."""
    lines = [_line(name, live.get(name)) for name in endpoints]
    if any(
        endpoint is not None and endpoint.output == "video" for endpoint in map(by_id, endpoints)
    ):
        lines.append(
            "(for video the API prices a billing unit, not a second: a standard silent second is "
            "0.6 units, a pro second with audio 1.0, a 4k second 3.0)"
        )
    return lines


def _line(name: str, price: tuple[float, str] | None) -> str:
    endpoint: Endpoint | None = by_id(name)
    if price is None:
        return f"{name}: fal names no price"
    amount, unit = price
    said = f"${amount:g} per {unit or 'unit'}"
    if endpoint is None:
        return f"{name}: {said}"
    factor = micro_usd(amount) / UNIT_PRICE[endpoint.output]
    if abs(factor - 1) < 0.001:
        return f"{name}: {said}, as in the catalogue"
    return (
        f"{name}: {said}; the catalogue's unit is {format_usd(UNIT_PRICE[endpoint.output])}, so "
        f"expect {factor:.2f} times the planned cost"
    )
