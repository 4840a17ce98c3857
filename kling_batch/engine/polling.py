"""Poller: follows an accepted request to its result, or finds it in the request list.

Reads are free of charge, so all are tried again; no failed read is a verdict about a job.
Downloading is done by `delivery.py`. Must not submit anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import anyio

from kling_batch.catalog.registry import falls_short
from kling_batch.core.events import EventKind
from kling_batch.core.jobs import JSON, Job
from kling_batch.core.lifecycle import COMPLETED, Event, State
from kling_batch.core.outcomes import (
    Failed,
    Finished,
    Handle,
    Rendered,
    ResultOutcome,
    StatusOutcome,
    Unread,
    Waiting,
)
from kling_batch.core.quantities import MicroUSD, format_usd, parse_time
from kling_batch.core.records import Attempt, Facts
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.engine.early_results import is_measured
from kling_batch.engine.looks import Look, Looks
from kling_batch.engine.request_lookup import Lost, RequestLookup, cancelled_free
from kling_batch.errors import AuthError, BudgetError
from kling_batch.fal.classify import CANCELLED, is_lock, verdict_of_status

#: Seconds for which fal may refuse the key on every read of a request before the run gives it up.
REFUSED_PATIENCE = 300.0
#: How many reads in a row, over how many seconds, must answer 404 before the request list is asked.
#: A single 404 right after a submission is a blip (docs/fal-api.md#status).
NOT_FOUND_READS = 5
NOT_FOUND_SECONDS = 8.0
#: Seconds for which queue and list must both deny the request before it is in doubt: an outage of
#: fal's gateway answers 404 to everything, and what it hides is paid for.
LOST_SECONDS = 600.0
#: Seconds without one good read of a request before this run leaves it to the next: a run must end,
#: and what is open stays open.
SILENT_SECONDS = 6 * 3600.0
#: Failed reads in a row, about a minute, before the run reports what it is waiting for.
REPORT_AFTER = 8
#: Seconds that a result may take that is asked for before it is known to be there: how fal answers
#: then is not known, and it may wait.
EARLY_PATIENCE = 10.0
#: Reads of a finished request's result without output before the error in its status is believed.
UNREADABLE_RESULTS = 12


@dataclass(frozen=True, slots=True)
class Unresponsive:
    """fal has not answered status checks for hours; the request stays as it is."""

    reason: str


class _RefusedError(Exception):
    """The key may read other requests, but not this one."""


@dataclass(slots=True)
class ReadFailures:
    """Consecutive failed reads of one request."""

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
        """Whether fal has answered 404 often and long enough to be believed."""
        long_enough = anyio.current_time() - self.missing_since >= NOT_FOUND_SECONDS
        return self.missing >= NOT_FOUND_READS and long_enough

    @property
    def refused_for(self) -> float:
        """Seconds for which every read was refused."""
        return 0.0 if self.refused_since is None else anyio.current_time() - self.refused_since


class _SilentError(Exception):
    """No good read of a request was had for hours."""


class _Silence:
    """The time for which no good read of a request was had, and how often it was asked for."""

    def __init__(self, begun: float) -> None:
        """Begins at this time."""
        self.broken(begun)

    def broken(self, at: float) -> None:
        """Something was heard at this time."""
        self._since, self._asked = at, 0

    def goes_on(self) -> None:
        """One more read was not answered; raises `_SilentError` where it was one too many."""
        self._asked += 1
        now = anyio.current_time()
        if now < self._since + SILENT_SECONDS:
            return
        if self._asked >= REPORT_AFTER:
            raise _SilentError
        # The program itself was stopped meanwhile, and hardly asked: that is no silence.
        self.broken(now)


@dataclass(slots=True)
class _Request:
    """A request that is followed, and what is known of it."""

    attempt: Attempt
    handle: Handle
    job: Job
    look: Look
    silence: _Silence
    #: Its latest status in the ledger.
    recorded: str | None
    #: Whether fal said that it has ended, or gave its output.
    completed: bool = False
    #: Whether its result is one only if it holds files.
    media: bool = False


class Poller:
    """Follows open requests to their end."""

    def __init__(self, context: RunContext, *, locked: Callable[[str], None]) -> None:
        """`locked` is called with fal's message about a locked account."""
        self._context = context
        self._on_locked = locked
        self._lookup = RequestLookup(context)
        self._looks = Looks(context.reads.reconsider, context.ledger.services())
        #: When anything about any request was last read.
        self._last_read = float("-inf")

    async def collect(self, attempt: Attempt, job: Job) -> State | Unresponsive:
        """Follow one request until it is rendered, failed, cancelled or in doubt.

        Nobody but this task changes the attempt meanwhile: the run holds the ledger's lock.

        Raises:
            AuthError: fal has refused the key for minutes; the request stays as it is.
            BudgetError: the same, because the account is locked.
        """
        now = anyio.current_time()
        accepted = now - self._age(attempt)
        assert attempt.handle is not None
        measured = is_measured(attempt.handle.request_id)
        look = self._looks.follow(
            attempt.endpoint, attempt.payload, accepted, now, measured=measured
        )
        silence, status = _Silence(now), attempt.remote_status
        media = self._context.media(attempt.endpoint)
        request = _Request(attempt, attempt.handle, job, look, silence, status, media=media)
        self._context.reads.budget.open += 1
        try:
            return await self._follow(request)
        except _RefusedError as error:
            return Unresponsive(f"fal does not show it to this key: {error}; it is still open")
        except _SilentError:
            hours = SILENT_SECONDS / 3600
            return Unresponsive(
                f"fal has not answered status checks for {hours:.0f} h; "
                "the request is still open and the next run polls it again"
            )
        finally:
            self._context.reads.budget.open -= 1
            look.left()

    async def _follow(self, request: _Request) -> State:
        """The same; each status of unfinished work breaks the silence.

        COMPLETED does not: after it, only the result is left to read.
        """
        attempt_id = request.attempt.id
        denied_since: float | None = None
        while True:
            finished = await self._finish(request)
            if isinstance(finished, Rendered):
                return self._settle(request, finished, None)
            if isinstance(finished, Unread):
                outcome: ResultOutcome = finished
                finished = Finished()
            else:
                outcome = await self._result(request, finished)
            if not isinstance(outcome, Unread):
                return self._settle(request, outcome, finished)
            if denied_since is None:
                denied_since = anyio.current_time()
            patient = anyio.current_time() - denied_since < LOST_SECONDS
            # Read again: its status may have been observed meanwhile.
            current = self._context.ledger.attempt(attempt_id)
            verdict = await self._lookup.verdict(current, finished, outcome, patient=patient)
            match verdict:
                case None:
                    continue
                case Lost(reason):
                    return self._context.ledger.record(attempt_id, Event.REMOTE_LOST, reason=reason)
                case Rendered() | Failed():
                    return self._settle(request, verdict, finished)

    async def _finish(self, request: _Request) -> Finished | Rendered | Unread:
        """Poll until it is COMPLETED or gives its result, or the queue does not know it."""
        look, silence = request.look, request.silence
        failing = ReadFailures()
        while True:
            outcome = await self._look_at(request)
            if not isinstance(outcome, Unread):
                self._last_read = anyio.current_time()
            match outcome:
                case Finished():
                    look.finished(outcome.inference_seconds)
                    request.completed = True
                    return outcome
                case Rendered():
                    look.gave_result()
                    request.completed = True
                    return outcome
                case Waiting(status, position):
                    failing = ReadFailures()
                    silence.broken(self._last_read)
                    look.waiting(queued=status == "IN_QUEUE", position=position)
                    if status != request.recorded:
                        self._observe(request, status, position)
                case Unread():
                    failing.note(outcome)
                    silence.goes_on()
                    if failing.lost:
                        return outcome
                    await self._pause(failing, outcome, request.job)

    async def _result(self, request: _Request, finished: Finished) -> ResultOutcome:
        """Read the result; `Unread` once it is clear that the queue will not give it."""
        attempt = request.attempt
        failing = ReadFailures()
        ask = partial(
            self._context.queue.result,
            request.handle,
            finished,
            media=request.media,
            cancelled=attempt.cancel_asked_at is not None,
        )
        while True:
            outcome = await self._context.reads.read(ask)
            if not isinstance(outcome, Unread):
                return outcome
            if request.recorded != COMPLETED:  # fal knows the id, so it is certain from here on
                self._record_status(request, COMPLETED)
            failing.note(outcome)
            request.silence.goes_on()
            ended_badly = bool(finished.error or finished.error_type)
            if ended_badly and failing.failures >= UNREADABLE_RESULTS:
                return Failed(verdict_of_status(finished))
            if failing.lost or (outcome.empty and failing.failures >= UNREADABLE_RESULTS):
                return outcome
            await self._pause(failing, outcome, request.job)

    async def _look_at(self, request: _Request) -> StatusOutcome | Rendered:
        """Its status, when it is due; or its output, where that is likely and there.

        What is no output says nothing about it, whatever it is: before a request is COMPLETED, fal
        answers in more than one way (docs/fal-api.md#result).
        """
        reads, look = self._context.reads, request.look
        seen = await reads.read(partial(self._first_look, request), look.due)
        if seen is None:
            seen = await reads.read(partial(self._status, request))
        return seen

    async def _first_look(self, request: _Request) -> StatusOutcome | Rendered | None:
        """The same; None where the output was asked for and was not there."""
        look = request.look
        look.asked = anyio.current_time()
        if not (request.media and look.result_likely):
            return await self._status(request)
        result: ResultOutcome | None = None
        with anyio.move_on_after(EARLY_PATIENCE):
            result = await self._context.queue.result(request.handle, Finished(), media=True)
        if isinstance(result, Rendered):
            return result
        look.gave_no_result()
        return result if isinstance(result, Unread) and result.retry_after else None

    async def _status(self, request: _Request) -> StatusOutcome:
        request.look.asked = anyio.current_time()
        return await self._context.queue.status(request.handle)

    async def _pause(self, failing: ReadFailures, unread: Unread, job: Job) -> None:
        refused = failing.refused_for
        locked = is_lock(403, unread.reason)
        if refused > REFUSED_PATIENCE and self._last_read > anyio.current_time() - refused:
            # Reads of other requests succeeded meanwhile: only this one is refused.
            if locked:
                self._on_locked(f"{unread.reason}; still collecting")
            if refused > LOST_SECONDS:
                raise _RefusedError(unread.reason)
        elif refused > REFUSED_PATIENCE and locked:
            raise BudgetError(f"fal shows nothing to a locked account: {unread.reason}")
        elif refused > REFUSED_PATIENCE:
            raise AuthError(f"fal keeps refusing the key: {unread.reason}")
        if failing.failures == REPORT_AFTER:
            message = f"fal gives no readable answer about it ({unread.reason}); asking again"
            self._context.emit(EventKind.UNREADABLE, job, message, reason=unread.reason)
        pause = pacing.READ.delay(failing.failures, self._context.rng, unread.retry_after)
        await anyio.sleep(pause)

    def _observe(self, request: _Request, status: str, position: int | None) -> None:
        self._record_status(request, status)
        data: dict[str, JSON] = {} if position is None else {"position": position}
        self._context.emit_attempt(EventKind.PROGRESS, request.job, request.attempt, status, **data)

    def _record_status(self, request: _Request, status: str) -> None:
        attempt_id = request.attempt.id
        self._context.ledger.record(attempt_id, Event.REMOTE_OBSERVED, remote_status=status)
        request.recorded = status

    def _age(self, attempt: Attempt) -> float:
        since = parse_time(attempt.submitted_at or attempt.intended_at)
        return max(0.0, (self._context.now() - since).total_seconds())

    # -- verdicts ------------------------------------------------------------------------------

    def _settle(
        self, request: _Request, outcome: Rendered | Failed, finished: Finished | None
    ) -> State:
        """Record the end; `finished`: the status that told it, if one did."""
        attempt = request.attempt
        units = outcome.billable_units
        cost = None if units is None else self._context.cost_of(attempt.endpoint, units)
        facts: Facts = {"billable_units": units, "cost": cost}
        if request.completed and request.recorded != COMPLETED:
            facts["remote_status"] = COMPLETED  # in the same transaction
        if isinstance(outcome, Rendered):
            facts["output"] = outcome.output
            facts["cost"] = self._believed(attempt, request.job, cost)
            if finished is None:
                facts["unmeasured"] = True
            else:
                facts["inference_seconds"] = finished.inference_seconds
            return self._context.ledger.record(attempt.id, Event.REMOTE_COMPLETED, **facts)
        failure = cancelled_free(self._context.ledger.attempt(attempt.id), outcome.failure)
        facts["failure"] = failure
        cancelled = failure.error_type == CANCELLED
        return self._context.ledger.record(
            attempt.id, Event.CANCEL_CONFIRMED if cancelled else Event.REMOTE_FAILED, **facts
        )

    def _believed(self, attempt: Attempt, job: Job, cost: MicroUSD | None) -> MicroUSD | None:
        """The cost of a render as reckoned from its units; None where it cannot be believed.

        Below an exact estimate the scale of the units is in doubt, not the price: the estimate
        stands until a billing event tells (docs/fal-api.md#billing-units).
        """
        if cost is None or job.estimate_note or not falls_short(cost, attempt.estimate):
            return cost
        message = (
            f"fal's units would make it {format_usd(cost)}, its estimate is "
            f"{format_usd(attempt.estimate)}; the estimate counts until a bill tells"
        )
        self._context.emit_attempt(
            EventKind.WARNING, job, attempt, message, cost=cost, estimate=attempt.estimate
        )
        return None
