"""What fal's billable units cost (facts §1.1), and when a cost is not what was planned. Pure."""

from __future__ import annotations

from kling_batch.catalog.registry import by_id
from kling_batch.core.jobs import MicroUSD

#: A job that cost this many times its estimate stops further submissions: the prices we know
#: are not the prices we pay.
ALARM = 3

#: Kling video is billed in units of $0.14 (a standard silent second is 0.6 of them), images by
#: the picture.
UNIT_PRICE: dict[str, MicroUSD] = {"video": MicroUSD(140_000), "image": MicroUSD(28_000)}


def cost_of(endpoint_id: str, units: float) -> MicroUSD | None:
    """What billable units cost, where the unit's price is known."""
    endpoint = by_id(endpoint_id)
    return MicroUSD(round(units * UNIT_PRICE[endpoint.output])) if endpoint else None


#: More than this much above its estimate is no rounding.
ROUNDING = 1.01


def dearer(cost: MicroUSD, estimate: MicroUSD) -> bool:
    """Whether a render cost more than was planned, roundings apart; not where nobody knew."""
    return 0 < estimate * ROUNDING < cost


def alarming(cost: MicroUSD, estimate: MicroUSD) -> bool:
    """Whether it cost so much more that nothing should be bought at such prices unasked."""
    return 0 < ALARM * estimate <= cost
