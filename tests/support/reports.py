"""Jobs and reports of runs, for tests of displays and report formats."""

from __future__ import annotations

from typing import Any

from kling_batch.core.jobs import Job, job_key
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import ExitCode
from kling_batch.report.run_report import JobLine, JobOutcome, RunReport

CENT = 10_000


def job(name: str, batch: str = "spring", prompt: str | None = None) -> Job:
    arguments = {"prompt": prompt or name}
    return Job(
        key=job_key("e", arguments),
        endpoint="e",
        arguments=arguments,
        take=1,
        id=name,
        batch=batch,
        mode="text-to-video",
        tier="pro",
        path=f"{name}{{output}}{{ext}}",
        estimate=MicroUSD(70 * CENT),
    )


def line(name: str, outcome: JobOutcome, **more: Any) -> JobLine:
    fields = {"batch": "spring", "job": name, "outcome": outcome, "cost": MicroUSD(70 * CENT)}
    return JobLine(**{**fields, **more})


def report(*lines: JobLine, **more: Any) -> RunReport:
    fields: dict[str, Any] = {
        "exit_code": ExitCode.OK,
        "reasons": (),
        "batches": ("spring",),
        "started_at": "2026-11-23T06:00:00.000Z",
        "ended_at": "2026-11-23T06:04:12.000Z",
        "seconds": 252.0,
        "lines": lines,
        "charged": MicroUSD(560 * CENT),
        "exposed": MicroUSD(0),
        "spent_now": MicroUSD(140 * CENT),
        "cap": None,
        "output": "outputs",
        "ledger": "outputs/ledger.db",
        "emulated": False,
    }
    return RunReport(**{**fields, **more})
