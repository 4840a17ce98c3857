"""The public API as a typed program uses it: checked by mypy --strict, never run."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import assert_type

import kling_batch
from kling_batch import (
    USD,
    Action,
    Batch,
    EventKind,
    ExitCode,
    Job,
    JobLine,
    JobOutcome,
    KlingBatchError,
    LedgerJob,
    LedgerView,
    ManifestError,
    Options,
    Plan,
    PlannedJob,
    Problem,
    RunEvent,
    RunReport,
    arun,
    load,
    open_ledger,
    plan,
    run,
)

assert_type(load("campaign.yaml"), tuple[Batch, ...])
batches = load([Path("a.yaml"), "b.csv"], variables={"brand": "Acme", "count": 3})
assert_type(batches[0].jobs, tuple[Job, ...])

options = Options(output=Path("out"), max_cost=Decimal(10), rate="60/min", emulator=True)
Options(max_cost=10.5, timeout=60, only="hero*", emulator="http://127.0.0.1:8765")
Options(max_cost=b"10")  # type: ignore[arg-type]
Options(budget=10)  # type: ignore[call-arg]

planned = plan(batches, options)
assert_type(planned, Plan)
assert_type(planned.cost, USD)
assert_type(planned.cap, USD | None)
for item in planned:
    assert_type(item, PlannedJob)
    assert_type(item.action, Action)
    assert_type(item.reason, str)
    assert_type(item.price, USD)
    assert_type(item.job, Job)


def approve(plan: Plan) -> bool:
    return plan.cost < Decimal("5.00")


def on_event(event: RunEvent) -> None:
    assert_type(event.kind, EventKind)
    print(event.job, event.message)


report = run(batches[0], approve=approve, on_event=on_event)
assert_type(report, RunReport)
assert_type(report.exit_code, ExitCode)
assert_type(report.lines, tuple[JobLine, ...])
assert_type(report.lines[0].outcome, JobOutcome)
assert_type(report.lines[0].files, tuple[Path, ...])
assert_type(report.spent, USD)
run(batches, options, on_event=print)
run(batches, approve=lambda plan: "yes")  # type: ignore[arg-type, return-value]


async def main() -> None:
    assert_type(await arun(batches, options, on_event=print), RunReport)


with open_ledger("outputs/ledger.db") as ledger:
    assert_type(ledger, LedgerView)
    assert_type(ledger.jobs(state="failed"), Iterator[LedgerJob])
    assert_type(ledger.job("hero").cost, USD | None)
    assert_type(ledger.job("hero").files, tuple[Path, ...])

try:
    load("broken.yaml")
except ManifestError as error:
    assert_type(error.problems, tuple[Problem, ...])
except KlingBatchError as error:
    assert_type(error.exit_code, ExitCode)

_ = kling_batch.no_such_name  # type: ignore[attr-defined]
