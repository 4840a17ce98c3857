"""Billed costs of finished requests, from fal's billing events; takes an admin key.

Source: docs/fal-api.md#billing-events.
Also for attempts whose cost was computed here: only the bill knows discounts and new prices. Each
bill is recorded once, as an event of its attempt. Must not read a clock, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio

from kling_batch.core.lifecycle import Event
from kling_batch.core.outcomes import Unread
from kling_batch.core.quantities import format_time, micro_usd, parse_time
from kling_batch.core.records import Attempt
from kling_batch.errors import KlingBatchError
from kling_batch.fal.client import connect
from kling_batch.ledger.ledger import Ledger
from kling_batch.operations.services import gateway_of, now
from kling_batch.settings import Settings

_BATCH = 50  # request ids a call

#: How far back fal's billing events reach; an hour less, because its clock may be behind ours.
REACH = timedelta(days=90) - timedelta(hours=1)
#: Asked for from so much before the intent, which was stamped by this machine's clock.
MARGIN = timedelta(days=1)


@dataclass(slots=True)
class BillingSummary:
    """Counts of bills asked for and found."""

    asked: int = 0
    learnt: int = 0
    #: Of those, how many had another cost in the ledger, or none.
    changed: int = 0
    #: Older than fal's billing events reach; not asked for.
    too_old: int = 0

    def __str__(self) -> str:
        text = f"{self.learnt} of {self.asked} open bills learnt"
        if self.learnt:
            text += f", {self.changed} of them other than reckoned"
        if self.too_old:
            text += f"; too old for fal to tell (90 days): {self.too_old}"
        return text


def learn_bills(ledger: Ledger, settings: Settings) -> BillingSummary:
    """Record the bill of each attempt that fal has billing events for.

    Raises:
        KlingBatchError: the key may not read billing events, or they cannot be read; what was
            learnt before that stays.
    """
    ledger.must_belong_to(settings.service)
    with gateway_of(settings) as gateway:
        return anyio.run(_learn, ledger, gateway, now())


async def _learn(ledger: Ledger, gateway: str | None, moment: datetime) -> BillingSummary:
    unbilled = ledger.unbilled()
    asked = [a for a in unbilled if parse_time(a.intended_at) > moment - REACH]
    result = BillingSummary(asked=len(asked), too_old=len(unbilled) - len(asked))
    async with connect(gateway) as fal:
        for some in _batches(asked):
            by_request = {a.handle.request_id: a for a in some if a.handle is not None}
            answer = await fal.queue.billed([*by_request], since=format_time(_start(some, moment)))
            if isinstance(answer, Unread):
                raise KlingBatchError(
                    f"fal's billing events cannot be read (they need an admin key): "
                    f"{answer.reason}; {result}"
                )
            for request_id in by_request.keys() & answer.keys():
                _record(ledger, by_request[request_id], answer[request_id], result)
    return result


def _batches(attempts: Sequence[Attempt]) -> Iterator[Sequence[Attempt]]:
    for start in range(0, len(attempts), _BATCH):
        yield attempts[start : start + _BATCH]


def _start(attempts: Sequence[Attempt], moment: datetime) -> datetime:
    """Before the earliest of their intents, as far as fal's list may be asked."""
    earliest = min(parse_time(attempt.intended_at) for attempt in attempts)
    return max(min(earliest, moment) - MARGIN, moment - REACH)


def _record(ledger: Ledger, attempt: Attempt, usd: float, result: BillingSummary) -> None:
    cost = micro_usd(usd)
    ledger.record(attempt.id, Event.COST_LEARNT, cost=cost)
    result.learnt += 1
    result.changed += cost != attempt.cost
