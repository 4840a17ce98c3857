"""Results that are asked for in place of a status: of which kind of request, when, and how often.

Where a request has ended, its result says so as well as its status does, and is wanted anyway: one
request instead of two. Where it has not, the status is asked for all the same, and the request was
one too many. Pure. Must not know requests or clocks.
"""

from __future__ import annotations

from kling_batch.engine.service_times import KEPT, ServiceTimes

#: Of those that had not ended at the last look, the share that should have ended by now.
LIKELY = 0.75
#: Of one in so many the status is asked for: nothing else tells how long it rendered.
MEASURED = 4
#: Results in a row that may be missing. Then so many durations must be seen before another is asked
#: for, and after each further time twice as many.
MOST_MISSED = 8
#: At so many times the longest duration, it does not matter how many have been seen.
OLD = 2.0
#: Seconds by which a look may come before its time.
EARLY = 0.001


class EarlyResults:
    """What is known of the results of one kind of request."""

    def __init__(self, times: ServiceTimes) -> None:
        """`times`: the durations of this kind."""
        self._times = times
        self._missed = 0
        self._needed = MOST_MISSED
        #: Durations that must have been learned.
        self._from = 0

    def worth_asking(self, number: int, beside: int, last: float, age: float) -> bool:
        """Whether the result should be there.

        Args:
            number: of the request.
            beside: how many of its kind are open.
            last: the age at which it was last seen unfinished.
            age: how old it is now.
        """
        times = self._times
        if number % MEASURED == 0 or not times.steady or times.learned < self._from:
            return False
        # Of many that were accepted together, those that have ended are the short ones.
        if times.seen < min(KEPT, beside) and age < OLD * times.longest:
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
