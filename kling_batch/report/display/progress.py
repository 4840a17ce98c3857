"""Progress of a run, folded from its events: every job's phase and the totals. Pure.

The model of every display; the caller passes the time. Counters are kept, never recounted, so that
a batch of 100,000 costs no more per event than one of ten. Must not decide or print.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from sys import intern
from typing import NamedTuple, TypeAlias

from kling_batch.core.events import EventKind, Pace, RunEvent
from kling_batch.core.jobs import JSON, Job, JobKey
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.outcomes import Charged
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.text import full_name
from kling_batch.planning.plan import RESTING, Action, Plan, PlannedJob
from kling_batch.report.display.phases import (
    ENDED,
    EVENT_STYLES,
    MOVING,
    OF_ACTION,
    OF_STATUS,
    TROUBLED,
    UNWANTED,
    Phase,
)
from kling_batch.report.display.remaining import Durations, Throughput, time_left

#: (batch, label)
Name: TypeAlias = tuple[str, str]

#: Moving jobs of which each one's time left is looked at.
_LOOKED_AT = 200


class Line(NamedTuple):
    """One job at this moment."""

    batch: str
    job: str
    phase: Phase
    #: When this phase began.
    since: float
    estimate: MicroUSD
    #: What is, or may be, owed for it.
    owed: MicroUSD
    note: str = ""
    #: Tier and mode.
    kind: str = ""
    endpoint: str = ""
    #: Seconds of rendering that it is counted as.
    work: float = 0.0
    #: Whether what is owed for it is certain.
    certain: bool = False
    #: When fal accepted it in this run.
    accepted: float | None = None
    #: When it is tried again, as far as it waits for that.
    again: float | None = None
    #: The try it is at, and how many it may have; 0: not known.
    attempt: int = 0
    attempts: int = 0

    @property
    def left(self) -> float:
        """Seconds of rendering that are left of it."""
        return 0.0 if self.phase in ENDED else self.work

    @property
    def uncertain(self) -> MicroUSD:
        """What may be owed for it."""
        return MicroUSD(0) if self.certain else self.owed


class Progress:
    """Every job's line, and the totals; changed by `begin` and `fold` alone."""

    def __init__(self) -> None:
        """Empty until a plan begins."""
        self.lines: dict[Name, Line] = {}
        #: Those under way, the longest first.
        self.moving: dict[Name, Line] = {}
        #: What is, or may be, owed for everything; and the part of it that may be.
        self.committed = MicroUSD(0)
        self.owed = MicroUSD(0)
        #: Why nothing more is submitted, or empty.
        self.stopping = ""
        self.several_batches = False
        #: Characters of the longest name, and of the longest tier and mode.
        self.name_width = self.kind_width = 0
        self.durations = Durations({})
        self.throughput = Throughput()
        self._work = 0.0
        self._counts: Counter[Phase] = Counter()
        self._duplicates: dict[Name, list[Name]] = {}

    def begin(
        self,
        plan: Plan,
        at: float,
        committed: MicroUSD | None = None,
        usual: Mapping[str, float] | None = None,
    ) -> None:
        """Set every job to its first phase.

        Args:
            plan: the plan of this run.
            at: the time.
            committed: charged and exposed so far, as the caps count it; None: the plan's estimates
                of what was paid before stand in for it.
            usual: seconds of a render by endpoint.
        """
        self.durations = Durations(usual or {})
        first: dict[JobKey, Name] = {}
        for item in plan.items:
            name = (item.job.batch, item.job.label)
            if item.duplicate:
                self._duplicates.setdefault(first.get(item.job.key, name), []).append(name)
            else:
                first[item.job.key] = name
            self._put(name, _at_start(item, at, self.durations.of(item.job.endpoint)))
        self.several_batches = len({item.job.batch for item in plan.items}) > 1
        self.name_width = max(
            (len(full_name(*name, several=self.several_batches)) for name in self.lines), default=0
        )
        self.kind_width = max(map(len, {line.kind for line in self.lines.values()}), default=0)
        if committed is not None:
            self.committed = committed

    def fold(self, event: RunEvent, at: float) -> Line | None:
        """Apply an event; its job's new line, or None where it is about no job of the plan."""
        if event.kind is EventKind.STOPPING:
            self.stopping = event.message
        name = (event.batch, event.job)
        line = self.lines.get(name)
        if line is None:
            return None
        changed = _after(line, event, at)
        self._put(name, changed)
        if event.kind is EventKind.RENDERED and line.accepted is not None:
            self.durations.learn(line.endpoint, at - line.accepted)
        if changed.phase is Phase.DONE and line.phase is not Phase.DONE and line.work:
            self.throughput.ended(at, line.work)
        if changed.phase not in MOVING:
            for duplicate in self._duplicates.get(name, ()):
                self._put(duplicate, self.lines[duplicate]._replace(phase=changed.phase, since=at))
        return changed

    def _put(self, name: Name, line: Line) -> None:
        before = self.lines.get(name)
        if before is not None:
            self._counts[before.phase] -= 1
            self.committed = MicroUSD(self.committed - before.owed)
            self.owed = MicroUSD(self.owed - before.uncertain)
            self._work -= before.left
        self._counts[line.phase] += 1
        self.committed = MicroUSD(self.committed + line.owed)
        self.owed = MicroUSD(self.owed + line.uncertain)
        self._work += line.left
        self.lines[name] = line
        if line.phase in MOVING:
            self.moving[name] = line
        else:
            self.moving.pop(name, None)

    # -- totals --------------------------------------------------------------------------------

    def count(self, *phases: Phase) -> int:
        """How many jobs are in one of these phases."""
        return sum(self._counts[phase] for phase in phases)

    @property
    def total(self) -> int:
        """All jobs of the run."""
        return len(self.lines)

    @property
    def wanted(self) -> int:
        """Jobs without those that a person has not approved: what a run can finish."""
        return self.total - self.count(*UNWANTED)

    @property
    def done(self) -> int:
        """Jobs whose files are here."""
        return self.count(Phase.DONE, Phase.UNCHANGED)

    @property
    def ended(self) -> int:
        """Jobs of which this run can do no more."""
        return self.count(*(ENDED - {*UNWANTED}))

    @property
    def open(self) -> int:
        """Requests that are open at fal."""
        return self.count(Phase.SUBMITTED, Phase.QUEUED, Phase.RENDERING, Phase.UNHEARD)

    @property
    def downloading(self) -> int:
        """Renders whose files are on their way."""
        return self.count(Phase.DOWNLOADING)

    @property
    def failed(self) -> int:
        """Jobs without a file at the end of this run."""
        return self.count(Phase.FAILED, Phase.BLOCKED, Phase.UNDELIVERED)

    @property
    def in_doubt(self) -> int:
        """Submissions whose outcome is unknown."""
        return self.count(Phase.LOOKING, Phase.IN_DOUBT)

    @property
    def waiting(self) -> int:
        """Jobs that are still to be submitted, for the first time or again."""
        return self.count(Phase.WAITING, Phase.SENDING, Phase.RETRYING)

    def statuses(self) -> list[tuple[int, JobStatus]]:
        """The counts by the word that people read, without those that are done and zeros.

        What needs attention comes first, then what is under way; `unwanted` are apart.
        """
        counts: Counter[JobStatus] = Counter()
        for phase, number in self._counts.items():
            counts[phase.status] += 0 if phase in UNWANTED else number
        return [(counts[status], status) for status in _ORDER if counts[status]]

    def unwanted(self) -> list[tuple[int, Phase]]:
        """The counts of what a person has not approved, zeros left out."""
        return [(self._counts[phase], phase) for phase in UNWANTED if self._counts[phase]]

    def totals(self) -> tuple[tuple[int, str], ...]:
        """The counts that a person is shown, zeros left out except for the first."""
        rest = ((number, word.value) for number, word in (*self.statuses(), *self.unwanted()))
        return ((self.done, f"of {self.wanted:,} done"), *rest)

    def seconds_left(self, now: float, pace: Pace | None) -> float | None:
        """Seconds until everything is rendered; None where nothing is known of that."""
        measured = self.throughput.work_per_second(now)
        if not self._work or (measured is None and self._work < _SOME_WORK):
            return None
        longest = done = 0.0
        for line in islice(self.moving.values(), _LOOKED_AT):
            if line.accepted is not None:
                passed = now - line.accepted
                done += min(line.work, passed)
                usual = self.durations.of(line.endpoint) or line.work
                longest = max(longest, usual - passed)
        under_way = min(len(self.moving), _LOOKED_AT) or 1
        work = max(0.0, self._work - done * len(self.moving) / under_way)
        unsent = 0 if self.stopping else self.waiting
        if unsent:
            longest = max(longest, self._work / max(1, self.wanted - self.ended))
        return time_left(
            work=work,
            longest=longest,
            unsent=unsent,
            parallel=min(self.waiting + self.open, pace.window if pace else self.open),
            measured=measured,
            pace=pace,
        )

    def first_moving(self, most: int) -> list[Line]:
        """Lines to show: what needs attention first, then those that have moved longest."""
        troubled: list[Line] = []
        if self.count(*TROUBLED):
            found = (line for line in self.moving.values() if line.phase in TROUBLED)
            troubled = list(islice(found, most))
        calm = (line for line in self.moving.values() if line.phase not in TROUBLED)
        return troubled + list(islice(calm, most - len(troubled)))


#: Seconds of rendering below which no time is told before any is measured: nothing is known.
_SOME_WORK = 1e-3

_ORDER = (
    JobStatus.FAILED,
    JobStatus.BLOCKED,
    JobStatus.IN_DOUBT,
    JobStatus.RENDERING,
    JobStatus.QUEUED,
    JobStatus.DOWNLOADING,
    JobStatus.WAITING,
    JobStatus.CANCELLED,
)


def kind_of(job: Job) -> str:
    """Tier and mode in two words; a job by `endpoint:` has neither, and shows its address."""
    return intern(f"{job.tier} {job.mode}".strip()) or job.endpoint


def _at_start(item: PlannedJob, at: float, usual: float | None) -> Line:
    phase = OF_ACTION[item.action]
    if item.duplicate and phase in MOVING:
        phase = Phase.WAITING  # for the job that it duplicates
    paid = item.action in _PAID and not item.duplicate
    return Line(
        batch=item.job.batch,
        job=item.job.label,
        phase=phase,
        since=at,
        estimate=item.job.estimate,
        owed=item.job.estimate if paid else MicroUSD(0),
        kind=kind_of(item.job),
        endpoint=item.job.endpoint,
        # Without any history every render counts the same, and next to nothing.
        work=0.0 if item.duplicate or item.action not in _RENDERED else usual or _UNKNOWN_WORK,
        certain=paid and item.action not in _RENDERED,
    )


#: Far below any render's, so that the sum of all tells that nothing is known.
_UNKNOWN_WORK = 1e-9

#: Actions that go on with money spent before.
_PAID = frozenset(Action) - (RESTING - {Action.KEEP}) - {Action.SUBMIT}
#: Actions that end with a render in this run.
_RENDERED = frozenset({Action.SUBMIT, Action.COLLECT, Action.RECONCILE})


def _after(line: Line, event: RunEvent, at: float) -> Line:
    """The line after an event of its job."""
    phase = _phase(event, line.phase)
    seconds = event.data.get("seconds")
    accepted = at if event.kind is EventKind.SUBMITTED else line.accepted
    return line._replace(
        phase=phase,
        since=line.since if phase is line.phase else at,
        note=_note(event, phase),
        owed=_owed(line, event),
        certain=_certain(line, event),
        accepted=None if event.kind is EventKind.RETRYING else accepted,
        again=at + seconds if isinstance(seconds, int | float) and phase in MOVING else None,
        attempt=_number(event.data.get("attempt")) or line.attempt,
        attempts=_number(event.data.get("attempts")) or line.attempts,
    )


def _number(value: JSON) -> int:
    return value if isinstance(value, int) else 0


def _phase(event: RunEvent, before: Phase) -> Phase:
    if event.kind is EventKind.PROGRESS:
        status = OF_STATUS.get(event.message)
        return status.phase if status else before
    return EVENT_STYLES[event.kind].phase or before


def _note(event: RunEvent, phase: Phase) -> str:
    if event.kind is EventKind.PROGRESS:
        position = event.data.get("position")
        return f"position {position:,}" if phase is Phase.QUEUED and position else ""
    if event.kind in (EventKind.SUBMITTED, EventKind.RENDERED):
        return ""
    if why := EVENT_STYLES[event.kind].why:
        return why
    return event.message


def _owed(line: Line, event: RunEvent) -> MicroUSD:
    """What is, or may be, owed for the job after this event; an estimate until the run ends."""
    match event.kind:
        case EventKind.SUBMITTED | EventKind.IN_DOUBT | EventKind.ADOPTED:
            return line.estimate
        case EventKind.RETRYING:
            return MicroUSD(0)  # only what was not charged is tried again
        case EventKind.FAILED if event.data.get("charged") == Charged.NO:
            return MicroUSD(0)
        case EventKind.WARNING if line.owed:
            # A render that cost more than was estimated: caps count the larger one.
            return MicroUSD(max(line.owed, _number(event.data.get("cost"))))
        case _:
            return line.owed


def _certain(line: Line, event: RunEvent) -> bool:
    """Whether what is owed for the job after this event is certain."""
    match event.kind:
        case EventKind.RENDERED | EventKind.SAVED | EventKind.RECOVERED:
            return True
        case EventKind.FAILED:
            return event.data.get("charged") == Charged.YES
        case EventKind.SUBMITTED | EventKind.IN_DOUBT:
            return False
        case _:
            return line.certain
