"""`retry` and `reroll`: allow another paid attempt, or another take; the next run makes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kling_batch.cli.options import JOB, ledger_of, place_options
from kling_batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from kling_batch.ledger.names import LedgerJob


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@click.option("--all", "everything", is_flag=True, help="Every failed or cancelled job")
@place_options
def retry(jobs: tuple[str, ...], *, everything: bool, **places: Path | None) -> int:
    """Allow another paid attempt at failed jobs; the next `run` makes it."""
    from kling_batch.core.lifecycle import State, status_of  # noqa: PLC0415
    from kling_batch.ledger.names import all_named, find  # noqa: PLC0415
    from kling_batch.ledger.overrides import grant_retries  # noqa: PLC0415

    if bool(jobs) == everything:
        raise UsageError("name the jobs, or say --all")
    settled = (State.FAILED, State.CANCELLED)
    with ledger_of(places) as ledger:
        standings = ledger.standings()
        chosen = all_named(ledger) if everything else [find(ledger, job) for job in jobs]
        wanted = {named.key: named for named in chosen}  # two names of one render are one word
        if everything:
            failed = {key for key, standing in standings.items() if standing.state in settled}
            wanted = {key: named for key, named in wanted.items() if key in failed}
        for key, named in wanted.items():
            state = standings[key].state if key in standings else None
            if state is not State.RENDERED and state not in settled:
                status = "not submitted yet" if state is None else status_of(state)
                raise UsageError(f"{named.label} is {status}; only failed jobs are retried")
            if state is not State.RENDERED:
                _must_be_wanted(named)
        grant_retries(ledger, [standings[key].attempt_id for key in wanted])
    for named in wanted.values():
        then = "its files are given up" if named.gone else "the next run pays for another attempt"
        click.echo(f"{named.label}: {then}", err=True)
    if not wanted:
        click.echo("no failed or cancelled jobs", err=True)
    return ExitCode.OK


def _must_be_wanted(named: LedgerJob) -> None:
    if named.gone:
        raise UsageError(f"{named.label} is in no manifest any more: no run pays for it")


@click.command()
@JOB
@place_options
def reroll(job: str, **places: Path | None) -> int:
    """Ask for one more take of JOB; the next `run` pays for it and keeps the others."""
    from kling_batch.ledger.names import find  # noqa: PLC0415
    from kling_batch.ledger.overrides import grant_take  # noqa: PLC0415

    with ledger_of(places) as ledger:
        named = find(ledger, job)
        _must_be_wanted(named)
        take = grant_take(ledger, named.batch, named.id)
    click.echo(f"{named.id}: the next run pays for take {take}", err=True)
    return ExitCode.OK
