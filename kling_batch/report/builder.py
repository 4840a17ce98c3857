"""Closing the books of a run: from the ledger and the engine's tally to one `RunReport`.

Reads only. Must not print, and must not decide anything but the exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from kling_batch.core.events import RunResult, name_of
from kling_batch.core.jobs import Batch, Job, JobKey
from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import MicroUSD, iso, parse_iso
from kling_batch.core.records import Standing
from kling_batch.errors import Place
from kling_batch.ledger.reader import Reader
from kling_batch.output.files import shown
from kling_batch.planning.builder import store_of
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.report.command_line import Command
from kling_batch.report.next_steps import Ended, next_steps
from kling_batch.report.run_report import JobLine, JobOutcome, RunReport, exit_code
from kling_batch.settings import Settings

_OF_STATE: dict[State, JobOutcome] = {
    State.SUBMITTING: JobOutcome.IN_DOUBT,
    State.IN_DOUBT: JobOutcome.IN_DOUBT,
    State.SUBMITTED: JobOutcome.RUNNING,
    State.RENDERED: JobOutcome.UNDELIVERED,
    State.SUCCEEDED: JobOutcome.SUCCEEDED,
    State.FAILED: JobOutcome.FAILED,
    State.CANCELLED: JobOutcome.FAILED,
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
) -> RunReport:
    """Everything a person or a machine wants to know at the end.

    `approve` raises where a plan is not the one that was reviewed, as before the run.
    """
    lines, unlisted = _Lines(reader, run_result, settings, batches).of(plan)
    names = tuple(batch.name for batch in batches)
    money = reader.money(names)
    code = exit_code(lines, run_result.stopped_by())
    over = Ended(
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
        started_at=iso(started),
        ended_at=iso(ended),
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
        next_steps=next_steps(over),
    )


#: Above this many, jobs that were done before are only counted: nobody reads their names, and a
#: run with nothing to do must end at once.
LISTED = 2_000


class _Lines:
    """One line a job, from the ledger's word and the engine's reasons."""

    def __init__(
        self, reader: Reader, run_result: RunResult, settings: Settings, batches: Sequence[Batch]
    ) -> None:
        self._reader, self._tally = reader, run_result
        self._store = store_of(settings)
        self._batches = {batch.name: batch for batch in batches}
        self._standings: dict[JobKey, Standing] = {}
        self._facts: dict[JobKey, dict[str, Any]] = {}
        #: Of several names for one render: the first, and the one that the engine drove, which
        #: alone it told about.
        self._firsts: dict[JobKey, PlannedJob] = {}
        self._drivers: dict[JobKey, PlannedJob] = {}

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
            self._standings = self._reader.standings()
            self._facts = _facts(self._reader, {item.job.key for item in listed})
        return tuple(map(self._line, listed)), len(plan.items) - len(listed)

    def _line(self, item: PlannedJob) -> JobLine:
        job = item.job
        standing = self._standings.get(job.key)
        fact = self._facts.get(job.key, {})
        driver = self._drivers.get(job.key, item)
        outcome = _ending(item, driver, standing.state if standing else None, self._tally)
        done = outcome in (JobOutcome.SUCCEEDED, JobOutcome.UNCHANGED)
        return JobLine(
            batch=job.batch,
            job=job.label,
            outcome=outcome,
            mode=job.mode,
            tier=job.tier,
            prompt=str(job.arguments.get("prompt") or ""),
            message=self._message(item, driver, outcome, standing),
            files=self._files(job, standing) if done and standing else (),
            # One render, two names: it is paid for once.
            cost=MicroUSD(fact.get("cost") or 0) if item is self._firsts[job.key] else MicroUSD(0),
            seconds=_seconds(fact),
            request_id=fact.get("request_id") or "",
            place=_place(None if item.orphaned else self._batches.get(job.batch), job, standing),
        )

    def _message(
        self, item: PlannedJob, driver: PlannedJob, outcome: JobOutcome, standing: Standing | None
    ) -> str:
        if outcome in (JobOutcome.SUCCEEDED, JobOutcome.UNCHANGED):
            return ""
        for told in (item, driver):
            if message := self._tally.reasons.get(name_of(told.job)):
                return message
        if outcome in (JobOutcome.FAILED, JobOutcome.BLOCKED):
            return standing.failure.message if standing and standing.failure else item.reason
        return _WORDS.get(outcome, "")

    def _files(self, job: Job, standing: Standing) -> tuple[str, ...]:
        """Where the job's files lie under the names it wants."""
        prefix = self._store.prefix(job.batch)
        return tuple(
            shown(self._store.located(path))
            for index, ext, path in sorted(standing.placed)
            if path == prefix + job.output_path(index, ext)
        )


def _facts(reader: Reader, keys: Collection[JobKey]) -> dict[JobKey, dict[str, Any]]:
    """Per job: what all its attempts cost so far, and the latest one's id and times."""
    sql = (
        "select a.job_key, max(a.id), a.request_id, a.intended_at, a.rendered_at, a.settled_at,"
        " sum(m.charged_micro_usd + m.exposed_micro_usd) as cost"
        " from attempts a join attempt_money m on m.attempt_id = a.id group by a.job_key"
    )
    return {JobKey(r["job_key"]): r for r in reader.rows(sql) if r["job_key"] in keys}


def _place(batch: Batch | None, job: Job, standing: Standing | None) -> Place:
    """The place of the argument that fal refused, or of the job as a whole."""
    loc = standing.failure.loc if standing and standing.failure else ()
    return job.place if batch is None else batch.place_of(job, loc)


_WORDS = {
    JobOutcome.IN_DOUBT: "fal may have accepted it",
    JobOutcome.UNDELIVERED: "paid and rendered; the next run downloads it",
}

#: Actions for which the engine does nothing.
_IDLE = (Action.KEEP, Action.SETTLED, Action.BLOCKED)


def _ending(
    item: PlannedJob, driver: PlannedJob, state: State | None, run_result: RunResult
) -> JobOutcome:
    """Where a job stands; what was told of the name that the engine drove holds for the others."""
    name = name_of(driver.job)
    if item.action is Action.KEEP:
        return JobOutcome.UNCHANGED
    if name in run_result.blocked or item.action is Action.BLOCKED:
        return JobOutcome.BLOCKED
    if name in run_result.failed or item.action is Action.SETTLED:
        return JobOutcome.FAILED
    if state is None or state in (State.FAILED, State.CANCELLED):
        # A failure that nobody called final was no verdict: the next run tries again.
        return JobOutcome.NOT_STARTED
    unplaced = name_of(item.job) in run_result.reasons
    unrestored = item.action is Action.RESTORE and name not in run_result.restored
    if state is State.SUCCEEDED and (unplaced or unrestored):
        return JobOutcome.UNDELIVERED  # the render is here, but not under this name
    return _OF_STATE[state]


def _seconds(fact: dict[str, Any]) -> float | None:
    # A file that was fetched again has settled again; it has not been rendering since.
    begun, ended = fact.get("intended_at"), fact.get("rendered_at") or fact.get("settled_at")
    if not begun or not ended:
        return None
    return (parse_iso(ended) - parse_iso(begun)).total_seconds()
