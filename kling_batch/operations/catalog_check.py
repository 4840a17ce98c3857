"""The catalogue held against fal: the schema and the unit price of each endpoint, as of now.

Free: schemas are public, prices need a key. Must not pay or change anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import anyio

from kling_batch.catalog.drift import (
    CatalogCheck,
    Change,
    Checked,
    Difference,
    differences,
)
from kling_batch.catalog.endpoint import Endpoint
from kling_batch.catalog.openapi import input_schema
from kling_batch.core.jobs import JSON
from kling_batch.core.outcomes import Unread
from kling_batch.core.quantities import exact_usd, parse_usd
from kling_batch.errors import AuthError
from kling_batch.fal.client import FalQueue, connect
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION, authorization
from kling_batch.operations.schema_reads import schemas_over
from kling_batch.operations.services import gateway_of
from kling_batch.operations.unit_prices import AT_ONCE, unit_factor
from kling_batch.settings import RunOptions, resolve

#: Seconds for one of them.
PATIENCE = 60.0

_Prices = Mapping[str, tuple[float, str]]


def check_catalog(endpoints: Sequence[Endpoint], options: RunOptions) -> CatalogCheck:
    """Hold these endpoints against fal's own words.

    Raises:
        KlingBatchError: proxies or certificates of the environment cannot be used.
    """
    settings = resolve([], options)
    with gateway_of(settings) as gateway:
        auth, no_key = _authorization(gateway)
        return anyio.run(partial(_check, endpoints, gateway, auth, no_key))


def _authorization(gateway: str | None) -> tuple[str, str]:
    """The key, or a dummy and why there is none."""
    if gateway is not None:
        return DUMMY_AUTHORIZATION, ""
    try:
        return authorization(), ""
    except AuthError:
        return DUMMY_AUTHORIZATION, "there is no fal key, which prices need; schemas do not"


async def _check(
    endpoints: Sequence[Endpoint], gateway: str | None, auth: str, no_prices: str
) -> CatalogCheck:
    # Tiers may share an id, and then they share the schema.
    ids = list(dict.fromkeys(endpoint.id for endpoint in endpoints))
    prices: _Prices = {}
    async with connect(gateway, auth) as fal:
        schemas = await schemas_over(fal.files, ids, PATIENCE)
        if not no_prices:
            prices, no_prices = await _prices(fal.queue, ids)
    checked = tuple(_compared(each, schemas[each.id], prices) for each in endpoints)
    return CatalogCheck(endpoints=checked, no_prices=no_prices)


async def _prices(queue: FalQueue, ids: Sequence[str]) -> tuple[_Prices, str]:
    found: dict[str, tuple[float, str]] = {}
    for start in range(0, len(ids), AT_ONCE):
        some = list(ids[start : start + AT_ONCE])
        answer = await queue.prices(some)
        if isinstance(answer, Unread) and answer.not_found and len(some) > 1:
            # One id that fal does not know hides the prices of the others.
            singly = [await queue.prices([name]) for name in some]
            known = (each for each in singly if not isinstance(each, Unread))
            answer = {name: price for each in known for name, price in each.items()}
        if isinstance(answer, Unread):
            return found, f"fal's pricing API gave no prices: {answer.reason}"
        found.update(answer)
    return found, ""


def _compared(endpoint: Endpoint, document: JSON | Unread, prices: _Prices) -> Checked:
    moved = _price(endpoint, prices.get(endpoint.id))
    if isinstance(document, Unread):
        return Checked(endpoint=endpoint, differences=moved, unread=document.reason)
    schema = input_schema(document, endpoint.id)
    if schema is None:
        reason = "fal's document describes no input"
        return Checked(endpoint=endpoint, differences=moved, unread=reason)
    return Checked(endpoint=endpoint, differences=(*differences(endpoint, schema), *moved))


def _price(endpoint: Endpoint, price: tuple[float, str] | None) -> tuple[Difference, ...]:
    """Whether fal asks another price of a billable unit than the catalogue knows."""
    if price is None or not endpoint.unit_price:
        return ()
    factor = unit_factor(endpoint, price[0])
    if abs(factor - 1) < 0.001:
        return ()
    unit = exact_usd(parse_usd(endpoint.unit_price))
    message = (
        f"a unit costs ${price[0]:g} at fal and {unit} in the catalogue: "
        f"expect {factor:.2f} times the planned cost"
    )
    return (Difference(Change.PRICE, "", message),)
