"""A simulated account and the looks at its requests: when each ended, and when that was noticed.

No budget, no network: what is measured is the choice of moments alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from random import Random
from statistics import fmean

from kling_batch.core.records import Service
from kling_batch.engine.looks import Look, Looks

#: Seconds from acceptance to the start where a slot is free.
LATENCY = 0.1
#: Requests to fal besides the looks: POST, result, download.
OTHER_REQUESTS = 3


@dataclass(slots=True)
class Simulated:
    """One request."""

    accepted: float
    service: float
    look: Look
    started: float = inf
    ended: float = inf
    found: float = inf
    looks: list[float] = field(default_factory=list)
    #: When its next look is due, as entered last.
    entered: float = inf


@dataclass(kw_only=True)
class Simulation:
    """`count` requests whose service times `draw` gives, `window` of them open at once."""

    count: int
    draw: Callable[[Random], float]
    window: int = 40
    slots: int = 10**9
    #: Whether fal tells how long it rendered, and where in its queue a request is.
    told: bool = True
    positions: bool = True
    history: Sequence[Service] = ()
    seed: int = 1

    def __post_init__(self) -> None:
        self.requests: list[Simulated] = []
        self._random = Random(self.seed)
        self._changed = False
        self._looks = Looks(self._note_change, self.history)
        self._events: list[tuple[float, int, str, int]] = []
        self._waiting: deque[int] = deque()
        self._left = 0  # how many have left the queue: the position is the difference
        self._joined: dict[int, int] = {}
        self._running = 0

    def run(self) -> Simulation:
        for _ in range(min(self.window, self.count)):
            self._submit(0.0)
        steps = {"joins": self._joins, "ends": self._ends, "look": self._look_at}
        while self._events:
            now, _, kind, number = heappop(self._events)
            steps[kind](now, number)
        return self

    def _note_change(self) -> None:
        self._changed = True

    def _push(self, at: float, kind: str, number: int) -> None:
        heappush(self._events, (at, len(self._events) + self._random.getrandbits(20), kind, number))

    def _submit(self, now: float) -> None:
        if len(self.requests) == self.count:
            return
        number = len(self.requests)
        look = self._looks.follow("endpoint", {"duration": "5"}, now)
        self.requests.append(Simulated(now, self.draw(self._random), look))
        self._push(now + LATENCY, "joins", number)
        self._enter(now, number)

    def _enter(self, now: float, number: int) -> None:
        request = self.requests[number]
        request.entered = max(now, request.look.due(now))
        self._push(request.entered, "look", number)

    def _joins(self, now: float, number: int) -> None:
        self._joined[number] = self._left + len(self._waiting)
        self._waiting.append(number)
        self._begin(now)

    def _begin(self, now: float) -> None:
        while self._waiting and self._running < self.slots:
            request = self.requests[self._waiting[0]]
            request.started = now
            self._push(now + request.service, "ends", self._waiting.popleft())
            self._left += 1
            self._running += 1

    def _ends(self, now: float, number: int) -> None:
        self.requests[number].ended = now
        self._running -= 1
        self._begin(now)

    def _look_at(self, now: float, number: int) -> None:
        request = self.requests[number]
        if request.found < inf or request.entered != now:
            return
        if request.look.due(now) > now + 0.001:
            self._enter(now, number)
            return
        request.looks.append(now)
        request.look.asked = now
        if request.ended <= now:
            request.found = now
            request.look.finished(request.service if self.told else None)
            request.look.left()
            self._submit(now + 0.02)
        else:
            queued = request.started > now
            ahead = self._joined.get(number, self._left + len(self._waiting)) - self._left
            position = ahead if queued and self.positions else None
            request.look.waiting(queued=queued, position=position)
            self._enter(now, number)
        if self._changed:
            self._changed = False
            self._earlier(now)

    def _earlier(self, now: float) -> None:
        for number, request in enumerate(self.requests):
            if request.found == inf and request.look.due(now) < request.entered - 0.005:
                self._enter(now, number)


@dataclass(frozen=True, slots=True)
class Measured:
    """Averages over some requests."""

    lateness: float
    service: float
    #: From acceptance to the end.
    duration: float
    requests: float

    @classmethod
    def of(cls, requests: Sequence[Simulated]) -> Measured:
        return cls(
            lateness=fmean(each.found - each.ended for each in requests),
            service=fmean(each.service for each in requests),
            duration=fmean(each.ended - each.accepted for each in requests),
            requests=fmean(len(each.looks) for each in requests) + OTHER_REQUESTS,
        )


def around(seconds: float, spread: float) -> Callable[[Random], float]:
    """Durations spread evenly around `seconds`."""
    return lambda random: seconds * random.uniform(1 - spread, 1 + spread)
