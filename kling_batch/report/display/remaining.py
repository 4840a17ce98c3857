"""Time left of a run and its throughput, learned from the ledger's renders and from this run's.

Work is counted in seconds of rendering. How many seconds of it pass in one of the clock is measured
where enough renders have ended, and assumed from the window before. Pure; the caller passes times.
Must not know jobs or print.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median

from kling_batch.core.events import Pace

#: Latest renders by which throughput is measured.
LATEST = 512
#: So many renders, over so many seconds, are needed to measure anything.
ENOUGH = 3
SHORTEST = 5.0
#: Latest durations of an endpoint that its usual duration is the median of.
DURATIONS = 64


class Durations:
    """Usual seconds of a render by endpoint: known at the start, then learned.

    Args:
        known: from earlier runs.
    """

    def __init__(self, known: Mapping[str, float]) -> None:
        """Nothing is learned yet."""
        self._usual = dict(known)
        self._seen: dict[str, deque[float]] = {}

    def of(self, endpoint: str) -> float | None:
        """Seconds from acceptance to the render's end; None where nothing is known."""
        return self._usual.get(endpoint)

    def learn(self, endpoint: str, seconds: float) -> None:
        """One more render has ended."""
        seen = self._seen.setdefault(endpoint, deque(maxlen=DURATIONS))
        seen.append(seconds)
        if len(seen) >= ENOUGH or endpoint not in self._usual:
            self._usual[endpoint] = median(seen)


class Throughput:
    """Renders that ended in this run, and how much work they were."""

    def __init__(self) -> None:
        """None has ended yet."""
        self._ended: deque[tuple[float, float]] = deque(maxlen=LATEST)
        self._work = 0.0

    def ended(self, at: float, work: float) -> None:
        """A render has ended."""
        if len(self._ended) == LATEST:
            self._work -= self._ended[0][1]
        self._ended.append((at, work))
        self._work += work

    def per_second(self, now: float) -> float | None:
        """Renders a second; None where too few have ended."""
        span = self._span(now)
        return (len(self._ended) - 1) / span if span else None

    def work_per_second(self, now: float) -> float | None:
        """Seconds of rendering in a second, as long as several renders take; else None."""
        span = self._span(now)
        if not span or span < self._work / len(self._ended):
            return None
        return max(0.0, self._work - self._ended[0][1]) / span or None

    def _span(self, now: float) -> float | None:
        """Seconds since the first of these renders."""
        if len(self._ended) < ENOUGH:
            return None
        span = now - self._ended[0][0]
        return span if span >= SHORTEST else None


def time_left(
    *,
    work: float,
    longest: float,
    unsent: int,
    parallel: int,
    measured: float | None,
    pace: Pace | None,
) -> float:
    """Seconds until the last render has ended.

    Args:
        work: seconds of rendering that are left.
        longest: seconds that are left of the longest render.
        unsent: jobs that are still to be submitted.
        parallel: renders that may run at once, where nothing is measured yet.
        measured: seconds of rendering in a second.
        pace: of submissions.
    """
    left = max(longest, work / (measured or max(1, parallel)))
    if pace is not None and unsent:
        left = max(left, pace.held + unsent / pace.rate + longest)
    return left
