"""Cancellation of open requests at fal.

Cancelling does not guarantee a refund: what is rendering may finish and be billed. The next run
polls the request and records how it ended. Must not submit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

import anyio

from kling_batch.core.jobs import JobKey
from kling_batch.core.lifecycle import COMPLETED, Event, State
from kling_batch.core.outcomes import CancelAnswer, Finished, StatusOutcome, Unread, Waiting
from kling_batch.core.records import Attempt
from kling_batch.fal.classify import REMOVED
from kling_batch.fal.client import connect
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.names import by_key, find
from kling_batch.operations.services import gateway_of
from kling_batch.settings import Settings

MESSAGES: dict[CancelAnswer, str] = {
    CancelAnswer.REQUESTED: "asked (202); what is rendering already may finish and be billed",
    CancelAnswer.REMOVED: "removed from the queue before it began (200); nothing is billed",
    CancelAnswer.ALREADY_COMPLETED: "too late (400): it has finished; the next run collects it",
    CancelAnswer.NOT_FOUND: "fal does not know it (404); the next run looks it up",
    CancelAnswer.REFUSED: "fal refuses the key, or shows nothing to a locked account; nothing has "
    "changed",
    CancelAnswer.UNREAD: "fal gave no answer; nothing has changed",
}


def cancel_jobs(
    ledger: Ledger,
    settings: Settings,
    names: Sequence[str] | None,
    notify: Callable[[str, str], None],
) -> set[CancelAnswer]:
    """Ask fal to cancel every open request of these jobs; its answers.

    Args:
        ledger: gets each answer.
        settings: say which service.
        names: of jobs, as people type them; None: every open request of the ledger.
        notify: gets the job's label and a message, once an attempt.

    Raises:
        UsageError: there is no such job.
    """
    ledger.must_belong_to(settings.service)
    keys = None if names is None else {find(ledger, name).key for name in names}

    def report(attempt: Attempt, message: str) -> None:
        notify(by_key(ledger, attempt.job_key).label, message)

    for attempt in _of(keys, ledger.attempts_in(State.SUBMITTING, State.IN_DOUBT)):
        report(attempt, "in doubt: no request is known to cancel; the next run looks for it")
    attempts = _of(keys, ledger.attempts_in(State.SUBMITTED))
    if not attempts:
        return set()
    with gateway_of(settings) as gateway:
        return anyio.run(partial(cancel_requests, ledger, attempts, gateway, report))


def _of(keys: Collection[JobKey] | None, attempts: Sequence[Attempt]) -> list[Attempt]:
    return [attempt for attempt in attempts if keys is None or attempt.job_key in keys]


async def cancel_requests(
    ledger: Ledger,
    attempts: Sequence[Attempt],
    gateway: str | None,
    notify: Callable[[Attempt, str], None],
) -> set[CancelAnswer]:
    """Ask fal to cancel each attempt and report each answer; all answers."""
    answers: list[CancelAnswer] = []
    async with connect(gateway) as fal:
        for attempt in attempts:
            assert attempt.handle is not None
            # What is cancelled in the queue never began; of what was rendering, nobody can say
            # whether it is billed. Only a look right before tells them apart.
            status = _status(await fal.queue.status(attempt.handle), attempt)
            answer = await fal.queue.cancel(attempt.handle)
            ledger.record(attempt.id, Event.CANCEL_REQUESTED, answer=answer, remote_status=status)
            if answer is CancelAnswer.REMOVED and status == "IN_QUEUE":
                ledger.record(attempt.id, Event.CANCEL_CONFIRMED, failure=REMOVED)
            answers.append(answer)
            notify(attempt, MESSAGES[answer])
    return set(answers)


def _status(look: StatusOutcome, attempt: Attempt) -> str:
    """Status that fal shows; empty where it never showed one, which may be a wrong id."""
    match look:
        case Waiting(status):
            return status
        case Finished():
            return COMPLETED
        case Unread():
            return "UNKNOWN" if attempt.remote_status else ""
