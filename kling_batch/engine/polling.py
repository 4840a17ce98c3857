"""From an accepted request to its result: poll, read, look it up in the list where it is gone.

Nothing here costs money, so everything is tried again; no failed read is a verdict about a job.
Downloading is `delivery.py`'s. Must not submit anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from anyio import CancelScope

from kling_batch.core.events import RunEvent
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import (
    Charged,
    Failed,
    Failure,
    FailureKind,
    Finished,
    Handle,
    Listed,
    ListForbidden,
    Listing,
    Rendered,
    ResultOutcome,
    Unread,
    Waiting,
)
from kling_batch.core.quantities import parse_iso
from kling_batch.core.records import Attempt
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.errors import AuthError, BudgetError
from kling_batch.fal.classify import is_lock, verdict_of_listed, verdict_of_status
from kling_batch.fal.responses import files_in, first_detail

#: Seconds that fal may refuse the key on every read of a request before the run gives up on it.
REFUSED_PATIENCE = 300.0
#: How often, and for how many seconds, fal must deny knowing our request before we look elsewhere.
#: A single 404 right after a submission is a blip (docs/fal-api.md#status).
NOT_FOUND_READS = 5
NOT_FOUND_SECONDS = 8.0
#: And for how long queue and list together, before the request is a person's case: an outage of
#: fal's gateway answers 404 to everything, and what it hides is paid for.
LOST_SECONDS = 600.0
#: Seconds without one good read of a request before this run leaves it to the next: a run that
#: never ends is no help to anybody, and what is open stays open.
SILENT_SECONDS = 6 * 3600.0
#: After so many failed reads in a row, about a minute, a person is told what a run is waiting for.
TOLD_AFTER = 8
#: Reads of a finished request's result that bring no output before its status's word is taken.
UNREADABLE_RESULTS = 12


@dataclass(frozen=True, slots=True)
class Unresponsive:
    """fal has said nothing readable for hours; the request stays as it is."""

    reason: str


class _RefusedError(Exception):
    """The key may read other requests, and not this one."""


@dataclass(slots=True)
class Patience:
    """How long reads of one request have been failing, and how."""

    failures: int = 0
    missing: int = 0
    missing_since: float = 0.0
    refused_since: float | None = None

    def note(self, unread: Unread) -> None:
        """One more failed read."""
        now = anyio.current_time()
        self.failures += 1
        if not unread.not_found:
            self.missing = 0
        elif not self.missing:
            self.missing_since = now
        self.missing += unread.not_found
        if not unread.refused:
            self.refused_since = None
        elif self.refused_since is None:
            self.refused_since = now

    @property
    def lost(self) -> bool:
        """Whether fal has denied knowing the request long enough to be believed."""
        long_enough = anyio.current_time() - self.missing_since >= NOT_FOUND_SECONDS
        return self.missing >= NOT_FOUND_READS and long_enough

    @property
    def refused_for(self) -> float:
        """Seconds for which the key has been refused on every read of it."""
        return 0.0 if self.refused_since is None else anyio.current_time() - self.refused_since


class Poller:
    """Follows open requests to their end."""

    def __init__(self, context: RunContext, *, locked: Callable[[str], None]) -> None:
        """Shares the run's bench; `locked` is told what fal says of a locked account."""
        self._context = context
        self._tell_locked = locked
        #: When anything about any request was last read.
        self._heard = float("-inf")

    async def collect(self, attempt_id: int, label: str) -> State | Unresponsive:
        """Follow one request until it is rendered, failed, cancelled, or lost in doubt.

        Raises:
            AuthError: fal has refused the key for minutes; the request stays as it is.
            BudgetError: the same, because the account is locked.
        """
        try:
            with anyio.move_on_after(SILENT_SECONDS) as silence:
                return await self._follow(attempt_id, label, silence)
        except _RefusedError as error:
            return Unresponsive(f"fal does not show it to this key: {error}; it is still open")
        hours = SILENT_SECONDS / 3600
        return Unresponsive(
            f"no readable word from fal about it for {hours:.0f} h; it is still open"
        )

    async def _follow(self, attempt_id: int, label: str, silence: CancelScope) -> State:
        """The same, as long as `silence` lets it: each sign of work puts its deadline off.

        That it has finished does not: behind that there is only the result, and it must come.
        """
        attempt = self._context.ledger.attempt(attempt_id)
        assert attempt.handle is not None
        denied_since: float | None = None
        while True:
            finished = await self._finish(attempt, attempt.handle, label, silence)
            if isinstance(finished, Unread):
                outcome: ResultOutcome = finished
                finished = Finished()
            else:
                outcome = await self._result(attempt, attempt.handle, finished, label)
            if not isinstance(outcome, Unread):
                return self._settle(attempt, outcome, finished)
            if denied_since is None:
                denied_since = anyio.current_time()
            patient = anyio.current_time() - denied_since < LOST_SECONDS
            state = await self._look_up(attempt_id, finished, outcome, patient=patient)
            if state is not None:
                return state

    async def _finish(
        self, attempt: Attempt, handle: Handle, label: str, silence: CancelScope
    ) -> Finished | Unread:
        """Poll until the request is COMPLETED, or the queue denies knowing it."""
        patience = Patience()
        seen = attempt.remote_status
        while True:
            await self._context.reads.take()
            outcome = await self._context.queue.status(handle)
            if not isinstance(outcome, Unread):
                self._heard = anyio.current_time()
            match outcome:
                case Finished():
                    if not seen:  # fal knows the id, whoever gave it
                        self._context.ledger.record(
                            attempt.id, Event.REMOTE_OBSERVED, remote_status="COMPLETED"
                        )
                    return outcome
                case Waiting(status, position):
                    patience = Patience()
                    silence.deadline = self._heard + SILENT_SECONDS
                    if status != seen:
                        seen = status
                        self._observe(attempt, label, status, position)
                    await anyio.sleep(pacing.poll_interval(self._age(attempt)))
                case Unread():
                    patience.note(outcome)
                    if patience.lost:
                        return outcome
                    await self._rest(patience, outcome, (attempt.batch, label))

    async def _result(
        self, attempt: Attempt, handle: Handle, finished: Finished, label: str
    ) -> ResultOutcome:
        """Read the result; `Unread` only once it is clear that the queue will not give it."""
        patience = Patience()
        media = self._context.media(attempt.endpoint)
        while True:
            await self._context.reads.take()
            outcome = await self._context.queue.result(handle, finished, media=media)
            if not isinstance(outcome, Unread):
                return outcome
            patience.note(outcome)
            told = bool(finished.error or finished.error_type)
            if told and patience.failures >= UNREADABLE_RESULTS:
                return Failed(verdict_of_status(finished))
            if patience.lost or (outcome.empty and patience.failures >= UNREADABLE_RESULTS):
                return outcome
            await self._rest(patience, outcome, (attempt.batch, label))

    async def _rest(self, patience: Patience, unread: Unread, job: tuple[str, str]) -> None:
        refused = patience.refused_for
        locked = is_lock(403, unread.reason)
        if refused > REFUSED_PATIENCE and self._heard > anyio.current_time() - refused:
            # Others were shown meanwhile: it is about this request, and no reason to leave them.
            if locked:
                self._tell_locked(f"{unread.reason}; still collecting")
            if refused > LOST_SECONDS:
                raise _RefusedError(unread.reason)
        elif refused > REFUSED_PATIENCE and locked:
            raise BudgetError(f"fal shows nothing to a locked account: {unread.reason}")
        elif refused > REFUSED_PATIENCE:
            raise AuthError(f"fal keeps refusing the key: {unread.reason}")
        if patience.failures == TOLD_AFTER:
            batch, label = job
            said = f"fal gives no readable answer about it ({unread.reason}); asking again"
            self._context.notify(RunEvent(kind="unreadable", job=label, batch=batch, message=said))
        pause = pacing.READ.delay(patience.failures, self._context.rng, unread.retry_after)
        await anyio.sleep(pause)

    def _observe(self, attempt: Attempt, label: str, status: str, position: int | None) -> None:
        self._context.ledger.record(attempt.id, Event.REMOTE_OBSERVED, remote_status=status)
        data = {} if position is None else {"position": position}
        self._context.notify(
            RunEvent(kind="progress", job=label, batch=attempt.batch, message=status, data=data)
        )

    def _age(self, attempt: Attempt) -> float:
        since = parse_iso(attempt.submitted_at or attempt.intended_at)
        return max(0.0, (self._context.now() - since).total_seconds())

    # -- verdicts ------------------------------------------------------------------------------

    def _settle(self, attempt: Attempt, outcome: Rendered | Failed, finished: Finished) -> State:
        units = outcome.billable_units
        cost = None if units is None else self._context.cost_of(attempt.endpoint, units)
        if isinstance(outcome, Rendered):
            return self._context.ledger.record(
                attempt.id,
                Event.REMOTE_COMPLETED,
                output=outcome.output,
                billable_units=units,
                cost=cost,
                inference_seconds=finished.inference_seconds,
            )
        failure = outcome.failure
        cancelled = failure.error_type == "client_cancelled"
        return self._context.ledger.record(
            attempt.id,
            Event.CANCEL_CONFIRMED if cancelled else Event.REMOTE_FAILED,
            failure=failure,
            billable_units=units,
            cost=cost,
        )

    async def _look_up(
        self, attempt_id: int, finished: Finished, unread: Unread, *, patient: bool
    ) -> State | None:
        """The queue has forgotten the request: results live an hour there.

        Source: docs/fal-api.md#result-retention.

        The platform's list keeps input and output for a month. What is not there either is for a
        person: it may have been paid. None: nothing is certain yet, ask the queue again.
        """
        attempt = self._context.ledger.attempt(attempt_id)
        item = await self._listed(attempt)
        media = self._context.media(attempt.endpoint)
        outcome = _verdict(item, finished, media=media)
        if outcome is None and attempt.cancel_asked_at and unread.not_found:
            outcome = _cancelled(attempt, item, patient=patient)
        if outcome is not None:
            return self._settle(attempt, outcome, finished)
        if isinstance(item, Unread) or (patient and not unread.empty):
            return None
        reason = "the request list has no output for it"
        if not isinstance(item, Listed):
            reason = item.reason if item else "the request list does not know it either"
        return self._context.ledger.record(
            attempt.id, Event.REMOTE_LOST, reason=f"{unread.reason}; {reason}"
        )

    async def _listed(self, attempt: Attempt) -> Line:
        """The request's line in the list, or why there is none."""
        assert attempt.handle is not None
        answer: ListForbidden | Unread | None = None
        for n in range(1, NOT_FOUND_READS + 1):
            await self._context.reads.take()
            listing = await self._context.queue.listing(
                attempt.endpoint,
                since=attempt.intended_at,
                request_id=attempt.handle.request_id,
            )
            match listing:
                case Listing(items):
                    mine = [i for i in items if i.request_id == attempt.handle.request_id]
                    if mine:
                        return mine[0]
                    answer = None
                case ListForbidden() | Unread():
                    answer = listing
            await anyio.sleep(pacing.READ.delay(n, self._context.rng))
        return answer


#: What the list has of a request; None: it does not know it. `Unread`: nobody can tell now.
Line: TypeAlias = Listed | ListForbidden | Unread | None


def _verdict(item: Line, finished: Finished, *, media: bool) -> Rendered | Failed | None:
    """What the list, or the status seen before, says of a request that the queue denies."""
    if isinstance(item, Listed):
        if (item.status_code or 0) >= 400 or first_detail(item.output):
            return Failed(verdict_of_listed(item))
        files = files_in(item.output)
        if files or (item.output is not None and not media):
            return Rendered(output=item.output, files=files)
    if finished.error or finished.error_type:
        return Failed(verdict_of_status(finished))
    return None


def _cancelled(attempt: Attempt, item: Line, *, patient: bool) -> Failed | None:
    """What is cancelled in its queue fal drops at once; running work may go on.

    The status is the one that was read right before the cancellation was asked for.
    """
    dropped = attempt.remote_status == "IN_QUEUE" and not isinstance(item, ListForbidden)
    if isinstance(item, Unread) or (patient and not dropped):
        return None
    # Running work that vanished may be billed all the same.
    charged = Charged.NO if attempt.remote_status == "IN_QUEUE" else Charged.UNKNOWN
    failure = Failure(
        kind=FailureKind.ABANDONED,
        message="cancelled at fal",
        charged=charged,
        error_type="client_cancelled",
    )
    return Failed(failure)
