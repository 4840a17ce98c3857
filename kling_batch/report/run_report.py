"""The values that displays and reports render: `RunStarted` at the start, `RunReport` at the end.

`RunReport` is built by `builder.py`; every summary, JUnit file and exit code is made of it. Must
not render, and must not read the ledger.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import EXIT_MEANINGS, EXIT_PRIORITY, ExitCode, Place
from kling_batch.planning.plan import Plan


class JobOutcome(StrEnum):
    """Where a job stands when the run ends, in the words people read."""

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


#: Endings that leave something for a person or another run to do, and the code they ask for.
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
    #: The output folders, as a person reads them.
    output: str
    emulated: bool
    #: What the ledger counts against the cap at this moment; None where nobody knows.
    committed: MicroUSD | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """One job at the end of the run."""

    batch: str
    job: str
    outcome: JobOutcome
    mode: str = ""
    tier: str = ""
    prompt: str = ""
    #: Why it is not done, or empty.
    message: str = ""
    #: Paths as a person at the working folder would type them.
    files: tuple[str, ...] = ()
    #: What it cost so far: charged where known, else estimated.
    cost: MicroUSD = field(default=MicroUSD(0))
    #: From intent to the render's end, where both are known.
    seconds: float | None = None
    request_id: str = ""
    place: Place = field(default=Place(""))


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
    #: Of this run's jobs: known to be owed, possibly owed, over all runs.
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
    #: What to type next, complete commands.
    next_steps: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many jobs the run was about."""
        return len(self.lines) + self.unlisted

    @property
    def meaning(self) -> str:
        """What the exit code means here, in words."""
        outcomes = {line.outcome for line in self.lines}
        failed = any(OUTCOME_CODES.get(outcome) is ExitCode.SOME_FAILED for outcome in outcomes)
        if (
            self.exit_code is ExitCode.SOME_FAILED
            and not failed
            and JobOutcome.NOT_STARTED in outcomes
        ):
            return "stopped before its end, some jobs are not done"
        if self.exit_code is ExitCode.STILL_RUNNING and JobOutcome.RUNNING not in outcomes:
            return "stopped before its end, paid files are still to be fetched"
        return EXIT_MEANINGS[self.exit_code]

    def counts(self) -> dict[JobOutcome, int]:
        """How many jobs ended each way; only what occurs, in the order of `JobOutcome`."""
        found = Counter(line.outcome for line in self.lines)
        found[JobOutcome.UNCHANGED] += self.unlisted
        return {outcome: found[outcome] for outcome in JobOutcome if found[outcome]}


def exit_code(lines: tuple[JobLine, ...], stops: tuple[ExitCode, ...]) -> ExitCode:
    """The code of a run: an interrupt's own, else the one that needs a person most."""
    for signal in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        if signal in stops:
            return signal
    outcomes = {line.outcome for line in lines}
    if outcomes and outcomes <= {JobOutcome.SUCCEEDED, JobOutcome.UNCHANGED}:
        stops = tuple(stop for stop in stops if stop is not ExitCode.BUDGET)  # it stopped nothing
    held = {*stops, *(OUTCOME_CODES[outcome] for outcome in outcomes if outcome in OUTCOME_CODES)}
    if (
        not outcomes & {JobOutcome.RUNNING, JobOutcome.UNDELIVERED}
        and ExitCode.STILL_RUNNING in held
    ):
        # The time was over, but nothing is left at fal: that code would send somebody to collect.
        held.remove(ExitCode.STILL_RUNNING)
        if JobOutcome.NOT_STARTED in outcomes:
            held.add(ExitCode.SOME_FAILED)
    return next((code for code in EXIT_PRIORITY if code in held), ExitCode.OK)
