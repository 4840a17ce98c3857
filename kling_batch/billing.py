"""Asking fal what finished requests were billed, with an admin key (facts §5.6). Costs nothing.

Only for attempts whose actual cost is unknown; what is learnt goes into the ledger as an event.
"""

from __future__ import annotations

from collections.abc import Sequence

from kling_batch.errors import KlingBatchError
from kling_batch.fal import FalQueue, GatewayTransport, authorization, connections
from kling_batch.jobs import MicroUSD
from kling_batch.ledger import Ledger
from kling_batch.lifecycle import Event
from kling_batch.outcome import Unread
from kling_batch.records import Attempt

_BATCH = 50  # request ids a call


async def learn(ledger: Ledger, attempts: Sequence[Attempt], gateway: str | None) -> int:
    """Record the billed cost of each attempt that fal has a billing event for; how many.

    Raises:
        KlingBatchError: the key may not read billing events, or they cannot be read.
    """
    auth = "Key emulator" if gateway else authorization()
    by_request = {a.handle.request_id: a for a in attempts if a.handle is not None}
    ids = sorted(by_request)
    learnt = 0
    async with connections(auth, GatewayTransport(gateway) if gateway else None) as (api, _):
        queue = FalQueue(api)
        for start in range(0, len(ids), _BATCH):
            answer = await queue.billed(ids[start : start + _BATCH])
            if isinstance(answer, Unread):
                raise KlingBatchError(
                    f"fal's billing events cannot be read (they need an admin key): {answer.reason}"
                )
            for request_id, usd in answer.items():
                if request_id in by_request:
                    cost = MicroUSD(round(usd * 1e6))
                    ledger.record(by_request[request_id].id, Event.COST_LEARNT, cost=cost)
                    learnt += 1
    return learnt
