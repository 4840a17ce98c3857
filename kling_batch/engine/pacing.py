"""Rate limit, window of open requests, backoff and pauses between reads of the list.

Time is `anyio.current_time`, so that tests run it virtually. Must not know what it paces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

import anyio

from kling_batch.core.wakeup import Wakeup

#: Part of the most by which an adaptive rate grows in a second of good answers, where that does not
#: more than double it; and near the rate that met trouble last, part of that one.
GROWTH = 0.25
CAREFUL_GROWTH = 0.03
NEAR = 0.9
#: Seconds from one halving to the next: what was under way meets the same trouble.
CUT_INTERVAL = 0.25
#: Share of troubled answers, the latest weighted most, below which they say nothing about the
#: rate: a service that breaks one answer in twenty does so however slowly it is asked, and a rate
#: that is halved for each ends at two a second (simulated; so it is 600 of 1,000).
TOLERATED = 0.15
#: About as many answers as come in this time have a say, within bounds.
REMEMBERED_SECONDS = 0.5
FEWEST_REMEMBERED, MOST_REMEMBERED = 6.0, 32.0


class AdaptiveRate:
    """A rate that answers move: additive growth while they are good, halved while they are not.

    Args:
        rate: of the start, a second.
        least: below which it never falls.
    """

    def __init__(self, rate: float, least: float) -> None:
        self.now = rate
        self._least = least
        #: The rate at which good answers ended last.
        self._trouble = math.inf
        self._good = True
        self._cut_at = -math.inf
        self._grown_at: float | None = None
        #: Share of troubled answers, the latest weighted most.
        self._share = 0.0

    def grow(self, moment: float, most: float) -> None:
        """A good answer; the rate may reach `most`."""
        self._remember(troubled=False)
        passed = 0.0 if self._grown_at is None else min(1.0, moment - self._grown_at)
        careful = self.now >= NEAR * self._trouble
        growth = CAREFUL_GROWTH * self._trouble if careful else min(GROWTH * most, self.now)
        self.now = min(most, self.now + growth * passed)
        self._trouble = max(self._trouble, self.now)
        self._grown_at = moment
        self._good = True

    def cut(self, moment: float) -> None:
        """A sign of strain."""
        self._remember(troubled=True)
        if self._share < TOLERATED:
            return
        self._grown_at = moment
        if self._good:  # else it is the same trouble, and the rate says nothing about it
            self._trouble, self._good = self.now, False
        if moment - self._cut_at >= CUT_INTERVAL:
            self.now = max(self._least, self.now / 2)
            self._cut_at = moment
            self._share = 0.0  # of the new rate nothing is known yet

    def _remember(self, *, troubled: bool) -> None:
        latest = min(MOST_REMEMBERED, max(FEWEST_REMEMBERED, REMEMBERED_SECONDS * self.now))
        self._share += (troubled - self._share) / latest


class Rate:
    """Token bucket: `per_second` tokens a second, evenly spaced after a small burst, in order.

    Throttled, it gives fewer for a while; never fewer than one in five seconds for that.
    """

    def __init__(self, per_second: float, burst: int = 1) -> None:
        """`burst` tokens may be taken at once after a pause."""
        self._most = per_second
        self._rate = AdaptiveRate(per_second, min(per_second, 0.2))
        self._burst = burst
        self._next = 0.0
        self._held_until = 0.0
        self._line = anyio.Lock(fast_acquire=True)

    @property
    def most(self) -> float:
        """Tokens a second where nobody throttles."""
        return self._most

    @property
    def now(self) -> float:
        """Tokens a second at this moment."""
        return self._rate.now

    @property
    def held(self) -> float:
        """Seconds for which no token is given, because of `hold`."""
        return max(0.0, self._held_until - anyio.current_time())

    @property
    def _interval(self) -> float:
        return 1.0 / self._rate.now

    @property
    def _slack(self) -> float:
        return self._interval * (self._burst - 1)

    def take_now(self) -> bool:
        """Take a token where that needs no wait; False: wait in line with `take`."""
        now = anyio.current_time()
        if self._line.locked() or now < self._next - self._slack:
            return False
        self._next = max(self._next, now) + self._interval
        return True

    async def take(self) -> None:
        """Wait in line for the next token."""
        async with self._line:
            # A loop, because `hold` may postpone the time while a task waits for it.
            while (now := anyio.current_time()) < self._next - self._slack:  # noqa: ASYNC110
                await anyio.sleep(self._next - self._slack - now)
            self._next = max(self._next, now) + self._interval

    def hold(self, seconds: float) -> None:
        """Give no token for a while: fal told one request to slow down, so all do."""
        self._held_until = max(self._held_until, anyio.current_time() + seconds)
        self._next = max(self._next, anyio.current_time() + seconds + self._slack)

    def throttled(self) -> None:
        """fal asked for fewer."""
        self._rate.cut(anyio.current_time())

    def accepted(self) -> None:
        """fal took one: what it throttled may grow again."""
        self._rate.grow(anyio.current_time(), self._most)


class StopSwitch:
    """Ends waits: once it is set, every wait under it is cut short, also later ones."""

    def __init__(self) -> None:
        """Not set."""
        self.is_set = False
        self._waits: set[anyio.CancelScope] = set()

    def set(self) -> None:
        """Cut all waits short, for good."""
        self.is_set = True
        for wait in self._waits:
            wait.cancel()

    @contextmanager
    def cuts_short(self) -> Iterator[None]:
        """The body is a wait that ends when the switch is set."""
        with anyio.CancelScope() as wait:
            if self.is_set:
                wait.cancel()
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)


class Window:
    """Limit of requests open at once: the money exposed at any moment."""

    def __init__(self, limit: int) -> None:
        """At most `limit` enter by waiting; requests found open at the start enter at once."""
        self.limit = limit
        self.open = 0
        self._changed = Wakeup()

    @property
    def full(self) -> bool:
        """Whether the next one would have to wait."""
        return self.open >= self.limit

    async def enter(self) -> None:
        """Wait for a place and take it."""
        while self.full:
            await self._changed.wait()
        self.open += 1

    def enter_now(self) -> None:
        """Count a request that is open already."""
        self.open += 1

    def leave(self) -> None:
        """Free a place."""
        self.open -= 1
        self._changed.wake()


class Backoff(NamedTuple):
    """Exponential backoff with jitter, in seconds."""

    first: float = 1.0
    factor: float = 2.0
    ceiling: float = 30.0

    def delay(self, n: int, rng: Random, retry_after: float | None = None) -> float:
        """Seconds before try `n + 1`, `n` ≥ 1; never less than what the server asked for.

        A huge `n` or hint is clamped: `ceiling` bounds the growth, an hour bounds the hint.
        """
        grown = min(self.ceiling, self.first * self.factor ** min(n - 1, 32))
        jittered = grown * rng.uniform(0.75, 1.25)
        return max(jittered, min(retry_after or 0.0, 3600.0))


#: The paid POST, where it provably was not accepted.
SUBMIT = Backoff(first=0.5, ceiling=30.0)

#: The same, where fal says that the account is locked: a moment, to distinguish a blip from a lock.
LOCKED = Backoff(first=1.0)

#: The second round after that, for a lock that flips on and off.
LOCKED_AGAIN = Backoff(first=15.0, ceiling=60.0)

#: Between submissions while fal answers none of them for certain.
PROBE = Backoff(first=2.0, ceiling=120.0)

#: Reads of status, result and list: they cost nothing, but must not overload a broken service.
READ = Backoff(first=0.5, ceiling=20.0)

#: Downloads.
DOWNLOAD = Backoff(first=0.5, ceiling=20.0)

#: A new attempt after a transient, unbilled failure.
ATTEMPT = Backoff(first=2.0, ceiling=60.0)


def doubt_interval(elapsed: float) -> float:
    """Seconds until the platform's list is asked again, `elapsed` seconds after the intent."""
    return min(60.0, max(1.0, elapsed * 0.25))
