"""Progress of a run, folded from its events: every job's phase and the totals. Pure.

The model of every display; the caller passes the time. Counters are kept, never recounted, so that
a batch of 100,000 costs no more per event than one of ten. Must not decide or print.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from kling_batch.core.events import EventKind, RunEvent
from kling_batch.core.jobs import JobKey
from kling_batch.core.outcomes import Charged
from kling_batch.core.quantities import MicroUSD
from kling_batch.planning.plan import RESTING, Action, Plan, PlannedJob
from kling_batch.report.display.phases import EVENT_STYLES, MOVING, OF_ACTION, OF_STATUS, Phase

#: (batch, label)
Name: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Line:
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


class Progress:
    """Every job's line, and the totals; changed by `begin` and `fold` alone."""

    def __init__(self) -> None:
        """Empty until a plan begins."""
        self.lines: dict[Name, Line] = {}
        self.moving: dict[Name, Line] = {}
        self.committed = MicroUSD(0)
        #: Why nothing more is submitted, or empty.
        self.stopping = ""
        self.several_batches = False
        self._counts: Counter[Phase] = Counter()
        self._duplicates: dict[Name, list[Name]] = {}

    def begin(self, plan: Plan, at: float, committed: MicroUSD | None = None) -> None:
        """Set every job to its first phase.

        Args:
            plan: the plan of this run.
            at: the time.
            committed: charged and exposed so far, as the caps count it; None: the plan's estimates
                of what was paid before stand in for it.
        """
        first: dict[JobKey, Name] = {}
        for item in plan.items:
            name = (item.job.batch, item.job.label)
            if item.duplicate:
                self._duplicates.setdefault(first.get(item.job.key, name), []).append(name)
            else:
                first[item.job.key] = name
            self._put(name, _at_start(item, at))
        self.several_batches = len({item.job.batch for item in plan.items}) > 1
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
        phase = _phase(event, line.phase)
        changed = replace(
            line,
            phase=phase,
            since=line.since if phase is line.phase else at,
            note=_note(event, phase),
            owed=_owed(line, event),
        )
        self._put(name, changed)
        if phase not in MOVING:
            for duplicate in self._duplicates.get(name, ()):
                self._put(duplicate, replace(self.lines[duplicate], phase=phase, since=at))
        return changed

    def _put(self, name: Name, line: Line) -> None:
        before = self.lines.get(name)
        if before is not None:
            self._counts[before.phase] -= 1
        self._counts[line.phase] += 1
        self.committed = MicroUSD(self.committed + line.owed - (before.owed if before else 0))
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
    def done(self) -> int:
        """Jobs whose files are here."""
        return self.count(Phase.DONE, Phase.UNCHANGED)

    @property
    def open(self) -> int:
        """Jobs with something under way at fal or on the network."""
        return self.count(*MOVING) - self.count(Phase.LOOKING)

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
        """Jobs that have not begun."""
        return self.count(Phase.WAITING)

    def totals(self) -> tuple[tuple[int, str], ...]:
        """The counts that a person is shown, zeros left out except for the first."""
        rest = (
            (self.open, "open"),
            (self.waiting, "waiting"),
            (self.failed, "failed"),
            (self.in_doubt, "in doubt"),
        )
        return ((self.done, f"of {self.total:,} done"), *(pair for pair in rest if pair[0]))


def longest(lines: Iterable[Line]) -> list[Line]:
    """Lines in the order to show them: what needs attention first, then the oldest."""
    return sorted(lines, key=lambda line: (line.phase not in _TROUBLED, line.since))


_TROUBLED = frozenset({Phase.LOOKING, Phase.SENDING, Phase.RETRYING})


def _at_start(item: PlannedJob, at: float) -> Line:
    phase = OF_ACTION[item.action]
    if item.duplicate and phase in MOVING:
        phase = Phase.WAITING  # for the job that it duplicates
    return Line(
        batch=item.job.batch,
        job=item.job.label,
        phase=phase,
        since=at,
        estimate=item.job.estimate,
        owed=item.job.estimate if item.action in _PAID and not item.duplicate else MicroUSD(0),
    )


#: Actions that go on with money spent before.
_PAID = frozenset(Action) - (RESTING - {Action.KEEP}) - {Action.SUBMIT}


def _phase(event: RunEvent, before: Phase) -> Phase:
    if event.kind is EventKind.PROGRESS:
        status = OF_STATUS.get(event.message)
        return status.phase if status else before
    return EVENT_STYLES[event.kind].phase or before


def _note(event: RunEvent, phase: Phase) -> str:
    if event.kind is EventKind.PROGRESS:
        position = event.data.get("position")
        return f"position {position}" if phase is Phase.QUEUED and position else ""
    return "" if event.kind in (EventKind.SUBMITTED, EventKind.RENDERED) else event.message


def _owed(line: Line, event: RunEvent) -> MicroUSD:
    """What is, or may be, owed for the job after this event; an estimate until the run ends."""
    match event.kind:
        case EventKind.SUBMITTED | EventKind.IN_DOUBT | EventKind.ADOPTED:
            return line.estimate
        case EventKind.RETRYING:
            return MicroUSD(0)  # only what was not charged is tried again
        case EventKind.FAILED if event.data.get("charged") == Charged.NO:
            return MicroUSD(0)
        case _:
            return line.owed
