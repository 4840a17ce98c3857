"""`kling-batch retry` and `reroll`: allow another paid attempt, or another take."""

from __future__ import annotations

from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_of
from kling_batch.cli.options import JOB, ledger_options
from kling_batch.errors import ExitCode, UsageError


@click.command(epilog="Example: kling-batch retry hero-clip")
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@click.option("--all", "everything", is_flag=True, help="Every failed or cancelled job")
@ledger_options
def retry(jobs: tuple[str, ...], *, everything: bool, **places: Any) -> int:
    """Allow failed jobs another paid attempt in the next run."""
    if bool(jobs) == everything:
        raise UsageError("name the jobs, or give --all")
    with ledger_of(places) as edit:
        messages = operations.allow_retries(edit.ledger, None if everything else jobs)
    for message in messages or ["no failed or cancelled jobs"]:
        click.echo(message, err=True)
    return ExitCode.OK


@click.command(epilog="Example: kling-batch reroll hero-still")
@JOB
@ledger_options
def reroll(job: str, **places: Any) -> int:
    """Ask for one more take of a job in the next run.

    The next run pays for it and keeps the takes there are.
    """
    with ledger_of(places) as edit:
        message = operations.allow_take(edit.ledger, job)
    click.echo(message, err=True)
    return ExitCode.OK
