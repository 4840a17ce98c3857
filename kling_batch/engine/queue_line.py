"""Line of the requests that wait at one endpoint, and whose position is read to see it move.

The position of one that waits far behind tells when all before it start (`queue_motion.py`). Where
fal tells no positions, it is the first that waits who is looked for. Pure: times are given. Must
not know when others are read, nor decide about jobs.
"""

from __future__ import annotations

import math
from bisect import bisect_left

from kling_batch.engine.queue_motion import Ends, QueueMotion

#: Seconds from its acceptance until a request has its place in fal's queue.
SETTLED = 0.2
#: Requests after which it is learned anew how many places one is behind the one before it.
LEARNT_OVER = 20
#: How much of each new difference between a guessed and a real place counts.
DIFFERENCE = 0.1
#: Share of a service time by which requests start sooner that is worth new times for all.
SOONER = 0.05


class QueueLine:
    """The open requests of one endpoint by number, in the order in which they were accepted."""

    def __init__(self, ends: Ends) -> None:
        """Nobody is in it."""
        self.motion = QueueMotion(ends)
        self._ends = ends
        self._open: list[int] = []
        #: Whether any waits, as far as is known; and since when none does.
        self.waits = False
        self.empty_since = -math.inf
        #: Whether fal tells no positions.
        self.blind = False
        #: Whose position is read; and who was before, and is read once more together with the new
        #: one, so that the places of both are on one scale. From which time on.
        self.watched: int | None = None
        self.former: int | None = None
        self.watch_from = -math.inf
        #: The newest that was seen waiting and its place, and the newest that was seen running.
        self._tail: tuple[int, float] | None = None
        self._running = -1
        #: Who was seen waiting at the farthest place, and that place.
        self._behind: tuple[int, float] | None = None
        #: Places from one request to the next: more than one where others of the account come
        #: between; since which request that is measured; and by how much guesses were wrong.
        self._apart = 1.0
        self._since = (0, 0.0)
        self._difference = 0.0
        #: Of the newest that waits, the start that the current times of looks were made with.
        self._used: float | None = None
        #: Whether another one is watched since then, or nobody waits any more.
        self._turned = False

    # -- who is in it ------------------------------------------------------------------------------

    def add(self, number: int, accepted: float) -> None:
        """One more request; its number is larger than all before."""
        self._open.append(number)
        if not self.waits:
            self.watched, self.watch_from = number, accepted + SETTLED

    def remove(self, number: int, at: float) -> None:
        """A request is followed no more."""
        del self._open[bisect_left(self._open, number)]
        if self._behind and self._behind[0] == number:
            self._behind = None
        if self.watched == number:
            self._watch_another(at)

    def guess(self, number: int) -> float:
        """The place of a request whose position was not read."""
        if self._tail is None:
            return float(number)
        return self._tail[1] + self._apart * (number - self._tail[0])

    def vague(self, enough: float) -> bool:
        """Whether a guess says the start less exactly than to so many seconds."""
        speed = self.motion.speed
        return bool(self.waits and speed and self._difference > speed * enough)

    # -- what was seen -----------------------------------------------------------------------------

    def sees_waiting(self, number: int, at: float, position: float, place: float | None) -> None:
        """A request was seen at this position; `place`: as it was known before."""
        motion = self.motion
        if place is not None:  # others may have come before it
            motion.see(at, max(place - position, motion.gone))
        elif not motion.sighted:
            motion.see(at, number - position)
        elif self._tail is not None:
            wrong = abs(motion.gone_by(at) + position - self.guess(number))
            self._difference += DIFFERENCE * (wrong - self._difference)
        motion.slots = max(0.0, bisect_left(self._open, number) - position)
        self.blind, self.waits = False, True
        self._follow(number, motion.gone_by(at) + position)
        if self.watched == number:
            self._watch_farther(number, position, at)
        elif self.watched is None or self._ahead_of_watched() < position / 2:
            self.watched, self.former, self._turned = number, None, True

    def _ahead_of_watched(self) -> float:
        """How many are presumably before the one that is watched."""
        assert self.watched is not None
        return self.guess(self.watched) - self.motion.gone

    def _watch_farther(self, number: int, position: float, at: float) -> None:
        """Watch another one where the one that is watched has half of those that wait behind it."""
        farthest = self._farthest()
        if farthest is not None and position < (self.guess(farthest) - self.motion.gone) / 2:
            self.former, self.watched, self._turned = number, farthest, True
            self.watch_from = at + SETTLED

    def _farthest(self) -> int | None:
        """Who presumably waits longest: the newest, or who was seen behind it."""
        newest = self._open[-1] if self._open and self._open[-1] > self._running else None
        if self._behind and (newest is None or self.guess(newest) < self._behind[1]):
            return self._behind[0]
        return newest

    def _follow(self, number: int, place: float) -> None:
        if self._behind is None or place >= self._behind[1]:
            self._behind = number, place
        if self._tail is None:
            self._since = number, place
        elif number < self._tail[0]:
            return
        self._tail = number, place
        if number - self._since[0] >= LEARNT_OVER:
            self._apart = max(0.1, (place - self._since[1]) / (number - self._since[0]))
            self._since = self._tail

    def sees_waiting_somewhere(self, number: int, at: float) -> None:
        """A request was seen in the queue, and no position was told."""
        motion = self.motion
        if self.waits and not self.blind:
            return
        if not self.waits:
            motion.slots = float(bisect_left(self._open, number))
            motion.see(at, max(motion.gone, number))
            self._tail, self._apart = (number, float(number)), 1.0
            self.watched, self.waits, self.blind, self._turned = number, True, True, True
        elif number == self.watched:
            # The first that waits is between the newest that runs and this one.
            motion.see(at, max(motion.gone, (self._running + 1 + number) / 2))

    def sees_running(self, number: int, at: float) -> None:
        """A request was seen running, or finished, for the first time."""
        self._running = max(self._running, number)
        if self._behind and self._behind[0] == number:
            self._behind = None
        if number == self.watched:
            self._watch_another(at)

    def _watch_another(self, at: float) -> None:
        """Whoever was watched waits no more."""
        self._turned = self.waits
        self.watched = self._one_ahead() if self.blind else self._farthest()
        if self.watched is None and self.waits:
            self.waits, self.empty_since = False, at

    def _one_ahead(self) -> int | None:
        """Who starts about when the queue is worth being seen again."""
        stride = max(1.0, self.motion.sight_interval * (self.motion.speed or 0.0))
        place = bisect_left(self._open, self._running + stride)
        number = self._open[min(place, len(self._open) - 1)] if self._open else -1
        return number if number > self._running else None

    def moved(self) -> bool:
        """Whether requests are due clearly sooner than when this was asked last."""
        turned, self._turned = self._turned, False
        start = None if self._tail is None else self.motion.start(self._tail[1])
        if start is None:
            return turned
        sooner = self._used is None or start < self._used - SOONER * self._ends.mean
        self._used = start if sooner or self._used is None else max(start, self._used)
        return sooner or turned
