"""`kling-batch verify`: keys, histories, sums and files, derived again and compared."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kling_batch.cli.options import (
    ledger_path,
    options_of,
    place_options,
    reader_of,
    service_options,
)
from kling_batch.errors import ExitCode

if TYPE_CHECKING:
    from kling_batch.ledger.ledger import Ledger
    from kling_batch.planning.plan import Plan


@click.command()
@place_options
@service_options
@click.option("--repair", is_flag=True, help="Download what is missing or changed; costs nothing")
def verify(*, repair: bool, **values: Any) -> int:
    """Check the ledger against itself and against the files on the disk."""
    from kling_batch.operations.verify import verify as check  # noqa: PLC0415
    from kling_batch.output.store import OutputStore  # noqa: PLC0415

    path = ledger_path(values)
    with reader_of(values) as reader:
        verdict = check(reader, OutputStore({}, path.parent))
    for finding in verdict.findings:
        click.echo(f"{finding.subject}: {finding.message}")
    found = len(verdict.findings)
    click.echo(
        f"{verdict.jobs} jobs, {verdict.attempts} attempts, {verdict.files} files: "
        + (f"{found} finding{'s' * (found != 1)}" if found else "everything fits"),
        err=True,
    )
    wanted = {f.repairable for f in verdict.findings if f.repairable is not None}
    if not repair or not wanted:
        return ExitCode.SOME_FAILED if found else ExitCode.OK
    code = _repair(wanted, path, values)
    with reader_of(values) as reader:
        left = check(reader, OutputStore({}, path.parent)).findings
    for finding in left:
        click.echo(f"still: {finding.subject}: {finding.message}")
    return ExitCode.SOME_FAILED if left and code == ExitCode.OK else code


def _repair(wanted: set[int], path: Path, values: Mapping[str, Any]) -> int:
    from kling_batch.core.jobs import Batch  # noqa: PLC0415
    from kling_batch.fal.credentials import read_key_file  # noqa: PLC0415
    from kling_batch.ledger.queries import batch_names  # noqa: PLC0415
    from kling_batch.operations.run import Request, execute  # noqa: PLC0415
    from kling_batch.report.display.choose import choose  # noqa: PLC0415 - heavy parts load when needed

    read_key_file()
    with reader_of(values) as reader:
        names = batch_names(reader)
    display = choose(
        json=False, quiet=False, stream_is_terminal=sys.stderr.isatty(), environ=os.environ
    )
    output = values["output"] or path.parent
    try:
        report = execute(
            Request(
                batches=tuple(Batch(name=name, source=str(path), jobs=()) for name in names),
                options=options_of({**values, "output": output, "ledger": path}),
                command="kling-batch verify --repair",
                display=display,
                plan=lambda ledger: _restoring(ledger, wanted),
            )
        )
    finally:
        display.close()
    return report.exit_code


def _restoring(ledger: Ledger, wanted: set[int]) -> Plan:
    from kling_batch.ledger.names import by_key, job_of  # noqa: PLC0415
    from kling_batch.planning.plan import Action, Plan, PlannedJob  # noqa: PLC0415

    jobs = {i: job_of(by_key(ledger, ledger.attempt(i).job_key)) for i in sorted(wanted)}
    said = "missing or changed"
    return Plan(tuple(PlannedJob(job, Action.RESTORE, said, i) for i, job in jobs.items()))
