"""Motion of fal's queue: how many requests have left it by when, and when a place in it comes up.

Requests start in the order in which they came, so one position that is read tells about all that
wait. Between two such sightings and after the last, ends that were noticed and the speed so far
tell the rest. Pure: times are given. Must not know requests, nor when anything is read.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import deque

#: Latest durations whose mean is how long a slot is held.
KEPT = 96
#: Ends and sightings that are kept, at least half of this number.
HISTORY = 8192
#: Service times over which the latest sightings tell the speed.
SPEED_OVER = 2.0
#: Places that are assumed to have been left where no motion was seen.
STILL = 0.5
#: Places and ends up to which it is rather doubted that more or fewer move than end of ours.
DOUBT = 8.0
#: Sightings are this share of a service time apart, or so many places; a service time at most.
SIGHT_SHARE = 0.125
SIGHT_PLACES = 2.0


class Ends:
    """When requests of the account ended, and how long they were rendered."""

    def __init__(self) -> None:
        """Nothing has ended."""
        #: Ascending.
        self.times: list[float] = []
        #: Changes with each end.
        self.version = 0
        self._durations: deque[float] = deque(maxlen=KEPT)
        self._mean: float | None = None

    @property
    def mean(self) -> float:
        """Mean of the latest durations; 0 while none is known."""
        if self._mean is None:
            self._mean = sum(self._durations) / (len(self._durations) or 1)
        return self._mean

    def learn(self, seconds: float) -> None:
        """A request was rendered for so long."""
        self._durations.append(seconds)
        self._mean = None

    def end(self, at: float) -> None:
        """A request ended."""
        insort(self.times, at)
        self.version += 1
        if len(self.times) > HISTORY:
            del self.times[: HISTORY // 2]

    def between(self, since: float, until: float) -> slice:
        """Those after `since`, up to `until`, of `times`."""
        return slice(bisect_right(self.times, since), bisect_right(self.times, until))


class QueueMotion:
    """How many have left a queue by when. Places count on: who came first had place 0."""

    def __init__(self, ends: Ends) -> None:
        """Nobody was seen in it."""
        self._ends = ends
        #: Sightings: when, and how many had left; both ascending.
        self._at: list[float] = []
        self._gone: list[float] = []
        #: When it was seen last itself, and not only that one had left it.
        self._seen_at = -math.inf
        #: How many of ours were rendered when a request was seen in the queue last.
        self.slots = 0.0
        self._measured = -1
        self._speed: float | None = None
        self._places_an_end = 1.0

    @property
    def sighted(self) -> bool:
        """Whether it was seen."""
        return bool(self._at)

    @property
    def gone(self) -> float:
        """How many had left it when it was seen last."""
        return self._gone[-1] if self._gone else 0.0

    def see(self, at: float, gone: float) -> None:
        """So many had left the queue at this time."""
        self._seen_at = max(self._seen_at, at)
        self._add(at, gone)

    def pass_by(self, at: float, place: float) -> None:
        """Who had this place had left the queue by this time; others perhaps, too."""
        if place + 1 > self.gone_by(at):
            self._add(at, place + 1)

    def _add(self, at: float, gone: float) -> None:
        if self._at and (at <= self._at[-1] or gone < self._gone[-1]):
            return
        self._at.append(at)
        self._gone.append(gone)
        self._measured = -1
        if len(self._at) > HISTORY:
            del self._at[: HISTORY // 2], self._gone[: HISTORY // 2]

    # -- how fast ----------------------------------------------------------------------------------

    @property
    def speed(self) -> float | None:
        """Places a second; None while unknown."""
        if self._at and self._measured != self._ends.version:
            self._measured = self._ends.version
            self._measure()
        return self._speed

    def _measure(self) -> None:
        mean, until = self._ends.mean, self._at[-1]
        first = max(0, bisect_right(self._at, until - SPEED_OVER * mean) - 1)
        seconds, places = until - self._at[first], self._gone[-1] - self._gone[first]
        ended = self._ends.between(self._at[first], until)
        self._places_an_end = (DOUBT + places) / (DOUBT + ended.stop - ended.start)
        if mean and seconds >= mean:
            self._speed = max(places, STILL) / seconds
        elif mean and self.slots:
            self._speed = self.slots / mean
        else:
            self._speed = places / seconds if places else None

    @property
    def sight_interval(self) -> float:
        """Seconds after which the queue is worth being seen again; 0 while its speed is unknown."""
        if not (speed := self.speed):
            return 0.0
        if not (mean := self._ends.mean):
            return SIGHT_PLACES / speed
        # A queue that was nearly empty moved no faster than requests came.
        return max(SIGHT_SHARE * mean, min(SIGHT_PLACES / max(speed, self.slots / mean), mean))

    @property
    def next_sight(self) -> float | None:
        """When the queue is worth being seen again; None while its speed is unknown."""
        interval = self.sight_interval
        return self._seen_at + interval if interval else None

    # -- when --------------------------------------------------------------------------------------

    def gone_by(self, at: float) -> float:
        """How many have presumably left it by this time."""
        after = bisect_right(self._at, at)
        if not after:
            return self._gone[0] if self._gone else 0.0
        if after == len(self._at):
            return self._gone[-1] + (at - self._at[-1]) * (self.speed or 0.0)
        since, until = self._at[after - 1], self._at[after]
        places = self._gone[after] - self._gone[after - 1]
        if ends := self._telling(since, until, places):
            share = bisect_right(ends, at) / len(ends)
        else:
            share = (at - since) / (until - since)
        return self._gone[after - 1] + share * places

    def start(self, place: float) -> float | None:
        """When the request at this place started or presumably starts.

        None while that is unknown; minus infinity where it started before the queue was seen.
        """
        if not self._at:
            return None
        if place >= self._gone[-1]:
            return self._starts(place)
        after = bisect_right(self._gone, place)
        if not after:
            return -math.inf
        since, until = self._at[after - 1], self._at[after]
        places = self._gone[after] - self._gone[after - 1]
        share = min(1.0, (place - self._gone[after - 1] + 0.5) / places)
        if ends := self._telling(since, until, places):
            return ends[min(int(share * len(ends)), len(ends) - 1)]
        return since + share * (until - since)

    def _telling(self, since: float, until: float, places: float) -> list[float]:
        """The ends in this time, unless they are too few to have made so many places free."""
        ends = self._ends.times[self._ends.between(since, until)]
        return ends if 2 * len(ends) >= places else []

    def _starts(self, place: float) -> float | None:
        """The same for one that waits: by ends since the last sighting, then by the speed."""
        if not (speed := self.speed):
            return None
        ahead = place + 1 - self._gone[-1]
        since, ends = self._at[-1], self._ends.times
        first = bisect_right(ends, since)
        moved = (len(ends) - first) * self._places_an_end
        if ahead <= moved:
            return ends[min(first + int(ahead / self._places_an_end), len(ends) - 1)]
        return (ends[-1] if moved else since) + (ahead - moved) / speed
