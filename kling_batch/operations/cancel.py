"""Asking fal to stop open requests, and telling honestly what it said.

A cancellation is a request, not a refund: what is rendering may finish and be billed. The verdict
comes with the next look at the request. Must not submit.
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

WORDS: dict[CancelAnswer, str] = {
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
    tell: Callable[[Attempt, str], None],
) -> set[CancelAnswer]:
    """Ask for each attempt; everything that fal answered."""
    auth = DUMMY_AUTHORIZATION if gateway else authorization()
    transport = GatewayTransport(gateway) if gateway else None
    answers: list[CancelAnswer] = []
    async with connections(auth, transport) as (api, _):
        queue = FalQueue(api)
        for attempt in attempts:
            assert attempt.handle is not None
            # What vanishes from the queue was never begun; of what was running, nobody can say
            # whether it is billed. Only a look right before tells which of the two it is.
            status = _shown(await queue.status(attempt.handle), attempt)
            answer = await queue.cancel(attempt.handle)
            ledger.record(attempt.id, Event.CANCEL_REQUESTED, answer=answer, remote_status=status)
            answers.append(answer)
            tell(attempt, WORDS[answer])
    return set(answers)


def _shown(look: StatusOutcome, attempt: Attempt) -> str:
    """Where fal shows the request; nothing where it never has, which may be a wrong id."""
    match look:
        case Waiting(status):
            return status
        case Finished():
            return "COMPLETED"
        case Unread():
            return "UNKNOWN" if attempt.remote_status else ""
