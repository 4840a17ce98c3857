"""A person's word to the ledger: `resolve`, `retry`, `reroll`, `adopt`. Nothing is sent here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kling_batch.cli.options import JOB, ledger_of, place_options
from kling_batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from kling_batch.core.records import Attempt
    from kling_batch.ledger.ledger import Ledger
    from kling_batch.ledger.names import LedgerJob

F = TypeVar("F", bound=Callable[..., Any])


@click.command()
@JOB
@click.option("--request-id", metavar="ID", help="It is at fal, under this id: collect it")
@click.option("--not-submitted", is_flag=True, help="fal never got it: it may be sent again")
@place_options
def resolve(job: str, request_id: str | None, *, not_submitted: bool, **places: Path | None) -> int:
    """Settle a submission in doubt by your word, after a look into the fal dashboard."""
    from kling_batch.core.lifecycle import Event, State  # noqa: PLC0415
    from kling_batch.core.outcomes import Charged, Failure, FailureKind  # noqa: PLC0415
    from kling_batch.fal.client import handle_of  # noqa: PLC0415 - fal-client loads late
    from kling_batch.ledger.names import find  # noqa: PLC0415
    from kling_batch.ledger.overrides import id_is_users, mark_not_submitted  # noqa: PLC0415

    if bool(request_id) == not_submitted:
        raise UsageError("say one of --request-id ID and --not-submitted")
    if request_id and not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", request_id):
        raise UsageError(f"{request_id!r} is no request id")
    with ledger_of(places) as ledger:
        ledger.recover()
        named = find(ledger, job)
        attempt = _questionable(ledger, named)
        if not_submitted:
            # What fal itself gave an id may have been billed, whatever became of it.
            known = attempt.handle is not None and not id_is_users(ledger, attempt)
            failure = Failure(
                kind=FailureKind.NOT_SUBMITTED,
                message="never reached fal, you said",
                charged=Charged.UNKNOWN if known else Charged.NO,
            )
            mark_not_submitted(ledger, attempt, failure)
            then = "it is in no manifest any more" if named.gone else "the next run sends it"
            if attempt.handle is not None:
                then += f"; before, it was request {attempt.handle.request_id}"
            click.echo(f"{named.label}: taken as never submitted; {then}", err=True)
            return ExitCode.OK
        before = attempt.handle.request_id if attempt.handle else None
        if request_id in ledger.request_ids() - {before}:
            raise UsageError(f"request {request_id} belongs to another job of this ledger")
        if before not in (None, request_id):
            attempt = _without_id(ledger, named, attempt)
        handle = handle_of(attempt.endpoint, str(request_id))
        if attempt.state is State.IN_DOUBT:
            ledger.record(attempt.id, Event.RECONCILED_FOUND, handle=handle, by="person")
    click.echo(f"{named.label}: the next run collects request {request_id}", err=True)
    return ExitCode.OK


def _questionable(ledger: Ledger, named: LedgerJob) -> Attempt:
    """The attempt that a person may decide about: in doubt, or under an id that they gave."""
    from kling_batch.core.lifecycle import State  # noqa: PLC0415
    from kling_batch.ledger.overrides import id_is_users  # noqa: PLC0415

    for attempt in ledger.attempts_of(named.key):
        guessed = attempt.state is State.SUBMITTED and id_is_users(ledger, attempt)
        if attempt.state is State.IN_DOUBT or guessed:
            return attempt
    raise UsageError(f"{named.label} is not in doubt; see: kling-batch show {named.label}")


def _without_id(ledger: Ledger, named: LedgerJob, attempt: Attempt) -> Attempt:
    """The same doubt anew, where the id that it has was a person's, and wrong."""
    from kling_batch.core.outcomes import Charged, Failure, FailureKind  # noqa: PLC0415
    from kling_batch.ledger.overrides import id_is_users, restart_in_doubt  # noqa: PLC0415

    assert attempt.handle is not None
    if not id_is_users(ledger, attempt):
        raise UsageError(
            f"{named.label} was accepted by fal as {attempt.handle.request_id}; "
            "an id of fal's is never changed"
        )
    failure = Failure(
        kind=FailureKind.NOT_SUBMITTED,
        message=f"{attempt.handle.request_id} was the wrong id, you said",
        charged=Charged.NO,
    )
    return restart_in_doubt(ledger, attempt, failure)
