"""Looks at open requests: when the status of each is worth reading next.

From the service times of its kind (`service_times.py`), its place in fal's queue, the ends of those
before it (`slots.py`), and its age. Pure: times are given, on one clock. Must not read, wait, or
decide about jobs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable

from kling_batch.core.jobs import JSON
from kling_batch.core.records import Service
from kling_batch.engine.service_times import ServiceTimes
from kling_batch.engine.slots import TOGETHER, Slots

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
#: A first look is made at this share of the wait that requests before it lead to expect.
FIRST_AT = 0.5
#: Part of the expected wait that is believed to have passed where a first look found a request
#: finished: without that, looks that are late would make the queue look slow, and the next later.
EAGER = 0.93
#: Latest movements of a queue that its speed is taken from.
MOVEMENTS = 24
#: From how many open requests for each slot on some of them wait, for certain.
CROWDED = 1.2
#: Places and ends up to which what was seen of a queue is rather doubted: looks are sooner.
DOUBT = 8.0
#: A change of speed by this share is worth new times for all.
FASTER = 1.1
#: Durations of a kind up to which each new one is worth new times for all.
FEW = 8


class _Line:
    """fal's queue at one endpoint: how fast it moves, and who was seen last in it."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self._moved: deque[tuple[float, float]] = deque(maxlen=MOVEMENTS)
        self._steps: deque[tuple[float, float, float]] = deque(maxlen=MOVEMENTS)
        self._pace = (0, 1.0)
        #: Order, time, position and acceptance of the newest request that was seen in it.
        self.tail: tuple[int, float, float, float] | None = None
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

    def stepped(self, places: float, since: float, until: float) -> None:
        """A request got so many places ahead between these times."""
        if places >= 0:
            self._steps.append((places, since, until))
            self._pace = (-1, 1.0)

    @property
    def places_an_end(self) -> float:
        """How far the queue moves when one of ours ends: more than one where others end as well."""
        version, pace = self._pace
        if version != self.slots.version:
            ended_by = self.slots.ended_by
            places = sum(p for p, _, _ in self._steps)
            ends = sum(ended_by(until) - ended_by(since) for _, since, until in self._steps)
            pace = max(1.0, (DOUBT + places) / (DOUBT + ends))
            self._pace = (self.slots.version, pace)
        return pace

    def start(self, position: float, at: float) -> float | None:
        """When a request starts that was seen at this position; None: unknown."""
        number = max(1, math.ceil((position + 1) / self.places_an_end))
        start = self.slots.nth_end(number, at)
        if start is not None:
            return start
        speed, places = self.speed, sum(p for p, _ in self._moved)
        if not speed:
            return None
        return at + (position + 1) / speed * places / (places + DOUBT)


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
            elif self._start is None and start > last:
                due = min(
                    due, last + max(self._looks.slots.trusted * (due - last), self._step(0.0, MANY))
                )
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
        if self._queued is not None:
            at, position = self._queued
            return None if position is None else line.start(position, at)
        if line.tail is None or line.tail[3] + TOGETHER > self._accepted:
            return self._accepted
        order, at, position, _ = line.tail
        start = line.start(position + self._order - order, at)
        return self._accepted if start is None else max(self._accepted, start)

    # -- what was seen ---------------------------------------------------------------------------

    def waiting(self, *, queued: bool, position: int | None) -> None:
        """Unfinished when it was last asked about."""
        self._last = at = max(self.asked, self._accepted)
        line = self._kind.line
        if not queued:
            if self._start is None:
                self._start = self._started(at)
                self._looks.slots.running += 1
            return
        place = None if position is None else float(position)
        if place is not None:
            if self._queued is not None and self._queued[1] is not None:
                line.move(self._queued[1] - place, at - self._queued[0])
                line.stepped(self._queued[1] - place, self._queued[0], at)
            if place > 0:  # the first in the queue may wait for nothing but its own start
                self._looks.slots.sight(self._accepted, at, int(place))
            if line.tail is None or line.tail[0] <= self._order:
                line.tail = self._order, at, place, self._accepted
        self._queued = at, place
        self._looks.speed_changed(line)

    def _started(self, at: float) -> float:
        """When a request started that is running at this time, for the first time seen."""
        expected = self._expected_start()
        if self._queued is None and not self._waited_unseen(at):
            return self._accepted
        if self._queued is None:
            return max(self._accepted, at - self._looks.slots.mean / 2)
        return at if expected is None else min(max(expected, self._queued[0]), at)

    def finished(self, told: float | None) -> None:
        """Finished when it was last asked about; `told`: seconds by fal's own measure."""
        if self.ended:
            return
        at = self.asked
        self.ended = True
        self._kind.scouts.discard(self)
        last = self._last
        started, ended = self._span(at, told)
        seconds = ended - started if told is None else min(max(told, 0.0), at - self._accepted)
        self._looks.ended(seconds, ended, seen=self._start is not None)
        if self._queued is None and told is not None and self._waited_unseen(at):
            if 0 <= told <= at - self._accepted:
                self._kind.times.remember(told)
        elif self._queued is None:
            lower = 0.0 if last is None else last - self._accepted
            self._kind.times.learn(lower, at - self._accepted, told)
        else:
            self._learn_after_queue(at, told)
        self._looks.learned(self._kind)

    def _waited_unseen(self, at: float) -> bool:
        """Whether it may have waited in the queue, where it was not seen: others began before."""
        slots = self._looks.slots
        return self._looks.crowded and slots.ended_by(at) > slots.ended_by(self._accepted)

    def _span(self, at: float, told: float | None) -> tuple[float, float]:
        """When it presumably started and ended that was found finished at this time."""
        last = self._accepted if self._last is None else self._last
        service = told
        if service is None and self._kind.times.known:
            service = self._kind.times.typical
        start = self._expected_start()
        if service is None:
            end = (last + at) / 2
            return min(end, start or self._accepted), end
        service = max(0.0, service)
        if start is None:
            start = (last + at) / 2 - service
        end = min(max(start + service, last), at)
        return min(start, end - service), end

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
        if not self.ended:
            self._looks.lost(self.asked, seen=self._start is not None)
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
        self.slots = Slots()
        #: Requests that have not ended.
        self._open = 0
        for service in history:
            kind = self._kind(service.endpoint, service.length)
            if service.told is not None:
                kind.times.remember(service.told)
            else:
                kind.times.learn(0.0, service.seconds, None)
            self.slots.learn(service.seconds if service.told is None else service.told)

    def follow(self, endpoint: str, payload: JSON, accepted: float) -> Look:
        """Follow one more request, accepted at this time."""
        self._order += 1
        self._open += 1
        self.slots.accept(accepted)
        return Look(self, self._kind(endpoint, length_of(payload)), accepted, self._order)

    def _kind(self, endpoint: str, length: str) -> _Kind:
        line = self._lines.setdefault(endpoint, _Line(self.slots))
        return self._kinds.setdefault((endpoint, length), _Kind(line))

    def ended(self, seconds: float, at: float, *, seen: bool) -> None:
        """A request ended at this time, presumably; `seen`: it was seen running."""
        self.slots.running -= seen
        self.slots.learn(seconds)
        self.slots.end(at)
        self._open -= 1
        if self.crowded:
            self._changed()

    @property
    def crowded(self) -> bool:
        """Whether clearly more are open than are rendered at once."""
        return self.slots.sighted and self._open > CROWDED * self.slots.count + 1

    def lost(self, at: float, *, seen: bool) -> None:
        """A request that has not ended is followed no more."""
        self._open -= 1
        self.slots.running -= seen
        self.slots.end(at)

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
