"""`kling-batch adopt`: take an existing file as a job's result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_of
from kling_batch.cli.options import JOB, PATH, ledger_options
from kling_batch.errors import ExitCode


@click.command(epilog="Example: kling-batch adopt hero-clip bought-elsewhere.mp4")
@JOB
@click.argument("file", type=PATH)
@ledger_options
def adopt(job: str, file: Path, **places: Any) -> int:
    """Take an existing file as the result of a job.

    FILE is copied to where the output of JOB belongs. Nothing is rendered, nothing is paid.
    """
    with ledger_of(places) as edit:
        path = operations.adopt_file(edit.ledger, job, file, places.get("output"))
    click.echo(f"{job}: {path} is its result now", err=True)
    return ExitCode.OK
