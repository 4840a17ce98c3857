"""fal's schemas of several endpoints, read at once and without a key.

Imported where fal is asked. Must not judge what is in them.
"""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from kling_batch.core.jobs import JSON
from kling_batch.core.outcomes import Unread
from kling_batch.fal.client import connect
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION
from kling_batch.fal.schemas import schema_of
from kling_batch.wire.protocol import Wire

#: Schemas that are fetched at once.
PARALLEL = 4


async def read_schemas(
    gateway: str | None, endpoints: Iterable[str], patience: float
) -> dict[str, JSON | Unread]:
    """The documents by endpoint, on a connection of their own.

    Raises:
        KlingBatchError: proxies or certificates of the environment cannot be used.
    """
    async with connect(gateway, DUMMY_AUTHORIZATION) as fal:
        return await schemas_over(fal.files, endpoints, patience)


async def schemas_over(
    wire: Wire, endpoints: Iterable[str], patience: float
) -> dict[str, JSON | Unread]:
    """The documents by endpoint; each takes `patience` seconds at most. `wire` carries no key."""
    found: dict[str, JSON | Unread] = {}
    limiter = anyio.CapacityLimiter(PARALLEL)

    async def fetch(name: str) -> None:
        async with limiter:
            found[name] = Unread(f"no whole answer within {patience:.0f} s")
            with anyio.move_on_after(patience):
                found[name] = await schema_of(wire, name)

    async with anyio.create_task_group() as group:
        for name in endpoints:
            group.start_soon(fetch, name)
    return found
