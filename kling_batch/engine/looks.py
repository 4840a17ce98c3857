"""Looks at open requests: when the status of each is worth reading next.

From the service times of its kind (`service_times.py`), its place in fal's queue and how fast that
moves, and its age. Pure: times are given, on one clock. Must not read, wait, or decide about jobs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from kling_batch.core.jobs import JSON
from kling_batch.core.records import Service
from kling_batch.engine.service_times import ServiceTimes

#: Seconds between two looks at a request at least, and as a share of its age.
CLOSEST = 0.05
CLOSEST_SHARE = 0.02
#: Seconds between two looks at a request at most.
FARTHEST = 600.0
#: Requests of a kind of which nothing is known that are looked at often; the others wait for what
#: is learned from these.
SCOUTS = 4
#: First interval and growth by age, for these and for the others.
SCOUTING = (0.25, 0.1)
FOLLOWING = (0.5, 0.35)
#: The same, where more of the kind are open than this.
MANY = 100
FOLLOWING_MANY = (1.0, 0.5)
#: Waits in fal's queue that are longer are measured again, at this share of them.
LONG_WAIT = 60.0
AGAIN_AT = 0.6
#: A first look is made at this share of the wait that requests before it lead to expect.
FIRST_AT = 0.5
#: Part of the expected wait that is believed to have passed where a first look found a request
#: finished: without that, looks that are late would make the queue look slow, and the next later.
EAGER = 0.93
#: Latest movements of a queue that its speed is taken from.
MOVEMENTS = 24
#: A change of speed by this share is worth new times for all.
FASTER = 1.1
#: Durations of a kind up to which each new one is worth new times for all.
FEW = 8


class _Line:
    """fal's queue at one endpoint: how fast it moves, and who was seen last in it."""

    def __init__(self) -> None:
        self._moved: deque[tuple[float, float]] = deque(maxlen=MOVEMENTS)
        #: Order, time and position of the newest request that was seen in it.
        self.tail: tuple[int, float, float] | None = None
        #: The speed that the current times of looks were made with.
        self.used: float = 0.0

    def move(self, places: float, seconds: float) -> None:
        """A request got so many places ahead in this time."""
        if seconds > 0 and places >= 0:
            self._moved.append((places, seconds))

    @property
    def speed(self) -> float:
        """Places a second; 0 while unknown."""
        return sum(p for p, _ in self._moved) / (sum(s for _, s in self._moved) or 1.0)


class _Kind:
    """Requests of one endpoint and length."""

    def __init__(self, line: _Line) -> None:
        self.line = line
        self.times = ServiceTimes()
        self.learned = 0
        self.scouts: set[Look] = set()
        self.open = 0


class Look:
    """What was seen of one open request, and when to look again."""

    __slots__ = (
        "_accepted",
        "_kind",
        "_last",
        "_looks",
        "_order",
        "_queued",
        "_start",
        "asked",
        "ended",
    )

    def __init__(self, looks: Looks, kind: _Kind, accepted: float, order: int) -> None:
        self._looks, self._kind = looks, kind
        self._accepted = accepted
        #: Its place in the order in which requests were followed.
        self._order = order
        #: When it was last seen unfinished.
        self._last: float | None = None
        #: When it was last seen in the queue, and at which position.
        self._queued: tuple[float, float | None] | None = None
        #: When it presumably started, once it was seen running.
        self._start: float | None = None
        #: When its status was asked for last.
        self.asked = accepted
        self.ended = False
        kind.open += 1
        if not kind.times.known and len(kind.scouts) < SCOUTS:
            kind.scouts.add(self)

    # -- when ------------------------------------------------------------------------------------

    def due(self, now: float) -> float:
        """The time of the next look."""
        if self.ended:
            return now
        last = self._accepted if self._last is None else self._last
        start = self._expected_start()
        if start is None:
            due = last + self._step(last - self._accepted, MANY)
        else:
            due = max(start, self._service_look(start, last))
            if self._last is None and start > self._accepted:
                due = min(due, max(self._accepted + FIRST_AT * (start - self._accepted), now))
            elif self._start is None and start - last > LONG_WAIT:
                due = min(due, last + AGAIN_AT * (start - last))
        if self._last is None:
            return due
        closest = max(CLOSEST, CLOSEST_SHARE * (last - self._accepted))
        return min(max(due, last + closest), last + FARTHEST)

    def _service_look(self, start: float, last: float) -> float:
        """The next look at a request that renders since, or from, `start`."""
        age = max(0.0, last - start)
        times = self._kind.times
        if times.known:
            return start + times.next_after(age if self._last is not None else -1.0)
        return start + age + self._step(age, self._kind.open)

    def _step(self, age: float, others: int) -> float:
        if self in self._kind.scouts:
            least, share = SCOUTING
        else:
            least, share = FOLLOWING if others <= MANY else FOLLOWING_MANY
        return max(least, share * age)

    def _expected_start(self) -> float | None:
        """When it starts or started; None: it is in a queue of unknown speed."""
        if self._start is not None:
            return self._start
        line = self._kind.line
        speed = line.speed
        if self._queued is not None:
            at, position = self._queued
            return None if position is None or not speed else at + (position + 1) / speed
        if line.tail is None or not speed or line.tail[0] > self._order:
            return self._accepted
        order, at, position = line.tail
        return max(self._accepted, at + (position + 1 + self._order - order) / speed)

    # -- what was seen ---------------------------------------------------------------------------

    def waiting(self, *, queued: bool, position: int | None) -> None:
        """Unfinished when it was last asked about."""
        self._last = at = max(self.asked, self._accepted)
        line = self._kind.line
        if not queued:
            if self._start is None:
                self._start = self._started(at)
            return
        place = None if position is None else float(position)
        if place is not None:
            if self._queued is not None and self._queued[1] is not None:
                line.move(self._queued[1] - place, at - self._queued[0])
            if line.tail is None or line.tail[0] <= self._order:
                line.tail = self._order, at, place
        self._queued = at, place
        self._looks.speed_changed(line)

    def _started(self, at: float) -> float:
        """When a request started that is running at this time, for the first time seen."""
        expected = self._expected_start()
        if self._queued is None:
            return self._accepted
        return at if expected is None else min(max(expected, self._queued[0]), at)

    def finished(self, told: float | None) -> None:
        """Finished when it was last asked about; `told`: seconds by fal's own measure."""
        if self.ended:
            return
        at = self.asked
        self.ended = True
        self._kind.scouts.discard(self)
        last = self._last
        if self._queued is None:
            lower = 0.0 if last is None else last - self._accepted
            self._kind.times.learn(lower, at - self._accepted, told)
        else:
            self._learn_after_queue(at, told)
        self._looks.learned(self._kind)

    def _learn_after_queue(self, at: float, told: float | None) -> None:
        assert self._queued is not None
        seen, position = self._queued
        last, times = self._last or seen, self._kind.times
        if told is not None and 0 <= told <= at - seen:
            times.remember(told)
        elif not times.known:
            # Only then: its start is reckoned with what is known, and would confirm any mistake.
            times.learn(0.0, at - min(at, self._expected_start() or seen), None)
        if position is not None:
            service = min(times.typical if told is None else told, at - seen)
            start = max(seen, (max(last, seen + service) + at) / 2 - service)
            if last == seen:  # found by the first look since: it may have ended long before
                start = min(start, seen + EAGER * ((self._expected_start() or at) - seen))
            self._kind.line.move(position + 1, start - seen)
            self._looks.speed_changed(self._kind.line)

    def left(self) -> None:
        """It is followed no more."""
        self.ended = True
        self._kind.open -= 1
        self._kind.scouts.discard(self)


class Looks:
    """All requests that a run follows, by kind.

    Args:
        changed: called when what was learned is worth new times for all.
        history: of earlier runs.
    """

    def __init__(self, changed: Callable[[], None], history: Iterable[Service] = ()) -> None:
        """Nothing is followed yet."""
        self._changed = changed
        self._lines: dict[str, _Line] = {}
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._order = 0
        for service in history:
            kind = self._kind(service.endpoint, service.length)
            if service.told is not None:
                kind.times.remember(service.told)
            else:
                kind.times.learn(0.0, service.seconds, None)

    def follow(self, endpoint: str, payload: JSON, accepted: float) -> Look:
        """Follow one more request, accepted at this time."""
        self._order += 1
        return Look(self, self._kind(endpoint, length_of(payload)), accepted, self._order)

    def _kind(self, endpoint: str, length: str) -> _Kind:
        line = self._lines.setdefault(endpoint, _Line())
        return self._kinds.setdefault((endpoint, length), _Kind(line))

    def learned(self, kind: _Kind) -> None:
        """One more duration of this kind."""
        kind.learned += 1
        if kind.learned <= FEW:
            self._changed()

    def speed_changed(self, line: _Line) -> None:
        """The speed of a queue may have changed."""
        speed = line.speed
        if speed > line.used * FASTER or speed * FASTER < line.used:
            line.used = speed
            self._changed()


def length_of(payload: JSON) -> str:
    """What besides the endpoint decides how long a render takes: the length asked for."""
    return str(payload.get("duration") or "") if isinstance(payload, dict) else ""
