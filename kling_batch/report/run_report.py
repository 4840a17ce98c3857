"""The values that displays and reports render: `RunStarted` at the start, `RunReport` at the end.

`RunReport` is built by `builder.py`; every summary, JUnit file and exit code is made of it. Must
not render, and must not read the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kling_batch.core.events import RenditionTotals
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import EXIT_MEANINGS, EXIT_PRIORITY, ExitCode, Place
from kling_batch.planning.coverage import Coverage
from kling_batch.planning.plan import LeftOut, Plan


class JobOutcome(StrEnum):
    """How the run ended for a job, by the names of machine formats; people read `JobStatus`."""

    SUCCEEDED = "succeeded"
    #: Done before this run began.
    UNCHANGED = "unchanged"
    FAILED = "failed"
    BLOCKED = "blocked"
    IN_DOUBT = "in doubt"
    RUNNING = "running"
    #: Paid and rendered, not yet on the disk.
    UNDELIVERED = "undelivered"
    NOT_STARTED = "not started"
    #: Waits for a person's verdict on its draft, or for a pick.
    AWAITING = "awaiting verdict"
    #: A person decided against it.
    DECLINED = "declined"

    @property
    def status(self) -> JobStatus:
        """The status that people read, where nothing more exact is known."""
        return _STATUS[self]


_STATUS: dict[JobOutcome, JobStatus] = {
    JobOutcome.SUCCEEDED: JobStatus.DONE,
    JobOutcome.UNCHANGED: JobStatus.DONE,
    JobOutcome.FAILED: JobStatus.FAILED,
    JobOutcome.BLOCKED: JobStatus.BLOCKED,
    JobOutcome.IN_DOUBT: JobStatus.IN_DOUBT,
    JobOutcome.RUNNING: JobStatus.QUEUED,
    JobOutcome.UNDELIVERED: JobStatus.DOWNLOADING,
    JobOutcome.NOT_STARTED: JobStatus.WAITING,
    JobOutcome.AWAITING: JobStatus.WAITING,
    JobOutcome.DECLINED: JobStatus.WAITING,
}

#: Outcomes with which a run has nothing more to do about a job.
NOTHING_LEFT = frozenset(
    {JobOutcome.SUCCEEDED, JobOutcome.UNCHANGED, JobOutcome.AWAITING, JobOutcome.DECLINED}
)

#: Exit codes of outcomes that leave something to do for a person or another run.
OUTCOME_CODES: dict[JobOutcome, ExitCode] = {
    JobOutcome.FAILED: ExitCode.SOME_FAILED,
    JobOutcome.BLOCKED: ExitCode.SOME_FAILED,
    JobOutcome.UNDELIVERED: ExitCode.SOME_FAILED,
    JobOutcome.IN_DOUBT: ExitCode.IN_DOUBT,
    JobOutcome.RUNNING: ExitCode.STILL_RUNNING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A run at its start: the plan, and the money and folders that it is about."""

    plan: Plan
    cap: MicroUSD | None
    #: The output folders, for messages.
    output: str
    emulated: bool
    #: What the ledger counts against the cap at this moment; None if unknown.
    committed: MicroUSD | None = None
    #: How far the caps reach in the plan; None: to its end.
    coverage: Coverage | None = None
    #: Open requests at most, where something is submitted and they are limited.
    concurrency: int | None = None
    #: Submissions a second at most, where something is submitted.
    rate: float | None = None
    #: Median seconds of a render by endpoint, as far as the ledger knows.
    typical_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """One job at the end of the run."""

    batch: str
    job: str
    outcome: JobOutcome
    #: The status where it is more exact than the outcome: rendering, cancelled.
    exact: JobStatus | None = None
    mode: str = ""
    tier: str = ""
    prompt: str = ""
    #: Why it is not done, or empty.
    message: str = ""
    #: Relative to the working folder where they are below it.
    files: tuple[str, ...] = ()
    #: What it cost so far: charged where known, else estimated.
    cost: MicroUSD = field(default=MicroUSD(0))
    #: From intent to the render's end, where both are known.
    seconds: float | None = None
    request_id: str = ""
    #: What has to change before another payment can help; empty where the same may pass.
    to_change: str = ""
    place: Place = field(default=Place(""))

    @property
    def status(self) -> JobStatus:
        """The status that people read."""
        return self.exact or self.outcome.status


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The whole run. Money in micro-USD."""

    exit_code: ExitCode
    #: Why the run stopped before its end, one sentence each.
    reasons: tuple[str, ...]
    batches: tuple[str, ...]
    started_at: str
    ended_at: str
    seconds: float
    lines: tuple[JobLine, ...]
    #: Of this run's batches, over all runs: owed for certain, and possibly owed.
    charged: MicroUSD
    exposed: MicroUSD
    #: Charged or exposed by attempts of this run alone.
    spent_now: MicroUSD
    cap: MicroUSD | None
    output: str
    ledger: str
    emulated: bool
    #: Jobs of a very large batch that were done before and have no line of their own.
    unlisted: int = 0
    #: Complete commands to type next.
    next_steps: tuple[str, ...] = ()
    #: Jobs that options or a cap left to other runs.
    left_out: tuple[LeftOut, ...] = ()
    #: What counts against the cap, where that is not what these batches have cost.
    counted: MicroUSD | None = None
    #: Jobs that were paid for before under another ledger, and since when; empty: unknown.
    recovered: int = 0
    recovered_since: str = ""
    renditions: RenditionTotals = field(default_factory=RenditionTotals)

    @property
    def total(self) -> int:
        """How many jobs the run was about."""
        return len(self.lines) + self.unlisted

    @property
    def meaning(self) -> str:
        """What the exit code means here, for people."""
        outcomes = {line.outcome for line in self.lines}
        failed = any(OUTCOME_CODES.get(outcome) is ExitCode.SOME_FAILED for outcome in outcomes)
        if (
            self.exit_code is ExitCode.SOME_FAILED
            and not failed
            and JobOutcome.NOT_STARTED in outcomes
        ):
            return "stopped before its end, some jobs are not done"
        if self.exit_code is ExitCode.SOME_FAILED and not failed:
            return "finished, some renditions are not made"
        if self.exit_code is ExitCode.STILL_RUNNING and JobOutcome.RUNNING not in outcomes:
            return "stopped before its end, paid files are still to be fetched"
        return EXIT_MEANINGS[self.exit_code]

    def counts(self) -> dict[JobOutcome, int]:
        """How many jobs ended each way; only what occurs, in the order of `JobOutcome`."""
        found = Counter(line.outcome for line in self.lines)
        found[JobOutcome.UNCHANGED] += self.unlisted
        return {outcome: found[outcome] for outcome in JobOutcome if found[outcome]}

    def status_counts(self) -> dict[str, int]:
        """How many jobs have each status; `unchanged` are those that were done before this run."""
        found: Counter[JobStatus | JobOutcome] = Counter(
            line.outcome if line.outcome in _OWN_WORD else line.status for line in self.lines
        )
        found[JobOutcome.UNCHANGED] += self.unlisted
        return {_WORDS.get(word, word.value): found[word] for word in _ORDER if found[word]}


#: Order of the counts: what is done, what needs attention, what is still open.
_ORDER: tuple[JobStatus | JobOutcome, ...] = (
    JobStatus.DONE,
    JobOutcome.UNCHANGED,
    JobStatus.FAILED,
    JobStatus.BLOCKED,
    JobStatus.IN_DOUBT,
    JobStatus.CANCELLED,
    JobStatus.RENDERING,
    JobStatus.QUEUED,
    JobStatus.DOWNLOADING,
    JobStatus.WAITING,
    JobOutcome.AWAITING,
    JobOutcome.DECLINED,
)
#: Endings that the status would hide: done before, not judged, and not wanted.
_OWN_WORD = (JobOutcome.UNCHANGED, JobOutcome.AWAITING, JobOutcome.DECLINED)
#: Endings that are worded for people otherwise than for machines.
_WORDS: dict[JobStatus | JobOutcome, str] = {JobOutcome.AWAITING: "waiting for a verdict"}


def exit_code(
    lines: tuple[JobLine, ...],
    stops: tuple[ExitCode, ...],
    renditions: RenditionTotals | None = None,
) -> ExitCode:
    """The exit code of a run: an interrupt's own, else the first of `EXIT_PRIORITY`."""
    for signal in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        if signal in stops:
            return signal
    outcomes = {line.outcome for line in lines}
    if outcomes and outcomes <= NOTHING_LEFT:
        stops = tuple(stop for stop in stops if stop is not ExitCode.BUDGET)  # nothing was left
    held = {*stops, *(OUTCOME_CODES[outcome] for outcome in outcomes if outcome in OUTCOME_CODES)}
    if (
        not outcomes & {JobOutcome.RUNNING, JobOutcome.UNDELIVERED}
        and ExitCode.STILL_RUNNING in held
    ):
        # The time was over, but nothing is open at fal: that code would ask for another run.
        held.remove(ExitCode.STILL_RUNNING)
        if JobOutcome.NOT_STARTED in outcomes:
            held.add(ExitCode.SOME_FAILED)
    if renditions is not None and (renditions.failed or renditions.left):
        held.add(ExitCode.SOME_FAILED)
    return next((code for code in EXIT_PRIORITY if code in held), ExitCode.OK)
