"""`adopt`: take an existing file as a job's result."""

from __future__ import annotations

from pathlib import Path

import click

from kling_batch.cli.options import JOB, PATH, ledger_of, place_options
from kling_batch.errors import ExitCode


@click.command()
@JOB
@click.argument("file", type=PATH)
@place_options
def adopt(job: str, file: Path, **places: Path | None) -> int:
    """Take an existing FILE as the result of JOB: nothing is rendered, nothing is paid."""
    from kling_batch.operations.adopt import adopt_file  # noqa: PLC0415

    with ledger_of(places) as ledger:
        path = adopt_file(ledger, job, file, places.get("output"))
    click.echo(f"{job}: {path} is its result now", err=True)
    return ExitCode.OK
