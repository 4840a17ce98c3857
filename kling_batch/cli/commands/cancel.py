"""`kling-batch cancel`: ask fal to stop open requests."""

from __future__ import annotations

from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_of
from kling_batch.cli.options import options_of, place_options, service_options
from kling_batch.core.outcomes import CancelAnswer
from kling_batch.errors import ExitCode, UsageError
from kling_batch.settings import resolve

_HELP = (
    "Ask fal to cancel open requests and print its answer. Cancelling does not guarantee a refund."
)


@click.command(help=_HELP, epilog="Example: kling-batch cancel hero-clip")
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@click.option("--all", "everything", is_flag=True, help="Every open request of the ledger")
@service_options
@place_options
def cancel(jobs: tuple[str, ...], *, everything: bool, **values: Any) -> int:
    """Ask for each open request; its help is `_HELP`."""
    if bool(jobs) == everything:
        raise UsageError("name the jobs, or give --all")
    with ledger_of(values) as edit:
        answers = operations.cancel_jobs(
            edit.ledger, resolve((), options_of(values)), None if everything else jobs, _print
        )
        edit.exit_code = _exit_code(answers)
    if not answers:
        click.echo("no open requests among them", err=True)
    return edit.exit_code


def _exit_code(answers: set[CancelAnswer]) -> ExitCode:
    if CancelAnswer.REFUSED in answers:
        return ExitCode.AUTH
    taken = {CancelAnswer.REQUESTED, CancelAnswer.REMOVED}
    return ExitCode.OK if answers <= taken else ExitCode.SOME_FAILED


def _print(label: str, message: str) -> None:
    click.echo(f"{label}: {message}", err=True)
