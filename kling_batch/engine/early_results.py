"""Results that are asked for in place of a status: of which kind of request, when, and how often.

Where a request has ended, its result says so as well as its status does, and is wanted anyway: one
request instead of two. Where it has not, the status is asked for all the same, and the request was
one too many. Pure. Must not ask for anything, nor know clocks.
"""

from __future__ import annotations

from zlib import crc32

from kling_batch.engine.reads import EARLY
from kling_batch.engine.service_times import KEPT, ServiceTimes

#: Of those that had not ended at the last look, the share that should have ended by now.
LIKELY = 0.75
#: Of one in so many the status is asked for: nothing else tells how long it rendered.
MEASURED = 4
#: Results in a row that may be missing, or not be told for another reason. Then so many durations
#: must be seen before another is asked for, and after each further time of this run twice as many.
MOST_MISSED = 8
#: At so many times the longest duration, it does not matter how many have been seen.
OLD = 2.0


def is_measured(request_id: str) -> bool:
    """Whether a request is one of those whose status is asked for in any case.

    By its id: chosen by order, a kind could have none, and a run of one job would never have one.
    """
    return crc32(request_id.encode("utf-8", "replace")) % MEASURED == 0


class EarlyResults:
    """What is known of the results of one kind of request."""

    def __init__(self, times: ServiceTimes) -> None:
        """`times`: the durations of this kind."""
        self._times = times
        self._missed = 0
        self._needed = MOST_MISSED
        #: Durations that must have been learned.
        self._from = 0

    def worth_asking(self, beside: int, last: float, age: float) -> bool:
        """Whether the result of a request should be there.

        Args:
            beside: how many of its kind are open.
            last: the age at which it was last seen unfinished.
            age: how old it is now.
        """
        times = self._times
        if not times.steady or times.learned < self._from:
            return False
        # Of many that were accepted together, those that have ended are the short ones.
        if times.learned < min(KEPT, beside) and age < OLD * times.longest:
            return False
        return times.share_ended(last, age + EARLY) >= LIKELY

    def given(self) -> None:
        """One was there."""
        self._missed = 0

    def missing(self) -> None:
        """One was not."""
        self._missed += 1
        if self._missed >= MOST_MISSED:
            self._missed = 0
            self._from = self._times.learned + self._needed
            self._needed *= 2
