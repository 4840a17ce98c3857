"""`kling-batch resolve`: settle a submission in doubt. Nothing is sent."""

from __future__ import annotations

from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_of
from kling_batch.cli.options import JOB, ledger_options
from kling_batch.errors import ExitCode, UsageError


@click.command(epilog="Example: kling-batch resolve hero-clip --request-id 764cabcf-b745-4b3e")
@JOB
@click.option("--request-id", metavar="ID", help="It is at fal, under this id: collect it")
@click.option("--not-submitted", is_flag=True, help="fal never got it: it may be sent again")
@ledger_options
def resolve(job: str, request_id: str | None, *, not_submitted: bool, **places: Any) -> int:
    """Settle a submission in doubt after a look at fal's dashboard.

    Say which request of fal's JOB is, or that fal never got it. Nothing is sent.
    """
    if bool(request_id) == not_submitted:
        raise UsageError("say one of --request-id ID and --not-submitted")
    with ledger_of(places) as edit:
        if request_id:
            message = operations.resolve_submitted(edit.ledger, job, request_id)
        else:
            message = operations.resolve_not_submitted(edit.ledger, job)
    click.echo(message, err=True)
    return ExitCode.OK
