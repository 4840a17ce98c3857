"""What one of fal's billable units costs, by what the endpoint makes (facts §1.1). Data, pure."""

from __future__ import annotations

from kling_batch.catalog import by_id
from kling_batch.jobs import MicroUSD

#: Kling video is billed in units of $0.14 (a standard silent second is 0.6 of them), images by
#: the picture.
UNIT_PRICE: dict[str, MicroUSD] = {"video": MicroUSD(140_000), "image": MicroUSD(28_000)}


def cost_of(endpoint_id: str, units: float) -> MicroUSD | None:
    """What billable units cost, where the unit's price is known."""
    endpoint = by_id(endpoint_id)
    return MicroUSD(round(units * UNIT_PRICE[endpoint.output])) if endpoint else None
