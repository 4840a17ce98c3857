"""A simulated account and the looks at its requests: when each ended, and when that was noticed.

No budget, no network: what is measured is the choice of moments alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from statistics import fmean

from kling_batch.core.records import Service
from kling_batch.engine.early_results import MEASURED
from kling_batch.engine.looks import Look, Looks
from kling_batch.engine.reads import EXAMINE_EACH, EXAMINE_INTERVAL

#: Seconds from acceptance to the start where a slot is free, give or take `SCATTER`.
LATENCY = 0.1
SCATTER = 0.02
#: Seconds from an end that was noticed to the next acceptance.
NEXT = 0.02
#: Requests to fal besides the looks: POST, result, download.
OTHER_REQUESTS = 3

#: Service time of a request that starts at this time.
Draw = Callable[[Random, float], float]


def around(seconds: float, spread: float) -> Draw:
    """Durations spread evenly around `seconds`."""
    return lambda random, now: seconds * random.uniform(1 - spread, 1 + spread)


def fixed(slots: int) -> Sequence[tuple[float, int]]:
    """The same number of slots for ever."""
    return ((0.0, slots),)


@dataclass(slots=True)
class Simulated:
    """One request; those of other clients of the account have no look."""

    accepted: float
    endpoint: str = ""
    look: Look | None = None
    service: float = 0.0
    joined: int | None = None
    started: float = inf
    ended: float = inf
    found: float = inf
    looks: list[float] = field(default_factory=list)
    #: Requests more or fewer because the result was asked for in place of the status.
    extra: int = 0
    #: When its next look is due, as entered last.
    entered: float = inf


@dataclass(kw_only=True)
class Simulation:
    """`count` requests to endpoints in turn, `window` of them open at once."""

    count: int
    #: One for each endpoint.
    draws: Sequence[Draw]
    window: int = 40
    #: How many are rendered at once, from which time on.
    slots: Sequence[tuple[float, int]] = ((0.0, 10**9),)
    #: Whether fal tells how long it rendered.
    told: bool = True
    #: What fal says of a position.
    position: Callable[[int], int | None] = int
    history: Sequence[Service] = ()
    #: Requests of other clients: when they come, and how long they take.
    others: Sequence[tuple[float, float]] = ()
    #: Seconds for which the requests of the first window have been open when the run begins.
    age: float = 0.0
    #: Whether each end is noticed at once.
    all_knowing: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        self.requests: list[Simulated] = []
        self._random = Random(self.seed)
        #: For what happens at the same time.
        self._lots = Random(self.seed)
        self._changed = False
        self._looks = Looks(self._note_change, self.history)
        self._events: list[tuple[float, float, int, Callable[[float], None]]] = []
        self._order = count()
        self._waiting: deque[Simulated] = deque()
        self._left = 0  # how many have left the queue: the position is the difference
        self._running = 0
        self._slots = 0
        self._open: dict[int, Simulated] = {}
        self._examined = -inf

    @property
    def makespan(self) -> float:
        """When the last end was noticed."""
        return max(each.found for each in self.requests)

    def run(self) -> Simulation:
        for at, slots in self.slots:
            self._push(at - self.age, partial(self._set_slots, slots=slots))
        for at, seconds in self.others:
            foreign = Simulated(at, service=seconds)
            self._push(at, partial(self._joins, request=foreign))
        first = min(self.window, self.count)
        for number in range(first):  # a window a second, as the default rate is
            self._push(number / self.window - self.age, self._submit)
        while self._events:
            now, _, _, step = heappop(self._events)
            step(now)
        return self

    def _note_change(self) -> None:
        self._changed = True

    def _push(self, at: float, step: Callable[[float], None]) -> None:
        heappush(self._events, (at, self._lots.random(), next(self._order), step))

    # -- the account -------------------------------------------------------------------------------

    def _set_slots(self, now: float, slots: int) -> None:
        self._slots = slots
        self._begin(now)

    def _joins(self, now: float, request: Simulated) -> None:
        request.joined = self._left + len(self._waiting)
        self._waiting.append(request)
        self._begin(now)

    def _begin(self, now: float) -> None:
        while self._waiting and self._running < self._slots:
            request = self._waiting.popleft()
            request.started = now
            if request.endpoint:
                request.service = self.draws[int(request.endpoint)](self._random, now)
            self._push(now + request.service, partial(self._ends, request=request))
            self._left += 1
            self._running += 1

    def _ends(self, now: float, request: Simulated) -> None:
        request.ended = now
        self._running -= 1
        self._begin(now)
        if self.all_knowing and request.endpoint:
            request.found = now
            self._push(now + NEXT, self._submit)

    # -- the run -----------------------------------------------------------------------------------

    def _submit(self, now: float) -> None:
        number = len(self.requests)
        if number == self.count:
            return
        request = Simulated(now, endpoint=str(number % len(self.draws)))
        self.requests.append(request)
        latency = LATENCY + self._lots.uniform(-SCATTER, SCATTER)
        self._push(now + latency, partial(self._joins, request=request))
        if not self.all_knowing:
            self._push(max(now, number * 1e-6), partial(self._follow, number=number))

    def _follow(self, now: float, number: int) -> None:
        request = self._open[number] = self.requests[number]
        request.look = self._looks.follow(
            request.endpoint,
            {"duration": "5"},
            request.accepted,
            now,
            measured=number % MEASURED == 0,
        )
        self._enter(now, number)

    def _enter(self, now: float, number: int) -> None:
        request = self._open[number]
        assert request.look is not None
        request.entered = max(now, request.look.due(now))
        self._push(request.entered, partial(self._look_at, number=number))

    def _look_at(self, now: float, number: int) -> None:
        request = self.requests[number]
        look = request.look
        if request.found < inf or request.entered != now or look is None:
            return
        if look.due(now) > now + 0.001:
            self._enter(now, number)
            return
        request.looks.append(now)
        look.asked = now
        tries = look.result_likely
        if request.ended <= now:
            request.found = now
            if tries:
                request.extra = -1
                look.gave_result()
            else:
                look.finished(request.service if self.told else None)
            look.left()
            del self._open[number]
            self._push(now + NEXT, self._submit)
        else:
            if tries:
                request.extra = 1
                look.gave_no_result()
            queued = request.started > now
            joined = self._left + len(self._waiting) if request.joined is None else request.joined
            position = self.position(joined - self._left) if queued else None
            look.waiting(queued=queued, position=position)
            self._enter(now, number)
        if self._changed:
            self._changed = False
            self._examine_later(now)

    def _examine_later(self, now: float) -> None:
        """As `Reads` does it: not all the time."""
        if self._examined <= now:
            interval = EXAMINE_INTERVAL + EXAMINE_EACH * len(self._open)
            self._examined = max(now, self._examined + interval)
            self._push(self._examined, self._earlier)

    def _earlier(self, now: float) -> None:
        for number, request in self._open.items():
            if request.look is not None and request.look.due(now) < request.entered - 0.005:
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
            lateness=fmean(each.found - max(each.ended, 0.0) for each in requests),
            service=fmean(each.service for each in requests),
            duration=fmean(each.ended - each.accepted for each in requests),
            requests=fmean(len(each.looks) + each.extra for each in requests) + OTHER_REQUESTS,
        )
