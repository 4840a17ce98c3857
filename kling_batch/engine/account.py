"""What fal billed the whole account, kept young enough to hold payments against.

Read before a payment once the last look is a minute old, so collecting never waits for it. Where
fal does not say, nothing may be paid. Must not pay, and must not decide what ends a run.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Protocol

import anyio

from kling_batch.core.outcomes import BillingEvents, Unread
from kling_batch.core.quantities import MicroUSD, format_time, micro_usd
from kling_batch.core.records import AccountBills
from kling_batch.engine.pacing import Backoff

#: What the limit is held against, by fal's clock.
WINDOW = timedelta(days=1)
#: How far back the first look asks, so that what was bought days ago and is collected today is
#: known as billed; and each later one, a day more than the window, as clocks may differ.
FIRST_REACH, REACH = timedelta(days=8), timedelta(days=2)
#: Seconds after which a payment needs a new look.
FRESH = 60.0
#: Seconds of trying until an unreadable list ends the payments of a run; less where the key is
#: refused, which may be a lock that comes and goes.
PATIENCE, REFUSED_PATIENCE = 600.0, 10.0
_PAUSES = Backoff(first=2.0, ceiling=60.0)


class Bills(Protocol):
    """fal's billing events; implemented by `FalQueue`."""

    async def billing_events(self, *, since: str) -> BillingEvents | Unread:
        """Every billing event of the account since a moment."""


async def read_bills(
    fal: Bills, now: datetime, known: AccountBills | None = None
) -> AccountBills | Unread:
    """One look at the account's bills; `known`: an earlier one."""
    reach = FIRST_REACH if known is None else REACH
    answer = await fal.billing_events(since=format_time(now - reach))
    if isinstance(answer, Unread):
        return answer
    # Only a day apart, as `REACH` allows for: by an odd `Date` of next year nothing was billed.
    since = min(answer.asked_at or now, now + (REACH - WINDOW)) - WINDOW
    requests = {event.request_id for event in answer.events} - {""}
    sums: dict[str, float] = {}
    for event in answer.events:
        if event.at is None or event.at >= since:
            sums[event.request_id] = sums.get(event.request_id, 0.0) + event.usd
    # A credit lowers the bill of its own request at most to nothing.
    total = sum(micro_usd(max(0.0, usd)) for usd in sums.values())
    earlier = known.requests if known is not None else frozenset[str]()
    return AccountBills(total=MicroUSD(total), requests=earlier | requests)


class AccountWatch:
    """The bills of the account while a run pays; one a run."""

    def __init__(self, known: AccountBills | None = None) -> None:
        """`known`: a look from before the run, which no payment is held against."""
        self._known = known
        self._looked_at: float | None = None
        self._one_at_a_time = anyio.Lock()

    @property
    def bills(self) -> AccountBills | None:
        """The last look; None before the first."""
        return self._known

    @property
    def fresh(self) -> bool:
        """Whether a payment may be held against the last look."""
        return self._looked_at is not None and anyio.current_time() - self._looked_at < FRESH

    async def renew(self, fal: Bills, now: datetime, rng: Random) -> Unread | None:
        """Look again, for everybody who waits; why that did not succeed, or None."""
        began = anyio.current_time()
        async with self._one_at_a_time:
            tries = 0
            while not self.fresh:
                passed = timedelta(seconds=anyio.current_time() - began)
                answer = await read_bills(fal, now + passed, self._known)
                if isinstance(answer, AccountBills):
                    # From its end: of a long list, one that takes a minute would never be fresh.
                    self._known, self._looked_at = answer, anyio.current_time()
                    return None
                tries += 1
                pause = _PAUSES.delay(tries, rng, answer.retry_after)
                patience = REFUSED_PATIENCE if answer.refused else PATIENCE
                if anyio.current_time() + pause > began + patience:
                    return answer
                await anyio.sleep(pause)
        return None


__all__ = ["AccountWatch", "read_bills"]
