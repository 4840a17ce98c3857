"""Builder of the run report: from the ledger and the engine's `RunResult` to one `RunReport`.

Must not write, print or decide anything but the exit code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from kling_batch.core.command_line import Command
from kling_batch.core.events import RunResult, name_of
from kling_batch.core.jobs import Batch, Job, JobKey
from kling_batch.core.lifecycle import STATUSES, JobStatus, State, status_of
from kling_batch.core.locations import is_address
from kling_batch.core.quantities import MicroUSD, format_time, parse_time
from kling_batch.core.records import JobTotals, Standing
from kling_batch.errors import Place
from kling_batch.ledger.queries import job_totals
from kling_batch.ledger.reader import Reader
from kling_batch.planning.builder import review_of, store_of
from kling_batch.planning.plan import RESTING, Action, LeftOut, Plan, PlannedJob
from kling_batch.planning.retry import to_change
from kling_batch.planning.verdicts import Held, Review
from kling_batch.report.next_steps import EndedRun, next_steps
from kling_batch.report.run_report import JobLine, JobOutcome, RunReport, exit_code
from kling_batch.settings import Settings
from kling_batch.shown_location import shown

_OF_STATE: dict[State, JobOutcome] = {
    State.SUBMITTING: JobOutcome.IN_DOUBT,
    State.IN_DOUBT: JobOutcome.IN_DOUBT,
    State.SUBMITTED: JobOutcome.RUNNING,
    State.RENDERED: JobOutcome.UNDELIVERED,
    State.SUCCEEDED: JobOutcome.SUCCEEDED,
}


def build_report(
    reader: Reader,
    plan: Plan,
    run_result: RunResult,
    settings: Settings,
    *,
    batches: Sequence[Batch],
    run_id: int,
    started: datetime,
    ended: datetime,
    command: Command,
    approve: Callable[[Plan], None] | None = None,
    counted: MicroUSD | None = None,
) -> RunReport:
    """The report of a run that has ended.

    `counted`: what counts against the caps; None: there is none.
    `approve` raises where a plan is not the one that was reviewed, as before the run.
    """
    lines, unlisted = _Lines(reader, run_result, settings, batches).of(plan)
    names = tuple(batch.name for batch in batches)
    money = reader.money(names)
    code = exit_code(lines, run_result.stopped_by(), run_result.renditions)
    ended_run = EndedRun(
        reader=reader,
        plan=plan,
        settings=settings,
        batches=batches,
        lines=lines,
        code=code,
        stops=run_result.stops,
        command=command,
        approve=approve,
    )
    return RunReport(
        exit_code=code,
        reasons=tuple(stop.reason for stop in run_result.stops),
        batches=names,
        started_at=format_time(started),
        ended_at=format_time(ended),
        seconds=(ended - started).total_seconds(),
        lines=lines,
        unlisted=unlisted,
        charged=money.charged,
        exposed=money.exposed,
        spent_now=reader.spent_by(run_id),
        cap=settings.max_cost,
        output=", ".join(dict.fromkeys(shown(root) for root in settings.roots.values())),
        ledger=shown(settings.ledger),
        emulated=settings.service == "emulator",
        next_steps=next_steps(ended_run),
        left_out=(*plan.left_out, *_left_by_caps(lines, run_result)),
        counted=None if counted == money.charged + money.exposed else counted,
        renditions=run_result.renditions,
        recovered=plan.count(Action.RECOVER),
        recovered_since=min(_paid_since(plan), default=""),
    )


def _paid_since(plan: Plan) -> Iterator[str]:
    """When what is recovered was paid for, as far as that is known."""
    for item in plan.items:
        if item.found is not None and item.found.since:
            yield item.found.since


def _left_by_caps(lines: Sequence[JobLine], run_result: RunResult) -> tuple[LeftOut, ...]:
    """The jobs that were not submitted because a cap was reached."""
    caps = dict.fromkeys(stop.cap for stop in run_result.stops if stop.cap)
    jobs = sum(line.outcome is JobOutcome.NOT_STARTED for line in lines)
    return (LeftOut(" and ".join(caps), jobs),) if caps and jobs else ()


#: Above this many, jobs that were done before are only counted, so that a run with nothing to do
#: ends at once.
LISTED = 2_000


class _Lines:
    """One line a job, from the ledger and the engine's reasons."""

    def __init__(
        self, reader: Reader, run_result: RunResult, settings: Settings, batches: Sequence[Batch]
    ) -> None:
        self._reader, self._run_result = reader, run_result
        self._store = store_of(settings)
        self._batches = {batch.name: batch for batch in batches}
        self._prefixes: dict[str, str] = {}
        #: Stored name of a folder → how it is shown.
        self._folders: dict[str, str] = {}
        self._standings: dict[JobKey, Standing] = {}
        self._totals: dict[JobKey, JobTotals] = {}
        #: Of several names for one render: the first, and the one that the engine drove and
        #: reported about.
        self._firsts: dict[JobKey, PlannedJob] = {}
        self._drivers: dict[JobKey, PlannedJob] = {}
        #: The verdicts as they are now; read where a final was not begun.
        self._review: Review | None = None

    def of(self, plan: Plan) -> tuple[tuple[JobLine, ...], int]:
        """The lines, and how many unchanged jobs have none."""
        listed = list(plan.items)
        if plan.count(Action.KEEP) > LISTED:
            listed = [item for item in plan.items if item.action is not Action.KEEP]
        for item in listed:
            self._firsts.setdefault(item.job.key, item)
            if item.action not in _IDLE:
                self._drivers.setdefault(item.job.key, item)
        if listed:
            keys = {item.job.key for item in listed}
            self._standings = self._reader.standings(keys)
            self._totals = job_totals(self._reader, keys)
        return tuple(map(self._line, listed)), len(plan.items) - len(listed)

    def _line(self, item: PlannedJob) -> JobLine:
        job = item.job
        standing = self._standings.get(job.key)
        totals = self._totals.get(job.key)
        batch = None if item.orphaned else self._batches.get(job.batch)
        driver = self._drivers.get(job.key, item)
        outcome = _outcome(item, driver, standing.state if standing else None, self._run_result)
        taken_back = self._taken_back(job) if outcome is JobOutcome.NOT_STARTED else None
        if taken_back is not None:
            outcome = JobOutcome.AWAITING if taken_back.undecided else JobOutcome.DECLINED
        done = outcome in (JobOutcome.SUCCEEDED, JobOutcome.UNCHANGED)
        return JobLine(
            batch=job.batch,
            job=job.label,
            outcome=outcome,
            exact=_exact(outcome, standing, totals),
            mode=job.mode,
            tier=job.tier,
            prompt=str(job.arguments.get("prompt") or ""),
            message=(
                taken_back.reason
                if taken_back is not None
                else self._message(item, driver, outcome, standing)
            ),
            files=self._files(job, standing) if done and standing else (),
            # A render with two names is paid for once.
            cost=totals.cost if totals and item is self._firsts[job.key] else MicroUSD(0),
            seconds=_seconds(totals),
            request_id=(totals and totals.request_id) or "",
            to_change=to_change(standing.failure) if standing else "",
            place=_failure_place(batch, job, standing),
        )

    def _taken_back(self, job: Job) -> Held | None:
        """Why people want it no more: its approval was taken back after the plan was made."""
        if not job.draft:
            return None
        if self._review is None:
            self._review = review_of(self._reader, list(self._batches.values()))
        return self._review.held(job)

    def _message(
        self, item: PlannedJob, driver: PlannedJob, outcome: JobOutcome, standing: Standing | None
    ) -> str:
        if outcome in (JobOutcome.SUCCEEDED, JobOutcome.UNCHANGED):
            return ""
        for planned in (item, driver):
            if message := self._run_result.reasons.get(name_of(planned.job)):
                return message
        if outcome in (JobOutcome.AWAITING, JobOutcome.DECLINED):
            return item.reason
        if outcome in (JobOutcome.FAILED, JobOutcome.BLOCKED):
            return standing.failure.message if standing and standing.failure else item.reason
        unsure = outcome in (JobOutcome.IN_DOUBT, JobOutcome.UNDELIVERED)
        return STATUSES[outcome.status].note if unsure else ""

    def _files(self, job: Job, standing: Standing) -> tuple[str, ...]:
        """Where the job's files are under the names it wants."""
        prefix = self._prefixes.get(job.batch)
        if prefix is None:
            prefix = self._prefixes[job.batch] = self._store.prefix(job.batch)
        return tuple(
            self._shown(path)
            for index, ext, path, _ in sorted(standing.placed)
            if path == prefix + job.output_path(index, ext)
        )

    def _shown(self, stored: str) -> str:
        """The path for messages; each folder is looked at once: a tenth of an idle run."""
        folder, _, name = stored.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = shown(self._store.located(folder))
        base = self._folders[folder]
        if is_address(base):
            return f"{base}/{name}"
        return name if base == os.curdir else f"{base}{os.sep}{name}"


def _exact(
    outcome: JobOutcome, standing: Standing | None, totals: JobTotals | None
) -> JobStatus | None:
    """The status of the latest attempt, where it says more than the outcome."""
    if standing is None or outcome not in (JobOutcome.RUNNING, JobOutcome.FAILED):
        return None
    status = status_of(standing.state, totals.remote_status if totals else None)
    return status if status in (JobStatus.RENDERING, JobStatus.CANCELLED) else None


def _failure_place(batch: Batch | None, job: Job, standing: Standing | None) -> Place:
    """The place of the argument that fal rejected; else the job's own place."""
    loc = standing.failure.loc if standing and standing.failure else ()
    return job.place if batch is None else batch.place_of(job, loc)


#: Actions for which the engine does nothing.
_IDLE = RESTING
#: Outcomes that the plan alone decides.
_BY_PLAN = {
    Action.KEEP: JobOutcome.UNCHANGED,
    Action.BLOCKED: JobOutcome.BLOCKED,
    Action.HOLD: JobOutcome.AWAITING,
    Action.DECLINED: JobOutcome.DECLINED,
}


def _outcome(
    item: PlannedJob, driver: PlannedJob, state: State | None, run_result: RunResult
) -> JobOutcome:
    """How the run ended for a job; what is reported for the first holds for its duplicates."""
    name = name_of(driver.job)
    if item.action in _BY_PLAN:
        return _BY_PLAN[item.action]
    if name in run_result.blocked:
        return JobOutcome.BLOCKED
    if name in run_result.failed or item.action is Action.SETTLED:
        return JobOutcome.FAILED
    if state is None or state in (State.FAILED, State.CANCELLED):
        # A failure that is not in `failed` was no verdict: the next run tries again.
        return JobOutcome.NOT_STARTED
    unplaced = name_of(item.job) in run_result.reasons
    unrestored = item.action is Action.RESTORE and name not in run_result.restored
    if state is State.SUCCEEDED and (unplaced or unrestored):
        return JobOutcome.UNDELIVERED  # the render is here, but not under this name
    return _OF_STATE[state]


def _seconds(totals: JobTotals | None) -> float | None:
    # A file that was fetched again has settled again; it has not been rendering since.
    ended = totals and (totals.rendered_at or totals.settled_at)
    if not totals or not ended:
        return None
    return (parse_time(ended) - parse_time(totals.intended_at)).total_seconds()
