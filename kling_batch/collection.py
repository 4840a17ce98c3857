"""From an accepted request to its result: poll, read, look it up in the list where it is gone.

Nothing here costs money, so everything is tried again; no failed read is a verdict about a job.
Downloading is `delivery.py`'s. Must not submit anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from kling_batch import backoff
from kling_batch.bench import Bench
from kling_batch.classify import files_in, verdict_of_status
from kling_batch.errors import AuthError
from kling_batch.lifecycle import Event, State
from kling_batch.outcome import (
    Charged,
    Failed,
    Failure,
    FailureKind,
    Finished,
    Handle,
    Happening,
    Listed,
    ListForbidden,
    Listing,
    Rendered,
    ResultOutcome,
    Unread,
    Waiting,
)
from kling_batch.records import Attempt, parse_iso

#: Seconds that fal may refuse the key on every read of a request before the run gives up on it.
REFUSED_PATIENCE = 300.0
#: How often, and for how many seconds, fal must deny knowing our request before we look elsewhere.
#: A single 404 right after a submission is a blip (facts §2.3).
NOT_FOUND_READS = 5
NOT_FOUND_SECONDS = 8.0
#: Reads of a finished request's result that bring no output before its status's word is taken.
UNREADABLE_RESULTS = 12


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
    def shut_out(self) -> bool:
        """Whether the key has been refused too long for this run to learn anything."""
        since = self.refused_since
        return since is not None and anyio.current_time() - since > REFUSED_PATIENCE


class Collection:
    """Follows open requests to their end."""

    def __init__(self, bench: Bench) -> None:
        """Shares the run's bench."""
        self._bench = bench

    async def collect(self, attempt_id: int, label: str) -> State:
        """Follow one request until it is rendered, failed, cancelled, or lost in doubt.

        Raises:
            AuthError: fal has refused the key for minutes; the request stays as it is.
        """
        attempt = self._bench.ledger.attempt(attempt_id)
        assert attempt.handle is not None
        patience = Patience()
        while True:
            finished = await self._finish(attempt, attempt.handle, label, patience)
            if isinstance(finished, State):
                return finished
            outcome = await self._result(attempt, attempt.handle, finished)
            if isinstance(outcome, Unread):
                return await self._look_up(attempt, finished, outcome)
            return self._settle(attempt, outcome, finished)

    async def _finish(
        self, attempt: Attempt, handle: Handle, label: str, patience: Patience
    ) -> Finished | State:
        """Poll until the request is COMPLETED, or is proved to be unknown."""
        seen = attempt.remote_status
        while True:
            await self._bench.reads.take()
            outcome = await self._bench.queue.status(handle)
            match outcome:
                case Finished():
                    return outcome
                case Waiting(status, position):
                    patience = Patience()
                    if status != seen:
                        seen = status
                        self._observe(attempt, label, status, position)
                    await anyio.sleep(backoff.poll_interval(self._age(attempt)))
                case Unread():
                    patience.note(outcome)
                    if patience.lost:
                        return await self._look_up(attempt, None, outcome)
                    await self._rest(patience, outcome)

    async def _result(self, attempt: Attempt, handle: Handle, finished: Finished) -> ResultOutcome:
        """Read the result; `Unread` only once it is clear that the queue will not give it."""
        patience = Patience()
        media = self._bench.media(attempt.endpoint)
        while True:
            await self._bench.reads.take()
            outcome = await self._bench.queue.result(handle, finished, media=media)
            if not isinstance(outcome, Unread):
                return outcome
            patience.note(outcome)
            told = bool(finished.error or finished.error_type)
            if told and patience.failures >= UNREADABLE_RESULTS:
                return Failed(verdict_of_status(finished))
            if patience.lost or (outcome.empty and patience.failures >= UNREADABLE_RESULTS):
                return outcome
            await self._rest(patience, outcome)

    async def _rest(self, patience: Patience, unread: Unread) -> None:
        if patience.shut_out:
            raise AuthError(f"fal keeps refusing the key: {unread.reason}")
        pause = backoff.READ.delay(patience.failures, self._bench.rng, unread.retry_after)
        await anyio.sleep(pause)

    def _observe(self, attempt: Attempt, label: str, status: str, position: int | None) -> None:
        self._bench.ledger.record(attempt.id, Event.REMOTE_OBSERVED, remote_status=status)
        data = {} if position is None else {"position": position}
        self._bench.notify(
            Happening(kind="progress", job=label, batch=attempt.batch, message=status, data=data)
        )

    def _age(self, attempt: Attempt) -> float:
        since = parse_iso(attempt.submitted_at or attempt.intended_at)
        return max(0.0, (self._bench.now() - since).total_seconds())

    # -- verdicts ------------------------------------------------------------------------------

    def _settle(self, attempt: Attempt, outcome: Rendered | Failed, finished: Finished) -> State:
        units = outcome.billable_units
        cost = None if units is None else self._bench.cost_of(attempt.endpoint, units)
        if isinstance(outcome, Rendered):
            return self._bench.ledger.record(
                attempt.id,
                Event.REMOTE_COMPLETED,
                output=outcome.output,
                billable_units=units,
                cost=cost,
                inference_seconds=finished.inference_seconds,
            )
        failure = outcome.failure
        cancelled = failure.error_type == "client_cancelled"
        return self._bench.ledger.record(
            attempt.id,
            Event.CANCEL_CONFIRMED if cancelled else Event.REMOTE_FAILED,
            failure=failure,
            billable_units=units,
            cost=cost,
        )

    async def _look_up(self, attempt: Attempt, finished: Finished | None, unread: Unread) -> State:
        """The queue has forgotten the request: results live an hour there (facts §2.8).

        The platform's list keeps input and output for a month. What is not there either is for a
        person: it may have been paid.
        """
        if finished is None and self._bench.ledger.attempt(attempt.id).cancel_asked_at:
            # fal drops what is cancelled in its queue; running work that vanished may be billed.
            waited = attempt.remote_status in (None, "IN_QUEUE")
            charged = Charged.NO if waited else Charged.UNKNOWN
            failure = Failure(
                kind=FailureKind.ABANDONED,
                message="cancelled at fal",
                charged=charged,
                error_type="client_cancelled",
            )
            return self._settle(attempt, Failed(failure), Finished())
        item = await self._listed(attempt)
        if isinstance(item, Listed):
            if files_in(item.output):
                return self._settle(
                    attempt,
                    Rendered(output=item.output, files=files_in(item.output)),
                    finished or Finished(),
                )
            if item.status_code is not None and item.status_code >= 400:
                return self._settle(attempt, Failed(_listed_failure(item)), Finished())
        reason = item if isinstance(item, str) else "the request list has no output for it"
        self._bench.ledger.record(
            attempt.id, Event.REMOTE_LOST, reason=f"{unread.reason}; {reason}"
        )
        return State.IN_DOUBT

    async def _listed(self, attempt: Attempt) -> Listed | str:
        """The request's line in the list, or why there is none."""
        assert attempt.handle is not None
        for n in range(1, NOT_FOUND_READS + 1):
            await self._bench.reads.take()
            listing = await self._bench.queue.listing(
                attempt.endpoint,
                since=attempt.intended_at,
                request_id=attempt.handle.request_id,
            )
            match listing:
                case Listing(items):
                    mine = [i for i in items if i.request_id == attempt.handle.request_id]
                    if mine:
                        return mine[0]
                case ListForbidden(reason):
                    return reason
                case Unread():
                    pass
            await anyio.sleep(backoff.READ.delay(n, self._bench.rng))
        return "the request list does not know it either"


def _listed_failure(item: Listed) -> Failure:
    status = item.status_code or 0
    return Failure(
        kind=FailureKind.TRANSIENT if status >= 500 else FailureKind.INVALID,
        message=f"fal's request list says HTTP {status}",
        charged=Charged.NO if status >= 500 else Charged.UNKNOWN,
        status=status,
    )
