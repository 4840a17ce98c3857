"""Reads of fal, in turn: one heap of what is due, a budget that fal's answers move, one task.

Reads are free of charge; the budget spares the service. It grows with what is open and shrinks
while fal throttles or fails. Must not know what is read, nor decide when a read is due.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from itertools import count
from typing import TypeVar

import anyio

from kling_batch.core.outcomes import Unread
from kling_batch.core.wakeup import Wakeup
from kling_batch.engine.pacing import AdaptiveRate

T = TypeVar("T")

#: Reads a second at most: at all, for each open request up to `FEW`, and for each further one.
#: fal's own client asks ten times a second for each.
BASE_RATE = 50.0
RATE_EACH = 4.0
FEW = 200
RATE_EACH_FURTHER = 0.3
#: Reads a second at the start: requests that a run finds open are not all asked at once.
START_RATE = 200.0
LEAST_RATE = 1.0
#: Seconds whose reads may begin together.
BURST = 0.05
#: Seconds for which a `Retry-After` of one read holds all of them at most.
LONGEST_HOLD = 30.0
#: Reads under way at once: what bounds connections and memory while fal answers slowly.
MOST_UNDER_WAY = 128
#: Seconds by which a look may be early.
EARLY = 0.001
#: Seconds between two looks while jobs are submitted as fast as this machine can. Each look would
#: delay every submission after it, and what was accepted just now is hardly done.
WHILE_SUBMITTING = 0.02
#: Reads that begin without giving other tasks a turn, and entries examined so.
AT_ONCE = 64
EXAMINED = 1000
#: Seconds between two examinations of all entries, at least; and for each entry.
EXAMINE_INTERVAL = 0.1
EXAMINE_EACH = 0.0001


class ReadBudget:
    """Reads a second: additive growth on good answers, halved by 429, 5xx and broken answers."""

    def __init__(self) -> None:
        """The rate of the start."""
        #: Requests that are open.
        self.open = 0
        self._rate = AdaptiveRate(START_RATE, LEAST_RATE)
        self._next = 0.0

    @property
    def most(self) -> float:
        """The rate that nothing exceeds."""
        few = min(self.open, FEW)
        return BASE_RATE + RATE_EACH * few + RATE_EACH_FURTHER * (self.open - few)

    @property
    def rate(self) -> float:
        """Reads a second at this moment."""
        return min(self._rate.now, self.most)

    def pause(self, now: float) -> float:
        """Seconds until the next read may begin."""
        rate = self.rate
        return max(0.0, self._next - max(0.0, BURST - 1 / rate) - now)

    def take(self, now: float) -> None:
        """A read begins."""
        self._next = max(self._next, now) + 1 / self.rate

    def note(self, outcome: object, now: float) -> None:
        """Learn from an answer. A denial (403, 404) is an answer, not a sign of strain."""
        if not isinstance(outcome, Unread) or outcome.not_found or outcome.refused or outcome.empty:
            self._rate.grow(now, self.most)
            return
        self._rate.cut(now)
        if outcome.retry_after:
            self._next = max(self._next, now + min(outcome.retry_after, LONGEST_HOLD))


class _Entry:
    """One read that waits for its turn."""

    __slots__ = ("at", "due", "granted", "over", "turn")

    def __init__(self, due: Callable[[float], float] | None) -> None:
        self.due = due
        self.at = -math.inf
        self.turn = anyio.Event()
        self.granted = self.over = False


class Reads:
    """All reads of a run; `serve` must run beside those who read."""

    def __init__(self) -> None:
        """Nothing waits yet."""
        self.budget = ReadBudget()
        self._submitting = False
        self._looked_at = -math.inf
        self._heap: list[tuple[float, int, _Entry]] = []
        self._number = count()
        self._under_way = 0
        self._changed = Wakeup()
        self._moved = False
        #: Whether something is due that waits for more than its time: for the end of other reads
        #: and what they tell, or of submissions.
        self._held_up = False
        self._examined_at = -math.inf

    async def read(
        self,
        call: Callable[[], Awaitable[T]],
        due: Callable[[float], float] | None = None,
    ) -> T:
        """The outcome of `call`, made when it is due and the budget allows it.

        Args:
            call: one read.
            due: the time at which it is due, as it is known at a time; None: at once, and first.
        """
        now = anyio.current_time()
        if due is None and self._free(now):
            self._begin(now)
        else:
            await self._turn(due, now)
        try:
            outcome = await call()
            self.budget.note(outcome, anyio.current_time())
            return outcome
        finally:
            self._end()

    def reconsider(self) -> None:
        """What is due when has changed: some may be due earlier than they are entered."""
        self._moved = True
        self._changed.wake()

    def submitting(self, *, yes: bool) -> None:
        """Whether jobs are submitted one after the other, held up by nothing but this machine."""
        self._submitting = yes
        if self._held_up and not yes:
            self._changed.wake()

    async def serve(self) -> None:
        """Give turns, for ever."""
        while True:
            if self._moved and anyio.current_time() >= self._next_examination():
                await self._examine()
            now = anyio.current_time()
            delay = self._give_turns(now)
            if self._moved:
                delay = min(delay, max(0.0, self._next_examination() - now))
            with anyio.CancelScope(deadline=now + delay):
                await self._changed.wait()

    def _free(self, now: float) -> bool:
        """Whether a read may begin that is due at once: nobody is before it."""
        next_due = self._heap[0][0] if self._heap else math.inf
        return next_due > now and not self._pause(now)

    def _pause(self, now: float) -> float:
        """Seconds until one more read may begin; infinite where another has to end first."""
        return math.inf if self._under_way >= MOST_UNDER_WAY else self.budget.pause(now)

    def _begin(self, now: float) -> None:
        self.budget.take(now)
        self._under_way += 1

    def _end(self) -> None:
        self._under_way -= 1
        if self._held_up:
            self._changed.wake()

    async def _turn(self, due: Callable[[float], float] | None, now: float) -> None:
        """Wait in line; who returns from it has begun."""
        entry = _Entry(due)
        self._push(entry, -math.inf if due is None else due(now))
        try:
            await entry.turn.wait()
        except BaseException:
            entry.over = True
            if entry.granted:
                self._end()
            raise

    def _push(self, entry: _Entry, at: float) -> None:
        self._enter(entry, at)
        if self._heap[0][2] is entry:
            self._changed.wake()

    def _enter(self, entry: _Entry, at: float) -> None:
        entry.at = at
        heappush(self._heap, (at, next(self._number), entry))

    def _give_turns(self, now: float) -> float:
        """Begin what is due and allowed; seconds until the next, infinite if unknown."""
        given = postponed = 0
        self._held_up = False
        while self._heap:
            at, _, entry = self._heap[0]
            if entry.over or entry.granted or entry.at != at:
                heappop(self._heap)
                continue
            if at > now:
                return at - now
            if pause := self._pause(now):
                self._held_up = True
                return pause
            if given >= AT_ONCE or postponed >= EXAMINED:
                return 0.0
            if entry.due is not None:
                if self._submitting and now < self._looked_at + WHILE_SUBMITTING:
                    self._held_up = True
                    return self._looked_at + WHILE_SUBMITTING - now
                if (later := entry.due(now)) > now + EARLY:
                    heappop(self._heap)
                    self._enter(entry, later)
                    postponed += 1
                    continue
                self._looked_at = now
            heappop(self._heap)
            self._begin(now)
            entry.granted = True
            entry.turn.set()
            given += 1
        return math.inf

    # -- what is due earlier ---------------------------------------------------------------------

    def _next_examination(self) -> float:
        return self._examined_at + EXAMINE_INTERVAL + EXAMINE_EACH * len(self._heap)

    async def _examine(self) -> None:
        """Enter anew what is due earlier by now; the old entry is skipped when it comes up."""
        self._moved = False
        entries = [entry for _, _, entry in self._heap if entry.due is not None]
        for n, entry in enumerate(entries):
            if n % EXAMINED == EXAMINED - 1:
                self._give_turns(anyio.current_time())
                await anyio.lowlevel.checkpoint()
            if entry.over or entry.granted or entry.due is None:
                continue
            now = anyio.current_time()
            if (due := entry.due(now)) < entry.at - EARLY:
                self._push(entry, due)
        self._examined_at = anyio.current_time()
