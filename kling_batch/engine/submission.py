"""Submission of a job: the only code that spends money.

Order, never changed: inputs ready → rate limit → intent committed (caps checked in the same
transaction) → POST, once, shielded → its answer committed. Between intent and POST there is no
`await`. Must not poll or download; what follows a failed attempt is decided by `planning/retry.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import anyio
from anyio import CancelScope

from kling_batch.core.events import EventKind
from kling_batch.core.jobs import JSON, Job, substitute
from kling_batch.core.lifecycle import Event, IllegalTransitionError, State
from kling_batch.core.outcomes import (
    Accepted,
    Failure,
    FailureKind,
    Handle,
    NotSent,
    Refused,
    SubmitOutcome,
    Unconfirmed,
    Unread,
    UploadError,
)
from kling_batch.core.records import OverCap
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.engine.job_inputs import JobInputs
from kling_batch.engine.pacing import Backoff
from kling_batch.errors import LedgerError
from kling_batch.fal.classify import is_admin_lock
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.ledger import RequestClaimedError


class Repetition(NamedTuple):
    """How a POST is repeated that provably was not accepted."""

    #: Attempts in a row before the job is left for the next run.
    most: int
    backoff: Backoff
    event: EventKind


#: About a minute without connection, some of 429, a few seconds of a locked account or a refused
#: key: one refusal among good answers (docs/fal-api.md#account-lock) must not end a night.
REPETITIONS: dict[FailureKind, Repetition] = {
    FailureKind.UNREACHABLE: Repetition(8, pacing.SUBMIT, EventKind.UNREACHABLE),
    FailureKind.THROTTLED: Repetition(14, pacing.SUBMIT, EventKind.THROTTLED),
    FailureKind.LOCKED: Repetition(3, pacing.LOCKED, EventKind.LOCKED),
    FailureKind.AUTH: Repetition(2, pacing.LOCKED, EventKind.RETRYING),
}
#: A lock may flip on and off although there is credit (docs/fal-api.md#account-lock). Where fal has
#: accepted something in this run, so many slower attempts follow before the lock is believed.
SECOND_ROUND = 4
#: Seconds for all repetitions together, also where fal asks for longer pauses.
PATIENCE = 3600.0

#: Seconds between looks at a ledger that another program holds.
LEDGER_SECONDS = 1.0

#: Circuit breaker: after this many unconfirmed submissions in a row, submit one at a time with
#: growing pauses until fal confirms or refuses one.
BREAKER_THRESHOLD = 3


@dataclass(frozen=True, slots=True)
class InputsFailed:
    """The inputs could not be prepared; no attempt was made."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class SubmittingEnded:
    """The run stopped submitting while this job waited for its turn, or a person wants it no more.

    No attempt was made.
    """


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt was made; `state` is the one that the answer to its POST led to."""

    attempt_id: int
    state: State
    #: When the intent was committed, on the loop's clock.
    intended_at: float
    #: Why fal certainly did not accept it; None where it did, or may have.
    failure: Failure | None = None
    #: Seconds that fal asked to wait before the next try.
    hint: float | None = None


@dataclass(frozen=True, slots=True)
class BillsUnread:
    """The limit over all hosts of the account cannot be held; no attempt was made."""

    unread: Unread


class Submitter:
    """Makes attempts at jobs."""

    def __init__(self, context: RunContext) -> None:
        """One a run: it counts unconfirmed submissions over all jobs."""
        self._context = context
        self._inputs = JobInputs(context)
        self._unconfirmed_in_a_row = 0
        self._accepted = False
        self._one_at_a_time = anyio.Lock()
        self._started = context.now(), anyio.current_time()

    async def submit_job(
        self, job: Job, tries: int
    ) -> Attempted | OverCap | InputsFailed | BillsUnread | SubmittingEnded:
        """Make attempts at a job until fal accepts or refuses one, or one is in doubt.

        One POST is one attempt. What provably was not accepted is settled before the pause, so
        that nothing is in doubt if the program dies in it, and is checked against the caps again
        after it.

        Raises:
            LedgerError: the ledger cannot take a row; nothing was sent unless it says so.
        """
        try:
            payload = substitute(job.arguments, await self._inputs.urls(job))
        except UploadError as error:
            return InputsFailed(error.failure)
        refusals: Counter[FailureKind] = Counter()
        deadline: float | None = None
        while True:
            result = await self._attempt_in_turn(job, tries, payload)
            if not isinstance(result, Attempted) or result.failure is None:
                return result
            # Counted from the first refusal, not from the wait for the rate limit before it.
            deadline = deadline or anyio.current_time() + PATIENCE
            pause = self._pause_after(job, result, result.failure, refusals)
            if pause is None or anyio.current_time() + pause > deadline:
                return result
            with self._context.submit_stop.cuts_short():
                await anyio.sleep(pause)

    async def _attempt_in_turn(
        self, job: Job, tries: int, payload: JSON
    ) -> Attempted | OverCap | BillsUnread | SubmittingEnded:
        """Make one attempt, once rate limit and circuit breaker allow it."""
        context = self._context
        if not context.submit_rate.take_now():
            with context.submit_stop.cuts_short():
                await context.submit_rate.take()
        if self._unconfirmed_in_a_row < BREAKER_THRESHOLD:
            return await self._attempt(job, tries, payload)
        async with self._one_at_a_time:
            excess = self._unconfirmed_in_a_row - BREAKER_THRESHOLD
            if excess >= 0 and not context.submit_stop.is_set:
                await self._wait_for_breaker(job, excess)
            return await self._attempt(job, tries, payload)

    async def _wait_for_breaker(self, job: Job, excess: int) -> None:
        pause = pacing.PROBE.delay(excess + 1, self._context.rng)
        count = self._unconfirmed_in_a_row
        message = f"{count} submissions in a row are in doubt; the next in {pause:.0f} s"
        self._context.emit(EventKind.BRAKING, job, message, seconds=round(pause, 3))
        with self._context.submit_stop.cuts_short():
            await anyio.sleep(pause)

    async def _attempt(
        self, job: Job, tries: int, payload: JSON
    ) -> Attempted | OverCap | BillsUnread | SubmittingEnded:
        context = self._context
        if unread := await self._ready_to_pay():
            return BillsUnread(unread)
        if context.submit_stop.is_set or context.policy.withdrawn(job):
            return SubmittingEnded()
        # No await from here to the POST: the caps were checked against exactly what is spent.
        intended = context.ledger.intend(
            job,
            payload,
            tries=tries,
            caps=context.caps,
            cost_ratios=context.cost_ratios,
            moment=self._wall_time(),
        )
        if isinstance(intended, OverCap):
            return intended
        intended_at = anyio.current_time()
        # A cancelled POST is a lost answer, and its attempt would be in doubt: the scope is
        # shielded, and the client's own timeout bounds it.
        with CancelScope(shield=True):
            outcome = await context.queue.submit(
                job.endpoint,
                payload,
                tags={"batch": job.batch, "job": job.label, "attempt": str(intended)},
                start_timeout=context.policy.start_timeout,
            )
        unconfirmed = isinstance(outcome, Unconfirmed)
        self._unconfirmed_in_a_row = self._unconfirmed_in_a_row + 1 if unconfirmed else 0
        if isinstance(outcome, Accepted):
            self._accepted = True
            context.submit_rate.accepted()
        failure, hint = _not_accepted(outcome)
        state = self._record(intended, job, outcome, failure)
        await context.log_sync.done()
        return Attempted(intended, state, intended_at, failure, hint)

    async def _ready_to_pay(self) -> Unread | None:
        """Wait until the ledger is free and the account's bills are young enough to pay by."""
        context = self._context
        while True:
            await self._ledger_free()
            if (
                context.policy.account is None
                or context.account.fresh
                or context.submit_stop.is_set
            ):
                return None
            unread = None
            with context.submit_stop.cuts_short():
                unread = await context.account.renew(context.queue, context.now(), context.rng)
            if unread is not None:
                return unread

    async def _ledger_free(self) -> None:
        """Wait while another program writes to the ledger: before a POST there is no hurry."""
        context = self._context
        reported = False
        while not context.ledger.is_free():
            if context.submit_stop.is_set:
                return
            if not reported:
                message = "another program holds the ledger; submitting goes on when it lets go"
                context.emit(EventKind.WARNING, None, message)
            reported = True
            with context.submit_stop.cuts_short():
                await anyio.sleep(LEDGER_SECONDS)

    def _wall_time(self) -> datetime:
        """Wall time, limited by monotonic time since the start.

        A clock that jumps forward cannot open the window of the 24-hour cap early.
        """
        wall, loop = self._started
        passed = timedelta(seconds=anyio.current_time() - loop)
        return min(self._context.now(), wall + passed)

    def _record(
        self, attempt_id: int, job: Job, outcome: SubmitOutcome, failure: Failure | None
    ) -> State:
        ledger = self._context.ledger
        match outcome:
            case Accepted(handle):
                return self._record_accepted(attempt_id, job, handle)
            case Unconfirmed(reason):
                return ledger.record(attempt_id, Event.SUBMIT_UNCONFIRMED, reason=reason)
            case Refused() | NotSent():
                return ledger.record(attempt_id, Event.SUBMIT_REFUSED, failure=failure)

    def _record_accepted(self, attempt_id: int, job: Job, handle: Handle) -> State:
        ledger = self._context.ledger
        try:
            return ledger.record(attempt_id, Event.SUBMIT_ACCEPTED, handle=handle)
        except RequestClaimedError:
            # Mostly an identical attempt in doubt, which has claimed this id from the request list
            # meanwhile; its own request is still unclaimed there, and can be adopted for this one.
            reason = f"fal answered with request {handle.request_id}, which another attempt has"
            return ledger.record(attempt_id, Event.SUBMIT_UNCONFIRMED, reason=reason)
        except (LedgerError, IllegalTransitionError) as error:
            # Paid, and not recorded: the message must contain the id.
            resolve = command_on(ledger.path, "resolve", job.label)
            raise LedgerError(
                f"{error}\n{job.label} was accepted by fal as request {handle.request_id}; "
                f"the next run looks it up, or: {resolve.having('--request-id', handle.request_id)}"
            ) from error

    def _pause_after(
        self, job: Job, result: Attempted, failure: Failure, refusals: Counter[FailureKind]
    ) -> float | None:
        """Seconds until the next attempt at what fal did not accept; None: not in this run."""
        kind, hint = failure.kind, result.hint
        if kind not in REPETITIONS:
            return None
        most, backoff, event = REPETITIONS[kind]
        refusals[kind] += 1
        count = refusals[kind]
        if count >= most and self._may_flip(failure):
            most, count, backoff = SECOND_ROUND + 1, count - most + 1, pacing.LOCKED_AGAIN
        if count >= most:
            return None
        pause = backoff.delay(count, self._context.rng, hint)
        if kind is not FailureKind.UNREACHABLE:
            # fal told one job to slow down, so all do, but only for as long as fal asked: the
            # growth of the pause is this job's own.
            self._context.submit_rate.hold(min(pause, hint or backoff.first))
        if kind is FailureKind.THROTTLED:
            self._context.submit_rate.throttled()
        message = f"{failure.message}; again in {pause:.0f} s"
        self._context.emit_attempt(
            event,
            job,
            result.attempt_id,
            message,
            reason=kind,
            charged=failure.charged,
            seconds=round(pause, 3),
        )
        return pause

    def _may_flip(self, failure: Failure) -> bool:
        """Whether a lock may be one that comes and goes; an administrator's stays."""
        locked = failure.kind is FailureKind.LOCKED
        return locked and self._accepted and not is_admin_lock(failure.message)


def _not_accepted(outcome: SubmitOutcome) -> tuple[Failure | None, float | None]:
    """Why fal certainly did not accept it, and how long it asked to wait."""
    match outcome:
        case Refused(failure):
            return failure, None
        case NotSent(reason, hint, throttled):
            kind = FailureKind.THROTTLED if throttled else FailureKind.UNREACHABLE
            return Failure(kind=kind, message=reason), hint
        case _:
            return None, None
