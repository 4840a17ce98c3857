"""Settling of a submission in doubt by the user, after a look at fal's dashboard. Sends nothing.

The ledger's own rows are changed by `ledger.overrides`; here is decided which attempt a person
may decide about, and what that means for the money.
"""

from __future__ import annotations

import re

from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import Charged, Failure, FailureKind
from kling_batch.core.records import Attempt
from kling_batch.errors import UsageError
from kling_batch.fal.addresses import handle_of
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.names import LedgerJob, find
from kling_batch.ledger.overrides import id_is_users, mark_not_submitted, restart_in_doubt


def resolve_submitted(ledger: Ledger, name: str, request_id: str) -> str:
    """Give the job's submission in doubt this request id; the message for the person.

    Raises:
        UsageError: no such job, no submission in doubt, or no free request id.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", request_id):
        raise UsageError(f"{request_id!r} is no request id")
    ledger.recover()
    job = find(ledger, name)
    attempt = _resolvable(ledger, job)
    before = attempt.handle.request_id if attempt.handle else None
    if request_id in ledger.request_ids() - {before}:
        raise UsageError(f"request {request_id} belongs to another job of this ledger")
    if before not in (None, request_id):
        attempt = _without_id(ledger, job, attempt)
    handle = handle_of(attempt.endpoint, request_id)
    if attempt.state is State.IN_DOUBT:
        ledger.record(attempt.id, Event.RECONCILED_FOUND, handle=handle, by="person")
    return f"{job.label}: the next run collects request {request_id}"


def resolve_not_submitted(ledger: Ledger, name: str) -> str:
    """Record that fal never got the job's submission; the message for the person.

    Raises:
        UsageError: no such job, or no submission in doubt.
    """
    ledger.recover()
    job = find(ledger, name)
    attempt = _resolvable(ledger, job)
    # What fal itself gave an id may have been billed, whatever became of it.
    known_to_fal = attempt.handle is not None and not id_is_users(ledger, attempt)
    failure = Failure(
        kind=FailureKind.NOT_SUBMITTED,
        message="never reached fal, you said",
        charged=Charged.UNKNOWN if known_to_fal else Charged.NO,
    )
    mark_not_submitted(ledger, attempt, failure)
    then = "it is in no manifest any more" if job.gone else "the next run sends it"
    if attempt.handle is not None:
        then += f"; before, it was request {attempt.handle.request_id}"
    return f"{job.label}: taken as never submitted; {then}"


def _resolvable(ledger: Ledger, job: LedgerJob) -> Attempt:
    """The attempt that a person may decide about: in doubt, or under an id that they gave."""
    for attempt in ledger.attempts_of(job.key):
        guessed = attempt.state is State.SUBMITTED and id_is_users(ledger, attempt)
        if attempt.state is State.IN_DOUBT or guessed:
            return attempt
    show = command_on(ledger.path, "show", job.label)
    raise UsageError(f"{job.label} is not in doubt; see: {show}")


def _without_id(ledger: Ledger, job: LedgerJob, attempt: Attempt) -> Attempt:
    """The submission in doubt once more, where a person gave it a wrong id."""
    assert attempt.handle is not None
    if not id_is_users(ledger, attempt):
        raise UsageError(
            f"{job.label} was accepted by fal as {attempt.handle.request_id}; "
            "an id of fal's is never changed"
        )
    failure = Failure(
        kind=FailureKind.NOT_SUBMITTED,
        message=f"{attempt.handle.request_id} was the wrong id, you said",
        charged=Charged.NO,
    )
    return restart_in_doubt(ledger, attempt, failure)
