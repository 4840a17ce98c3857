"""List schedule: when N slots have rendered a row of requests. Pure.

The stand-in renders by it and the rows take their ideal from it, so both mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import islice
from random import Random
from typing import Self


class ServiceTimes:
    """Seconds of rendering by order of arrival: `seconds`, give or take the fraction `spread`."""

    def __init__(self, seconds: float, spread: float = 0.0) -> None:
        """The same two numbers always give the same times."""
        self._seconds = seconds
        self._spread = spread
        self._random = Random(7)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> float:
        return self._seconds * (1 + self._spread * self._random.uniform(-1, 1))


class Slots:
    """Renderers that take requests in order of arrival; each takes one at a time."""

    def __init__(self, count: int) -> None:
        """All are free since ever."""
        self._free_at = [float("-inf")] * count
        heapify(self._free_at)

    def take(self, now: float, seconds: float) -> tuple[float, float]:
        """Start and end of a request that arrives now."""
        start = max(now, self._free_at[0])
        heapreplace(self._free_at, start + seconds)
        return start, start + seconds


def makespan(times: Sequence[float], slots: int) -> float:
    """Seconds from first start to last end if all requests arrive at once: the ideal."""
    schedule = Slots(slots)
    return max(schedule.take(0.0, seconds)[1] for seconds in times)


def ideal(jobs: int, slots: int, seconds: float, spread: float = 0.0) -> float:
    """The makespan of `jobs` requests with these service times."""
    return makespan(list(islice(ServiceTimes(seconds, spread), jobs)), slots)
