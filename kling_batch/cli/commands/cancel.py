"""`kling-batch cancel`: ask fal to stop open requests."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from kling_batch.cli.options import (
    ledger_of,
    options_of,
    place_options,
    service_options,
)
from kling_batch.errors import ExitCode, UsageError


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@click.option("--all", "everything", is_flag=True, help="Every open request of the ledger")
@service_options
@place_options
def cancel(jobs: tuple[str, ...], *, everything: bool, **values: Any) -> int:
    """Ask fal to cancel open requests; says what fal said, which is no refund."""
    import anyio  # noqa: PLC0415 - the network stack loads late

    from kling_batch.core.lifecycle import State  # noqa: PLC0415
    from kling_batch.core.outcomes import CancelAnswer  # noqa: PLC0415
    from kling_batch.core.records import Attempt  # noqa: PLC0415
    from kling_batch.fal.credentials import read_key_file  # noqa: PLC0415
    from kling_batch.ledger.names import by_key, find  # noqa: PLC0415
    from kling_batch.operations import cancel as cancellation  # noqa: PLC0415
    from kling_batch.operations.run import gateway_of  # noqa: PLC0415
    from kling_batch.settings import resolve  # noqa: PLC0415

    if bool(jobs) == everything:
        raise UsageError("name the jobs, or say --all")
    read_key_file()
    places: dict[str, Path | None] = {name: values[name] for name in ("output", "ledger")}
    settings = resolve((), options_of(values))
    with ledger_of(places) as ledger:
        ledger.must_belong_to(settings.service)
        wanted = {find(ledger, job).key for job in jobs}
        among = partial(filter, lambda attempt: everything or attempt.job_key in wanted)
        attempts = list(among(ledger.attempts_in(State.SUBMITTED)))

        def tell(attempt: Attempt, words: str) -> None:
            click.echo(f"{by_key(ledger, attempt.job_key).label}: {words}", err=True)

        for attempt in among(ledger.attempts_in(State.SUBMITTING, State.IN_DOUBT)):
            tell(attempt, "in doubt: no request is known to cancel; the next run looks for it")
        if not attempts:
            click.echo("no open requests among them", err=True)
            return ExitCode.OK

        with gateway_of(settings) as gateway:
            work = partial(cancellation.cancel, ledger, attempts, gateway, tell)
            answers = anyio.run(work)
    if CancelAnswer.REFUSED in answers:
        return ExitCode.AUTH
    return ExitCode.OK if answers <= {CancelAnswer.REQUESTED} else ExitCode.SOME_FAILED
