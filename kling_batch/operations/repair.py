"""Repair of saved files that are missing or changed: a run that only downloads them again."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from kling_batch.core.command_line import Command
from kling_batch.core.jobs import Batch
from kling_batch.errors import ExitCode
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.names import by_key, job_of
from kling_batch.operations.run import open_run
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.report.display.base import Display
from kling_batch.settings import RunOptions


def repair_files(
    path: Path,
    attempts: Collection[int],
    batches: Collection[str],
    options: RunOptions,
    display: Display,
) -> ExitCode:
    """Download the files of these attempts again, to where the ledger has them; costs nothing."""
    with open_run(
        tuple(Batch(name=name, source=str(path), jobs=()) for name in batches),
        options,
        command=Command.parsed("kling-batch verify --repair"),
        display=display,
        plan_maker=partial(_plan, attempts=attempts),
    ) as run:
        return run.carry_out().exit_code


def _plan(ledger: Ledger, attempts: Collection[int]) -> Plan:
    jobs = {i: job_of(by_key(ledger, ledger.attempt(i).job_key)) for i in sorted(attempts)}
    reason = "missing or changed"
    return Plan(tuple(PlannedJob(job, Action.RESTORE, reason, i) for i, job in jobs.items()))
