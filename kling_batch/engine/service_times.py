"""Service times of one kind of request: what was seen of them, and when to look at the next one.

A look costs a request, a late look costs time: `plan` finds the ages that cost least over the
durations seen so far (an optimal inspection policy). Pure. Must not know requests or clocks.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise
from statistics import median

#: Latest durations that are kept.
KEPT = 96
#: Seconds that a duration is taken for at least, such as one that fal measured as nothing.
SHORTEST = 0.05
#: Durations that a plan is made of at most: of more, every second, third or further one.
POINTS = 32
#: What a look costs in seconds of lateness: a share of the age at which it is made, and a constant.
#: With durations spread evenly over ±15 %, the share means about five looks and 1.5 % lateness; the
#: constant allows short renders 40 ms more, for fewer than three looks (DESIGN.md, Looks).
LOOK_COST_SHARE = 0.003
LOOK_COST_SECONDS = 0.03
#: How far beyond the durations seen the next may lie, as a share of them, after the first one.
UNSEEN = 0.15
#: A gap between durations, as a share, from which the lower ones count as a group of their own.
GAP = 0.15
#: In a gap: the first distance beyond a group, as a share, its growth, and the weight there.
CLOSEST_GAP = 0.02
GAP_GROWTH = 3.0
GAP_WEIGHT = 0.5
#: Of a wide interval only the part from this share of its end on is believed to hold the end: the
#: next looks move towards it, and do not jump. The share is such that what fal does not measure is
#: noticed as what it does: with more, durations are taken for longer, and looks are late.
WIDEST = 0.92
#: From this duration on, one look is made early: what a runner refuses ends within seconds.
EARLY_FROM = 20.0
EARLY_SHARE = 0.1
EARLY_AT_MOST = 10.0
#: After the longest duration seen: first interval, as a share of it; growth; limit by age.
TAIL_FIRST = 0.02
TAIL_GROWTH = 0.5
TAIL_LIMIT = 0.1
#: By how much the assumed overhead shrinks where a first look found the request finished: it may
#: have been finished for a while.
OVERHEAD_DECAY = 0.97
#: Latest overheads that the median is taken of; and what one may be, as a share of the duration,
#: besides a second. Where all are longer (cold starts), whole durations are learned instead.
OVERHEADS = 9
MOST_OVERHEAD = 0.1
_GOLDEN = 0.618033988749895
#: Latest durations that must lie this close to the median, as a share, for the kind to be steady.
STEADY = 8
CLOSE = 0.15


class ServiceTimes:
    """Durations of one kind of request, from start to end, and the ages to look at."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        #: Duration, and whether fal told it: then it lacks the overhead.
        self._seen: deque[tuple[float, bool]] = deque(maxlen=KEPT)
        #: Durations that were seen in all.
        self.learned = 0
        self._overhead = 0.0
        self._overheads: deque[float] = deque(maxlen=OVERHEADS)
        self._fraction = 0.5
        #: The durations with what passes beside them, in order, and the ages planned from them.
        self._ends: list[float] = []
        self._ages: list[float] = []
        self._new = 0
        self._typical: float | None = None
        self._longest: float | None = None
        self._steady: bool | None = None

    @property
    def typical(self) -> float:
        """The median; only where `known`."""
        if self._typical is None:
            self._typical = median([seconds for seconds, _ in self._seen])
        return self._typical

    @property
    def longest(self) -> float:
        """The longest that was seen, with what passes beside it; infinite where none was."""
        if self._longest is None:
            self._longest = max([seconds for seconds, _ in self._seen], default=math.inf)
        return self._longest + self._overhead

    @property
    def known(self) -> bool:
        """Whether any duration has been seen."""
        return bool(self._seen)

    @property
    def steady(self) -> bool:
        """Whether the latest durations are as fal measured them, and all close to the median."""
        if self._steady is None:
            latest = [*self._seen][-STEADY:]
            self._steady = len(latest) == STEADY and all(
                told and abs(seconds - self.typical) <= CLOSE * self.typical
                for seconds, told in latest
            )
        return self._steady

    def share_ended(self, last: float, age: float) -> float:
        """Of the durations seen above the last age, the share not above this; only where `known`.

        0 where none is above the last age.
        """
        self._plan_anew()
        before = bisect_right(self._ends, last)
        return (bisect_right(self._ends, age) - before) / max(1, len(self._ends) - before)

    def remember(self, told: float) -> None:
        """A duration by fal's own measure, of a request whose start is not known so well."""
        self._add(max(0.0, told), told=True)

    def learn(self, lower: float, upper: float, told: float | None) -> None:
        """A request that ended between two ages; `lower` is 0 where there was no earlier look.

        Args:
            lower: the last age at which it was unfinished.
            upper: the first age at which it was finished.
            told: the duration by fal's own measure, where it gives one.
        """
        upper = max(upper, lower)
        if told is not None and 0 < told <= upper:
            self._follow_overhead(lower - told, upper - told, MOST_OVERHEAD * told + 1.0)
            if lower <= told + self._overhead <= upper or not lower:
                self._add(told, told=True)
                return
        elif told is not None and 0 < told <= upper + MOST_OVERHEAD * told + 1.0:
            # It began before its acceptance was known here, and so ended at a lower age.
            self._add(upper, told=False)
            return
        lower = max(lower, WIDEST * upper)
        self._fraction = (self._fraction + _GOLDEN) % 1.0
        self._add(lower + self._fraction * (upper - lower), told=False)

    def _follow_overhead(self, lower: float, upper: float, most: float) -> None:
        """What passes beside fal's own measure: start, network; between these bounds this time.

        More than `most` is rather a wait for a slot that was not seen: it must not make looks at
        all others later, which would be found finished and so confirm it.
        """
        middle = (lower + upper) / 2 if lower > 0 else min(self._overhead * OVERHEAD_DECAY, upper)
        if middle <= most:
            self._overheads.append(middle)
            self._overhead = median(self._overheads)

    def _add(self, seconds: float, *, told: bool) -> None:
        self._seen.append((seconds, told))
        self.learned += 1
        self._typical = self._longest = self._steady = None
        self._new += 1

    def next_after(self, age: float) -> float:
        """The age, above this one, of the next look; only where `known`.

        A negative age: there was none yet.
        """
        self._plan_anew()
        if age < 0 and self.typical >= EARLY_FROM:
            return min(EARLY_SHARE * self._ages[0], EARLY_AT_MOST)
        place = bisect_right(self._ages, age)
        if place < len(self._ages):
            return self._ages[place]
        longest = self._ages[-1]
        grown = TAIL_FIRST * longest + TAIL_GROWTH * (age - longest)
        return age + min(grown, max(TAIL_LIMIT * age, TAIL_FIRST * longest))

    def _plan_anew(self) -> None:
        """Plan the ages, where enough has been seen since they were planned last."""
        if self._ages and self._new <= len(self._seen) // 8:
            return
        ends = (seconds + self._overhead * told for seconds, told in self._seen)
        self._ends = durations = sorted(max(SHORTEST, end) for end in ends)
        self._ages = plan(widened(durations[::-1][:: -(-len(durations) // POINTS)][::-1]))
        self._new = 0


def widened(durations: Sequence[float]) -> list[tuple[float, float]]:
    """The durations in ascending order, each with its weight, and where else the next may lie.

    That is around each group, and ever more sparsely in the gaps between groups: the latest
    durations are rather the short ones of what was accepted together.
    """
    points = [(durations[0] * (1 - UNSEEN / len(durations)), 1.0)]
    group = 0
    for duration, following in pairwise([*durations, math.inf]):
        group += 1
        points.append((duration, 1.0))
        if following <= duration * (1 + GAP):
            continue
        beyond = max(UNSEEN / group, CLOSEST_GAP)
        points.append((duration * (1 + beyond), 1.0))
        while math.isfinite(following) and duration * (1 + GAP_GROWTH * beyond) < following:
            beyond *= GAP_GROWTH
            points.append((duration * (1 + beyond), GAP_WEIGHT))
        group = 0
    return points


def plan(points: Sequence[tuple[float, float]]) -> list[float]:
    """The ages to look at that cost least, over weighted durations in ascending order.

    Dynamic programming from the end: after a look at the i-th point, the next at the j-th costs all
    that are left a look, and those between the difference.
    """
    count = len(points)
    weights = [0.0, *accumulate(weight for _, weight in points)]
    sums = [0.0, *accumulate(at * weight for at, weight in points)]
    cost = [0.0] * (count + 1)
    following = [count] * (count + 1)
    for i in range(count - 1, -1, -1):
        best = math.inf
        left = weights[count] - weights[i]
        for j in range(i + 1, count + 1):
            at = points[j - 1][0]
            late = (weights[j] - weights[i]) * at - (sums[j] - sums[i])
            if late >= best:
                break
            total = late + left * (LOOK_COST_SHARE * at + LOOK_COST_SECONDS) + cost[j]
            if total < best:
                best, following[i] = total, j
        cost[i] = best
    ages: list[float] = []
    i = 0
    while i < count:
        i = following[i]
        ages.append(points[i - 1][0])
    return ages
