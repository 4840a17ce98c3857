"""Where every job of a run stands, folded from what the engine tells: the model of every display.

No clock and no terminal: whoever folds passes the moment. Counters are kept, never recounted, so
that a batch of 100,000 costs no more per event than one of ten. Must not decide or print.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from kling_batch.core.events import RunEvent
from kling_batch.core.jobs import JobKey
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.outcomes import Charged
from kling_batch.core.quantities import MicroUSD
from kling_batch.planning.plan import Action, Plan, PlannedJob


class Phase(StrEnum):
    """Where a job stands in this run; finer than `status`, which is the word that is shown."""

    WAITING = "waiting"
    #: The POST is being repeated: fal is busy, locked or out of reach.
    SENDING = "sending"
    SUBMITTED = "accepted"
    QUEUED = "queued"
    RENDERING = "rendering"
    DOWNLOADING = "downloading"
    RETRYING = "retrying"
    #: In doubt, and its trace is looked for.
    LOOKING = "looking it up"
    DONE = "done"
    #: Was done before this run.
    UNCHANGED = "unchanged"
    FAILED = "failed"
    BLOCKED = "blocked"
    #: In doubt, and this run can learn no more.
    IN_DOUBT = "in doubt"
    UNDELIVERED = "undelivered"
    #: Open at fal, which has said nothing readable about it for hours.
    UNHEARD = "unanswered"

    @property
    def status(self) -> JobStatus:
        """The status that people read."""
        return _STATUS[self]


_STATUS: dict[Phase, JobStatus] = {
    Phase.WAITING: JobStatus.WAITING,
    Phase.SENDING: JobStatus.WAITING,
    Phase.SUBMITTED: JobStatus.QUEUED,
    Phase.QUEUED: JobStatus.QUEUED,
    Phase.RENDERING: JobStatus.RENDERING,
    Phase.DOWNLOADING: JobStatus.DOWNLOADING,
    Phase.RETRYING: JobStatus.WAITING,
    Phase.LOOKING: JobStatus.IN_DOUBT,
    Phase.DONE: JobStatus.DONE,
    Phase.UNCHANGED: JobStatus.DONE,
    Phase.FAILED: JobStatus.FAILED,
    Phase.BLOCKED: JobStatus.BLOCKED,
    Phase.IN_DOUBT: JobStatus.IN_DOUBT,
    Phase.UNDELIVERED: JobStatus.DOWNLOADING,
    Phase.UNHEARD: JobStatus.QUEUED,
}


#: Something is happening to these: they are what a live table shows.
MOVING = frozenset(
    {
        Phase.SENDING,
        Phase.SUBMITTED,
        Phase.QUEUED,
        Phase.RENDERING,
        Phase.DOWNLOADING,
        Phase.RETRYING,
        Phase.LOOKING,
    }
)

_OF_ACTION: dict[Action, Phase] = {
    Action.SUBMIT: Phase.WAITING,
    Action.COLLECT: Phase.SUBMITTED,
    Action.RECONCILE: Phase.LOOKING,
    Action.DOWNLOAD: Phase.DOWNLOADING,
    Action.PLACE: Phase.DOWNLOADING,
    Action.RESTORE: Phase.DOWNLOADING,
    Action.KEEP: Phase.UNCHANGED,
    Action.SETTLED: Phase.FAILED,
    Action.BLOCKED: Phase.BLOCKED,
}

_OF_KIND: dict[str, Phase] = {
    "throttled": Phase.SENDING,
    "braking": Phase.SENDING,
    "unreachable": Phase.SENDING,
    "locked": Phase.SENDING,
    "submitted": Phase.SUBMITTED,
    "adopted": Phase.SUBMITTED,
    "rendered": Phase.DOWNLOADING,
    "download_again": Phase.DOWNLOADING,
    "retrying": Phase.RETRYING,
    "in_doubt": Phase.LOOKING,
    "saved": Phase.DONE,
    "failed": Phase.FAILED,
    "blocked": Phase.BLOCKED,
    "held": Phase.IN_DOUBT,
    "undelivered": Phase.UNDELIVERED,
    "unheard": Phase.UNHEARD,
}

#: fal's words for an open request.
_OF_STATUS = {"IN_QUEUE": Phase.QUEUED, "IN_PROGRESS": Phase.RENDERING}

#: (batch, label)
Name: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One job now."""

    batch: str
    job: str
    phase: Phase
    #: When it came to this phase.
    since: float
    estimate: MicroUSD
    #: What is, or may be, owed for it.
    owed: MicroUSD
    note: str = ""


class Progress:
    """Every job's line and the totals; changed only by `begin` and `fold`."""

    def __init__(self) -> None:
        """Empty until a plan begins."""
        self.lines: dict[Name, Line] = {}
        self.moving: dict[Name, Line] = {}
        self.committed = MicroUSD(0)
        #: Why nothing more is submitted, or empty.
        self.stopping = ""
        self.several_batches = False
        self._counts: Counter[Phase] = Counter()
        self._twins: dict[Name, list[Name]] = {}

    def begin(self, plan: Plan, at: float, committed: MicroUSD | None = None) -> None:
        """Every job at its start.

        Args:
            plan: what the run is going to do.
            at: the moment.
            committed: charged and exposed so far, as the caps count it; None where nobody knows,
                then the plan's estimates of what was paid before stand in.
        """
        first: dict[JobKey, Name] = {}
        for item in plan.items:
            name = (item.job.batch, item.job.label)
            if item.duplicate:
                self._twins.setdefault(first.get(item.job.key, name), []).append(name)
            else:
                first[item.job.key] = name
            self._put(name, _at_start(item, at))
        self.several_batches = len({item.job.batch for item in plan.items}) > 1
        if committed is not None:
            self.committed = committed

    def fold(self, happening: RunEvent, at: float) -> Line | None:
        """What the happening makes of its job; None where it is about none."""
        if happening.kind == "stopping":
            self.stopping = happening.message
        name = (happening.batch, happening.job)
        line = self.lines.get(name)
        if line is None:
            return None
        phase = _phase(happening, line.phase)
        changed = replace(
            line,
            phase=phase,
            since=line.since if phase is line.phase else at,
            note=_note(happening, phase),
            owed=_owed(line, happening),
        )
        self._put(name, changed)
        if phase not in MOVING:
            for duplicate in self._twins.get(name, ()):
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
        """Jobs with something under way at fal or on the line."""
        return self.count(*MOVING) - self.count(Phase.LOOKING)

    @property
    def failed(self) -> int:
        """Jobs that this run gives no file."""
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
    return sorted(lines, key=lambda line: (line.phase not in _ODD, line.since))


_ODD = frozenset({Phase.LOOKING, Phase.SENDING, Phase.RETRYING})


def _at_start(item: PlannedJob, at: float) -> Line:
    phase = _OF_ACTION[item.action]
    if item.duplicate and phase in MOVING:
        phase = Phase.WAITING  # for its first
    return Line(
        batch=item.job.batch,
        job=item.job.label,
        phase=phase,
        since=at,
        estimate=item.job.estimate,
        owed=item.job.estimate if item.action in _PAID and not item.duplicate else MicroUSD(0),
    )


#: Actions that go on with money spent before.
_PAID = frozenset(Action) - {Action.SUBMIT, Action.SETTLED, Action.BLOCKED}


def _phase(happening: RunEvent, before: Phase) -> Phase:
    if happening.kind == "progress":
        return _OF_STATUS.get(happening.message, before)
    return _OF_KIND.get(happening.kind, before)


def _note(happening: RunEvent, phase: Phase) -> str:
    if happening.kind == "progress":
        position = happening.data.get("position")
        return f"position {position}" if phase is Phase.QUEUED and position else ""
    return "" if happening.kind in ("submitted", "rendered") else happening.message


def _owed(line: Line, happening: RunEvent) -> MicroUSD:
    """What the job is, or may be, owed after this; an estimate until the ledger closes the run."""
    match happening.kind:
        case "submitted" | "in_doubt" | "adopted":
            return line.estimate
        case "retrying":
            return MicroUSD(0)  # only what was not charged is tried again
        case "failed" if happening.data.get("charged") == Charged.NO:
            return MicroUSD(0)
        case _:
            return line.owed
