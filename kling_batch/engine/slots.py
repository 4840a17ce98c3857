"""Slots of the account: when those that wait in fal's queue start, as far as ends tell.

Where requests wait, each start is the end of another: the n-th end comes a service time after the
one that is as many places before it as there are slots. Pure: times are given. Must not know
requests or endpoints, nor when anything is read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from statistics import median_low

#: Latest durations whose mean is how long a slot is held.
KEPT = 96
#: Ends that are kept, at least half of this number.
ENDS = 8192
#: Latest views of the queue that the number of slots is the median of.
VIEWS = 5
#: Sightings within this share of a service time, at least so many seconds, are one view.
VIEW_SHARE = 0.1
VIEW_SECONDS = 0.5
#: Seconds within which requests may stand in fal's queue in another order than they were accepted.
TOGETHER = 0.2
#: Ends up to which what is expected is rather doubted: looks are sooner.
DOUBT = 8


class Slots:
    """When requests ended, and how many are rendered at once."""

    def __init__(self) -> None:
        """Nothing has ended."""
        self._ends: list[float] = []
        self._forgotten = self._left_out = 0
        #: Changes with each end.
        self.version = 0
        self._durations: deque[float] = deque(maxlen=KEPT)
        self._mean: float | None = None
        #: When each view began; time of its most telling sighting, and how many of all requests had
        #: left the queue by then at most.
        self._views: deque[tuple[float, float, int]] = deque(maxlen=VIEWS)
        self._accepted: list[float] = []
        self._count: int | None = None
        #: How many were seen running, and not ended.
        self.running = 0

    @property
    def mean(self) -> float:
        """Mean of the latest durations; 0 while none is known."""
        if self._mean is None:
            self._mean = sum(self._durations) / (len(self._durations) or 1)
        return self._mean

    @property
    def count(self) -> int:
        """How many of ours are rendered at once; 0 while unknown."""
        if self._count is None:
            self._count = self._counted()
        return max(self._count, self.running)

    @property
    def sighted(self) -> bool:
        """Whether requests were seen to wait for others."""
        return bool(self._views)

    def _counted(self) -> int:
        if not self._views:
            return 0
        # An end that was not noticed yet makes it larger, never smaller: looks are sooner for it.
        return median_low(started - self.ended_by(at) for _, at, started in self._views)

    def learn(self, seconds: float) -> None:
        """A request held a slot for so long."""
        self._durations.append(seconds)
        self._mean = self._count = None

    def accept(self, at: float) -> None:
        """A request was accepted."""
        insort(self._accepted, at)
        if len(self._accepted) > 2 * ENDS:
            del self._accepted[:ENDS]
            self._left_out += ENDS

    def sight(self, accepted: float, at: float, position: int) -> None:
        """A request that was accepted then was seen in the queue, with so many before it."""
        before = self._left_out + bisect_right(self._accepted, accepted + TOGETHER) - 1
        started = before - position
        if self._accepted_with(accepted) > 1 and 0 < 2 * self.count < started - self.ended_by(at):
            return  # its place among those that were accepted with it is not known
        began = at
        if self._views and at - self._views[-1][0] < max(VIEW_SECONDS, VIEW_SHARE * self.mean):
            began, then, most = self._views.pop()
            if most - self.ended_by(then) < started - self.ended_by(at):
                at, started = then, most
        self._views.append((began, at, started))
        self._count = None

    def _accepted_with(self, at: float) -> int:
        first = bisect_left(self._accepted, at - TOGETHER)
        return bisect_right(self._accepted, at + TOGETHER) - first

    def end(self, at: float) -> None:
        """A request ended."""
        insort(self._ends, at)
        self.version += 1
        if len(self._ends) > ENDS:
            del self._ends[: ENDS // 2]
            self._forgotten += ENDS // 2
        self._count = None

    @property
    def trusted(self) -> float:
        """How far what is expected of the queue is believed, from a half to one: by ends seen."""
        ends = self._forgotten + len(self._ends)
        return (ends + DOUBT) / (ends + 2 * DOUBT)

    def ended_by(self, at: float) -> int:
        """How many requests had ended by this time."""
        return self._forgotten + bisect_right(self._ends, at)

    def nth_end(self, number: int, since: float) -> float | None:
        """When the n-th request after `since` ended or presumably ends; None: unknown."""
        place = bisect_right(self._ends, since) + number - 1
        missing = place + 1 - len(self._ends)
        if missing <= 0:
            return self._ends[place]
        count = self.count
        if not self.mean or count <= 0:
            return None
        rounds = -(-missing // count)
        place -= rounds * count
        before = self._ends[place] if place >= 0 else self._accepted[0]
        return max(since, before + rounds * self.mean)
