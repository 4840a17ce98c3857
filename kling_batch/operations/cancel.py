"""Cancellation of open requests at fal.

Cancelling does not guarantee a refund: what is rendering may finish and be billed. The next run
polls the request and records how it ended. Must not submit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kling_batch.core.lifecycle import Event
from kling_batch.core.outcomes import CancelAnswer, Finished, StatusOutcome, Unread, Waiting
from kling_batch.core.records import Attempt
from kling_batch.fal.client import FalQueue
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION, authorization
from kling_batch.fal.transport import GatewayTransport, connections
from kling_batch.ledger.ledger import Ledger

MESSAGES: dict[CancelAnswer, str] = {
    CancelAnswer.REQUESTED: "asked (202); what is rendering already may finish and be billed",
    CancelAnswer.ALREADY_COMPLETED: "too late (400): it has finished; the next run collects it",
    CancelAnswer.NOT_FOUND: "fal does not know it (404); the next run looks it up",
    CancelAnswer.REFUSED: "fal refuses the key, or shows nothing to a locked account; nothing has "
    "changed",
    CancelAnswer.UNREAD: "fal gave no answer; nothing has changed",
}


async def cancel(
    ledger: Ledger,
    attempts: Sequence[Attempt],
    gateway: str | None,
    notify: Callable[[Attempt, str], None],
) -> set[CancelAnswer]:
    """Ask fal to cancel each attempt and report each answer; all answers."""
    auth = DUMMY_AUTHORIZATION if gateway else authorization()
    transport = GatewayTransport(gateway) if gateway else None
    answers: list[CancelAnswer] = []
    async with connections(auth, transport) as (api, _):
        queue = FalQueue(api)
        for attempt in attempts:
            assert attempt.handle is not None
            # A request that vanishes from the queue was never started; whether a running one is
            # billed is unknown. Only the status right before the request tells them apart.
            status = _shown(await queue.status(attempt.handle), attempt)
            answer = await queue.cancel(attempt.handle)
            ledger.record(attempt.id, Event.CANCEL_REQUESTED, answer=answer, remote_status=status)
            answers.append(answer)
            notify(attempt, MESSAGES[answer])
    return set(answers)


def _shown(look: StatusOutcome, attempt: Attempt) -> str:
    """The request's status at fal; empty where fal never showed it, which may be a wrong id."""
    match look:
        case Waiting(status):
            return status
        case Finished():
            return "COMPLETED"
        case Unread():
            return "UNKNOWN" if attempt.remote_status else ""
