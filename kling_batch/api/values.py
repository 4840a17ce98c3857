"""`Plan` and `RunReport`: what `plan` and `run` return, with money in dollars and real paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kling_batch.core.jobs import Job
from kling_batch.core.quantities import USD, MicroUSD
from kling_batch.errors import ExitCode
from kling_batch.operations.plan import PlannedRun
from kling_batch.planning import plan as planning
from kling_batch.planning.plan import RESTING, Action, is_paid
from kling_batch.report import run_report
from kling_batch.report.plan_view import as_text
from kling_batch.report.run_report import JobOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job with what a run would do with it."""

    job: Job
    action: Action
    #: Why, for people: `new`, `unchanged`, `changed: prompt`.
    reason: str
    #: Upper estimate of what this run would pay for it; zero where nothing is paid.
    price: USD


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do with each job; printing it shows what `kling-batch plan` shows."""

    items: tuple[PlannedJob, ...]
    #: Upper estimate of everything that the run would pay for.
    cost: USD
    #: What the batches may cost at most over all runs; None where some batch has no cap.
    cap: USD | None
    #: Where the run would keep its ledger.
    ledger: Path
    #: Warnings about the selection of jobs, and other ledgers that have them.
    warnings: tuple[str, ...] = ()
    _text: str = field(repr=False, default="")

    @classmethod
    def of(cls, planned: PlannedRun, warnings: Sequence[str] = ()) -> Self:
        """From the program's own plan."""
        settings, plan = planned.settings, planned.plan
        return cls(
            items=tuple(map(_planned_job, plan.items)),
            cost=USD.of(plan.cost),
            cap=_usd(settings.budget.total),
            ledger=settings.ledger,
            warnings=(*warnings, *planned.warnings),
            _text=as_text(
                plan, settings, planned.typical_seconds, planned.coverage, planned.account
            ),
        )

    def __iter__(self) -> Iterator[PlannedJob]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return self._text

    @property
    def idle(self) -> bool:
        """Whether a run would do nothing at all."""
        return all(item.action in RESTING for item in self.items)


def _planned_job(item: planning.PlannedJob) -> PlannedJob:
    paid = is_paid(item)
    price = USD.of(item.job.estimate if paid else 0)
    return PlannedJob(job=item.job, action=item.action, reason=item.reason, price=price)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """A job at the end of a run."""

    batch: str
    #: The job's id, with `#2` for its second take.
    job: str
    outcome: JobOutcome
    mode: str
    tier: str
    prompt: str
    #: Why it is not done; empty where it is.
    message: str
    files: tuple[Path, ...]
    #: What it cost so far: charged where that is known, else estimated.
    cost: USD
    #: From submission to the end of the render, where both are known.
    seconds: float | None
    #: fal's id of the latest request; empty where there is none.
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """How a run ended: a line for each job, the costs, and what to do next."""

    #: As of the command line; 0 where everything is done.
    exit_code: ExitCode
    #: What the exit code means.
    meaning: str
    #: Why the run stopped before its end.
    reasons: tuple[str, ...]
    lines: tuple[JobLine, ...]
    #: Jobs of a very large batch that were done before and have no line.
    unlisted: int
    #: Cost of these batches over all runs: known to be owed, and possibly owed.
    charged: USD
    exposed: USD
    #: Charged or possibly owed for what this run submitted.
    spent: USD
    cap: USD | None
    seconds: float
    ledger: Path
    #: Whether it ran on an emulator, where nothing is paid.
    emulated: bool
    #: Commands to type next.
    next_steps: tuple[str, ...]
    #: Renditions that this run made, and a sentence for each that it could not make.
    renditions_made: int
    renditions_failed: tuple[str, ...]

    @classmethod
    def of(cls, report: run_report.RunReport) -> Self:
        """From the program's own report."""
        return cls(
            exit_code=report.exit_code,
            meaning=report.meaning,
            reasons=report.reasons,
            lines=tuple(map(_job_line, report.lines)),
            unlisted=report.unlisted,
            charged=USD.of(report.charged),
            exposed=USD.of(report.exposed),
            spent=USD.of(report.spent_now),
            cap=_usd(report.cap),
            seconds=report.seconds,
            ledger=Path(report.ledger),
            emulated=report.emulated,
            next_steps=report.next_steps,
            renditions_made=report.renditions.made,
            renditions_failed=tuple(report.renditions.failed),
        )

    @property
    def ok(self) -> bool:
        """Whether every job is done."""
        return self.exit_code is ExitCode.OK

    @property
    def failed(self) -> tuple[JobLine, ...]:
        """The jobs that failed or were blocked by one that failed."""
        failed = (JobOutcome.FAILED, JobOutcome.BLOCKED)
        return tuple(line for line in self.lines if line.outcome in failed)


def _job_line(line: run_report.JobLine) -> JobLine:
    return JobLine(
        batch=line.batch,
        job=line.job,
        outcome=line.outcome,
        mode=line.mode,
        tier=line.tier,
        prompt=line.prompt,
        message=line.message,
        files=tuple(map(Path, line.files)),
        cost=USD.of(line.cost),
        seconds=line.seconds,
        request_id=line.request_id,
    )


def _usd(micro: MicroUSD | None) -> USD | None:
    return None if micro is None else USD.of(micro)
