"""Closing the books of a run: from the ledger and the engine's tally to one `RunReport`.

Reads only. Must not print, and must not decide anything but the exit code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from kling_batch.engine import Tally, name_of
from kling_batch.errors import ExitCode, Place
from kling_batch.jobs import Batch, Job, JobKey, MicroUSD
from kling_batch.ledger import iso
from kling_batch.lifecycle import State
from kling_batch.plan import Action, Plan, PlannedJob
from kling_batch.records import Reader, Standing, parse_iso
from kling_batch.report import Ending, JobLine, RunReport, exit_code
from kling_batch.settings import Settings
from kling_batch.survey import shelf_of

_OF_STATE: dict[State, Ending] = {
    State.SUBMITTING: Ending.IN_DOUBT,
    State.IN_DOUBT: Ending.IN_DOUBT,
    State.SUBMITTED: Ending.RUNNING,
    State.RENDERED: Ending.UNDELIVERED,
    State.SUCCEEDED: Ending.SUCCEEDED,
    State.FAILED: Ending.FAILED,
    State.CANCELLED: Ending.FAILED,
}


def close_books(
    reader: Reader,
    plan: Plan,
    tally: Tally,
    settings: Settings,
    *,
    batches: Sequence[Batch],
    run_id: int,
    started: datetime,
    ended: datetime,
    command: str,
) -> RunReport:
    """Everything a person or a machine wants to know at the end."""
    lines = _lines(reader, plan, tally, settings, {batch.name: batch for batch in batches})
    names = tuple(batch.name for batch in batches)
    money = reader.money(names)
    code = exit_code(lines, tally.stopped_by())
    return RunReport(
        exit_code=code,
        reasons=tuple(stop.reason for stop in tally.stops),
        batches=names,
        started_at=iso(started),
        ended_at=iso(ended),
        seconds=(ended - started).total_seconds(),
        lines=lines,
        charged=money.charged,
        exposed=money.exposed,
        spent_now=reader.spent_by(run_id),
        cap=settings.max_cost,
        output=", ".join(dict.fromkeys(shown(root) for root in settings.roots.values())),
        ledger=shown(settings.ledger),
        emulated=settings.service == "emulator",
        next_steps=_next_steps(lines, code, command),
    )


def shown(path: Path) -> str:
    """A path as a person here would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _lines(
    reader: Reader, plan: Plan, tally: Tally, settings: Settings, batches: Mapping[str, Batch]
) -> tuple[JobLine, ...]:
    standings = reader.standings()
    facts = reader.job_facts({i.job.key for i in plan.items if i.action is not Action.KEEP})
    files = reader.files()
    shelf = shelf_of(settings)

    def files_of(job: Job) -> tuple[str, ...]:
        wanted = {
            shelf.stored(shelf.wanted(job.batch, job.output_path(f.index, f.ext))): f
            for f in files.get(job.key, ())
        }
        have = [f.path for f in files.get(job.key, ()) if f.path in wanted]
        return tuple(shown(shelf.located(path)) for path in have)

    def line(item: PlannedJob) -> JobLine:
        job = item.job
        standing = standings.get(job.key)
        fact: dict[str, Any] = facts.get(job.key, {})
        ending = _ending(item, standing.state if standing else None, tally)
        message = tally.reasons.get(name_of(job), "")
        if not message and ending in (Ending.FAILED, Ending.BLOCKED):
            failure = standing.failure if standing else None
            message = failure.message if failure else item.reason
        if not message and ending in (Ending.IN_DOUBT, Ending.UNDELIVERED):
            message = _WORDS[ending]
        done = ending in (Ending.SUCCEEDED, Ending.UNCHANGED)
        return JobLine(
            batch=job.batch,
            job=job.label,
            ending=ending,
            mode=job.mode,
            tier=job.tier,
            prompt=str(job.arguments.get("prompt") or ""),
            message=message,
            files=files_of(job) if done else (),
            cost=MicroUSD(fact.get("cost") or 0),
            seconds=_seconds(fact),
            request_id=fact.get("request_id") or "",
            place=_place(batches.get(job.batch), job, standing),
        )

    return tuple(line(item) for item in plan.items)


def _place(batch: Batch | None, job: Job, standing: Standing | None) -> Place:
    """Where fal's complaint about an argument stands; else the job's own place."""
    loc = standing.failure.loc if standing and standing.failure else ()
    if batch is None or batch.locate is None or not loc:
        return job.place
    return batch.locate(job, tuple(loc[1:] if loc[0] == "body" else loc))


_WORDS = {
    Ending.IN_DOUBT: "fal may have accepted it",
    Ending.UNDELIVERED: "paid and rendered; the next run downloads it",
}


def _ending(item: PlannedJob, state: State | None, tally: Tally) -> Ending:
    name = name_of(item.job)
    if item.action is Action.KEEP:
        return Ending.UNCHANGED
    if name in tally.blocked or item.action is Action.BLOCKED:
        return Ending.BLOCKED
    if name in tally.failed or item.action is Action.SETTLED:
        return Ending.FAILED
    if state is None or state in (State.FAILED, State.CANCELLED):
        # A failure that nobody called final was no verdict: the next run tries again.
        return Ending.NOT_STARTED
    return _OF_STATE[state]


def _seconds(fact: dict[str, Any]) -> float | None:
    begun, ended = fact.get("intended_at"), fact.get("settled_at")
    if not begun or not ended:
        return None
    return (parse_iso(ended) - parse_iso(begun)).total_seconds()


def _next_steps(lines: Sequence[JobLine], code: ExitCode, command: str) -> tuple[str, ...]:
    endings = {line.ending for line in lines}
    steps: list[str] = []
    if Ending.IN_DOUBT in endings:
        doubtful = next(line.job for line in lines if line.ending is Ending.IN_DOUBT)
        steps.append(
            f"kling-batch resolve {doubtful} --request-id ID   (found in the fal dashboard)"
        )
        steps.append(f"kling-batch resolve {doubtful} --not-submitted   (not found there)")
    if endings & {Ending.RUNNING, Ending.UNDELIVERED} or (
        Ending.NOT_STARTED in endings and code is not ExitCode.BUDGET
    ):
        steps.append(command)
    if code is ExitCode.BUDGET:
        steps.append(f"{command} --max-cost USD   (after raising the cap or topping up)")
    if Ending.FAILED in endings:
        steps.append(f"{command} --retry-failed   (pays for the failed ones again)")
    return tuple(steps)


__all__ = ["JobKey", "close_books", "shown"]
