"""Looks at open requests: when the status of each is worth reading next.

From the service times of its kind (`service_times.py`), from when it starts in fal's queue
(`queue_line.py`), and from its age. Pure: times are given, on one clock. Must not read, wait, or
decide about jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kling_batch.core.jobs import JSON
from kling_batch.core.records import Service
from kling_batch.engine.early_results import EarlyResults
from kling_batch.engine.queue_line import QueueLine
from kling_batch.engine.queue_motion import Ends
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
#: The same, in steps, of those that wait in a queue of which somebody else tells whether it moves.
PATIENCE = 3.0
#: Share of the time between two sightings of the queue to which the starts in between are known.
KNOWN_TO = 0.5
#: A request of which it is not known well enough when it starts is looked at after this share of
#: the time until then.
FIRST_AT = 0.5
#: Age in seconds from which a request that comes is one that was found open: looked at at once.
FOUND = 2.0
#: Durations of a kind up to which each new one is worth new times for all.
FEW = 8


class _Kind:
    """Requests of one endpoint and length."""

    def __init__(self, line: QueueLine) -> None:
        self.line = line
        self.times = ServiceTimes()
        self.results = EarlyResults(self.times)
        self.learned = 0
        self.scouts: set[Look] = set()
        self.open = 0


class Look:
    """What was seen of one open request, and when to look again."""

    __slots__ = (
        "_accepted",
        "_found_open",
        "_guessed",
        "_kind",
        "_last",
        "_looks",
        "_number",
        "_queued",
        "_running",
        "_status_only",
        "asked",
        "ended",
    )

    def __init__(
        self,
        looks: Looks,
        kind: _Kind,
        number: int,
        accepted: float,
        *,
        found_open: bool,
        measured: bool,
    ) -> None:
        self._looks, self._kind = looks, kind
        self._number, self._accepted, self._found_open = number, accepted, found_open
        #: When it was last seen unfinished.
        self._last: float | None = None
        #: When it was last seen in the queue, and at which position.
        self._queued: tuple[float, float] | None = None
        #: Its place as it was guessed then, if it was first seen running.
        self._guessed: float | None = None
        #: When it was first seen running or finished.
        self._running: float | None = None
        #: Whether its result is not asked for in place of its status: it was, or must not be.
        self._status_only = measured
        #: When its status, or in its place its result, was asked for last.
        self.asked = accepted
        self.ended = False
        kind.open += 1
        kind.line.add(number, accepted)
        if not kind.times.known and len(kind.scouts) < SCOUTS:
            kind.scouts.add(self)

    # -- when ------------------------------------------------------------------------------------

    def due(self, now: float) -> float:
        """The time of the next look."""
        if self.ended:
            return now
        if self._last is None and self._found_open:
            return self._accepted
        last = self._accepted if self._last is None else self._last
        start = self._expected_start()
        if start is None:
            due = last + self._patience() * self._step(last - self._accepted, MANY)
        else:
            due = self._service_look(start, last)
        line = self._kind.line
        watched = line.waits and line.watched == self._number and self._running is None
        if watched:
            due = min(due, self._next_sight(last))
        elif line.former == self._number:
            due = min(due, line.watch_from)
        if self._last is None:
            return due
        closest = CLOSEST if watched else max(CLOSEST, CLOSEST_SHARE * (last - self._accepted))
        if watched or start is None or start > self._accepted:
            closest = max(closest, KNOWN_TO * line.motion.sight_interval)
        return min(max(due, last + closest), last + FARTHEST)

    def _service_look(self, start: float, last: float) -> float:
        """The next look at a request that renders since, or from, `start`."""
        age = max(0.0, last - start)
        times = self._kind.times
        if times.known:
            due = start + times.next_after(age if self._last is not None else -1.0)
        else:
            due = start + age + self._step(age, self._kind.open)
        if self._last is None and start > self._accepted:
            line, wait = self._kind.line, start - self._accepted
            if line.vague(max(CLOSEST_SHARE * wait, KNOWN_TO * line.motion.sight_interval)):
                due = min(due, self._accepted + FIRST_AT * wait)
        return due

    def _next_sight(self, last: float) -> float:
        """When a request that is watched is due for the queue's sake."""
        line = self._kind.line
        if self._last is None:
            return line.watch_from
        if line.blind and line.motion.speed:
            return last if self._queued is None else last + line.motion.sight_interval
        sight = line.motion.next_sight
        return last + self._step(last - self._accepted, MANY) if sight is None else sight

    def _patience(self) -> float:
        """How many steps one that waits lets pass, as another one tells when the queue moves.

        Those far behind wait for as many rounds of renders as there are before them.
        """
        line = self._kind.line
        if not line.waits:
            return 1.0
        ahead = max(0.0, self._place - line.motion.gone)
        return PATIENCE + (ahead / line.motion.slots if line.motion.slots else 0.0)

    def _step(self, age: float, others: int) -> float:
        if self in self._kind.scouts:
            least, share = SCOUTING
        else:
            least, share = FOLLOWING if others <= MANY else FOLLOWING_MANY
        return max(least, share * age)

    @property
    def _place(self) -> float:
        """Its place in the queue, as far as it is known."""
        line = self._kind.line
        if self._guessed is not None:
            return self._guessed
        if self._queued is None or line.blind:
            return line.guess(self._number)
        at, position = self._queued
        return line.motion.gone_by(at) + position

    @property
    def _since(self) -> float:
        """The time before which it certainly did not start."""
        return self._accepted if self._queued is None else self._queued[0]

    @property
    def _never_waited(self) -> bool:
        """Whether it was accepted while nobody waited, as far as is known."""
        line = self._kind.line
        return self._queued is None and not line.waits and self._accepted >= line.empty_since

    def _expected_start(self) -> float | None:
        """When it starts or started; None: it is in a queue of unknown speed."""
        line = self._kind.line
        start = self._accepted if self._never_waited else line.motion.start(self._place)
        if start is None:
            return self._running
        if not line.waits:
            start = min(start, max(self._accepted, line.empty_since))
        start = max(start, self._since)
        if self._running is None:
            return start
        if self._found_open or line.motion.sighted:  # at a great age it has waited before
            start = max(start, self._running - self._kind.times.longest)
        return min(start, self._running)

    @property
    def result_likely(self) -> bool:
        """Whether its result is worth asking for in place of the status that is asked for now."""
        if self._status_only or not self._never_waited:
            return False
        kind, begun = self._kind, self._accepted
        last = 0.0 if self._last is None else self._last - begun
        return kind.results.worth_asking(kind.open, last, self.asked - begun)

    # -- what was seen ---------------------------------------------------------------------------

    def waiting(self, *, queued: bool, position: int | None) -> None:
        """Unfinished when it was last asked about."""
        self._last = at = max(self.asked, self._accepted)
        line = self._kind.line
        if line.former == self._number:
            line.former = None
        if not queued:
            self._runs(at, at)
        elif position is None:
            line.sees_waiting_somewhere(self._number, at)
            self._queued = at, max(0.0, self._place - line.motion.gone_by(at))
        else:
            ahead = max(0.0, float(position))
            place = None if self._queued is None else self._place
            line.sees_waiting(self._number, at, ahead, place)
            self._queued = at, ahead
        self._looks.moved(line)

    def _runs(self, at: float, started: float) -> None:
        """Seen running, or finished, at a time; it had started by `started` at the latest."""
        if self._running is not None:
            return
        line = self._kind.line
        if self._queued is None:
            self._guessed = self._place
        elif not line.blind:
            line.motion.pass_by(max(started, self._since), self._place)
        self._running = at
        line.sees_running(self._number, at)

    def finished(self, told: float | None) -> None:
        """Finished when it was last asked about; `told`: seconds by fal's own measure."""
        if not self.ended:
            self._end(told, learn=True)

    def gave_result(self) -> None:
        """Its result came at once: nothing is learned of how long it took, ages being rough."""
        self._kind.results.given()
        if not self.ended:
            self._end(None, learn=False)

    def gave_no_result(self) -> None:
        """Its result was not there when it was asked for; its status is asked for then."""
        self._status_only = True
        self._kind.results.missing()

    def _end(self, told: float | None, *, learn: bool) -> None:
        at = self.asked
        started, ended = self._span(at, told)
        seconds = ended - started if told is None else min(max(told, 0.0), at - self._accepted)
        if learn:
            self._learn(at, told)
        self._kind.scouts.discard(self)
        self.ended = True
        self._runs(at, started)
        self._looks.ended(self._kind, seconds, ended, learned=learn)

    def _learn(self, at: float, told: float | None) -> None:
        line, times = self._kind.line, self._kind.times
        start = self._expected_start()
        if self._never_waited and not self._found_open:
            lower = 0.0 if self._last is None else self._last - self._accepted
            times.learn(lower, at - self._accepted, told)
        elif told is not None and 0 < told <= at - self._since:
            times.remember(told)
        elif not times.known or line.motion.gone > self._place:
            start = self._since if start is None else min(start, at)
            last = start if self._last is None else self._last
            times.learn(max(0.0, last - start), at - start, None)

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

    def left(self) -> None:
        """It is followed no more."""
        if not self.ended:
            self._looks.lost(self.asked)
        self.ended = True
        self._kind.open -= 1
        self._kind.scouts.discard(self)
        self._kind.line.remove(self._number, self.asked)
        self._looks.moved(self._kind.line)


class Looks:
    """All requests that a run follows, by kind.

    Args:
        changed: called when what was learned is worth new times for all.
        history: of earlier runs.
    """

    def __init__(self, changed: Callable[[], None], history: Iterable[Service] = ()) -> None:
        """Nothing is followed yet."""
        self._changed = changed
        self._lines: dict[str, QueueLine] = {}
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._ends = Ends()
        self._followed = 0
        for service in history:
            times, seconds = self._kind(service.endpoint, service.length).times, service.seconds
            if seconds <= 0:
                continue  # this machine's clock was set back in between
            if service.told is None or not 0 < service.told <= seconds:
                times.learn(0.0, seconds, None)
            else:
                seconds = service.told
                times.remember(seconds)
            self._ends.learn(seconds)

    def follow(
        self, endpoint: str, payload: JSON, accepted: float, now: float, *, measured: bool = False
    ) -> Look:
        """Follow one more request, accepted at this time.

        `measured`: its result is not asked for before its status has told how long it rendered.
        """
        self._followed += 1
        kind, found_open = self._kind(endpoint, length_of(payload)), now - accepted > FOUND
        return Look(self, kind, self._followed, accepted, found_open=found_open, measured=measured)

    def _kind(self, endpoint: str, length: str) -> _Kind:
        line = self._lines.setdefault(endpoint, QueueLine(self._ends))
        return self._kinds.setdefault((endpoint, length), _Kind(line))

    def ended(self, kind: _Kind, seconds: float, at: float, *, learned: bool) -> None:
        """A request of this kind ended at this time, presumably."""
        self._ends.learn(seconds)
        self._ends.end(at)
        kind.learned += learned
        if learned and kind.learned <= FEW:
            self._changed()
        else:
            self.moved(kind.line)

    def lost(self, at: float) -> None:
        """A request that has not ended is followed no more."""
        self._ends.end(at)

    def moved(self, line: QueueLine) -> None:
        """More is known of how a queue moves."""
        if line.moved():
            self._changed()


def length_of(payload: JSON) -> str:
    """What besides the endpoint decides how long a render takes: the length asked for."""
    return str(payload.get("duration") or "") if isinstance(payload, dict) else ""
