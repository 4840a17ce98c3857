"""Flow of one job, from its submission to its end in this run, by the state of its attempt.

The table is `JobFlow.proceed`; everything else is one step of it. Must not know other jobs, feed
the pool, or decide about money: those are `engine.py`, the ledger's caps and `planning/retry.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import anyio

from kling_batch.core.events import EventKind
from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import Failure, FailureKind
from kling_batch.core.quantities import format_usd
from kling_batch.core.records import Attempt, OverCap
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.engine.delivery import Delivery, Undelivered
from kling_batch.engine.event_data import render_seconds
from kling_batch.engine.gate import SubmissionGate
from kling_batch.engine.job_endings import JobEndings
from kling_batch.engine.polling import Poller, Unresponsive
from kling_batch.engine.reconciler import Reconciler
from kling_batch.engine.recovery import record_recovery
from kling_batch.engine.submission import (
    Attempted,
    BillsUnread,
    InputsFailed,
    Submitter,
    SubmittingEnded,
)
from kling_batch.errors import ExitCode
from kling_batch.planning.plan import Action, PlannedJob
from kling_batch.planning.retry import Decision, decide

Work: TypeAlias = Callable[[PlannedJob, int], Awaitable[None]]
"""A step of a job as a task of its own; the number is an attempt id, or that of the try."""


class JobFlow:
    """The steps of a job.

    Args:
        context: of the run.
        gate: is notified of refusals and costs.
        delivery: of the run.
        endings: of the run.
        start: starts a step as a task of its own.
    """

    def __init__(
        self,
        context: RunContext,
        *,
        gate: SubmissionGate,
        delivery: Delivery,
        endings: JobEndings,
        start: Callable[[Work, PlannedJob, int], None],
    ) -> None:
        """One a run."""
        self._context = context
        self._gate = gate
        self._delivery = delivery
        self._endings = endings
        self._start = start
        self._submitter = Submitter(context)
        self._poller = Poller(context, locked=partial(gate.close, ExitCode.BUDGET))
        self._reconciler = Reconciler(context, adopted=self._adopted, held=self._held)

    async def proceed(
        self, item: PlannedJob, attempt_id: int, state: State, since: float | None = None
    ) -> None:
        """Take the next step, which the state of the attempt alone determines.

        How it came here is on the disk, since the step depends on it: `log_sync.done` comes before.

        `since`: when its intent was committed, on the loop's clock, where that was in this run.
        """
        match state:
            case State.SUBMITTED:
                await self._collect(item, attempt_id)
            case State.RENDERED:
                await self._deliver(item, self._context.ledger.attempt(attempt_id))
            case State.SUCCEEDED:
                await self._endings.saved(item, self._context.ledger.attempt(attempt_id))
            case State.SUBMITTING | State.IN_DOUBT:
                self._look_up(item, attempt_id, since)
            case State.FAILED | State.CANCELLED:
                await self._retry_or_end(item, attempt_id)

    def resume(self, item: PlannedJob) -> None:
        """Go on with what an earlier run left open."""
        if item.action is Action.RECOVER:
            self._recover(item)
            return
        assert item.attempt_id is not None
        match item.action:
            case Action.RECONCILE if not self._reconciler.reopened(item.attempt_id):
                self._reconcile(item, item.attempt_id)
            case Action.RECONCILE | Action.COLLECT:
                self._start_collecting(item, item.attempt_id)
            case Action.DOWNLOAD:
                self._start(self._download_again, item, item.attempt_id)
            case Action.PLACE:
                self._start(self._place, item, item.attempt_id)
            case Action.RESTORE:
                self._start(self._restore, item, item.attempt_id)
            case action:
                raise AssertionError(f"{action} resumes nothing")

    def _recover(self, item: PlannedJob) -> None:
        """Record a render that is paid for already, before anything is bought: it counts."""
        attempt_id, state = record_recovery(self._context, item)
        if state is State.SUCCEEDED:
            self._start(self._place, item, attempt_id)
        else:
            self._start_collecting(item, attempt_id)

    # -- submission ----------------------------------------------------------------------------

    async def submit_and_follow(self, item: PlannedJob, tries: int) -> None:
        """Submit and follow the job; its window place is held while a request is open."""
        try:
            # Before it is paid for: a file that cannot be named would be left at fal.
            store = self._context.store
            store.check_name(store.wanted(item.job.batch, item.job.output_path(0, ".part")))
            result = await self._submitter.submit_job(item.job, tries)
        except BaseException:
            self._context.leave_window()
            raise
        if isinstance(result, Attempted) and result.state is State.SUBMITTED:
            await self._accepted(item, result.attempt_id)
            return
        self._context.leave_window()
        match result:
            case OverCap():
                self._gate.over_cap(item.job, result)
                self._endings.dropped(item)
            case BillsUnread(unread):
                self._gate.bills_unread(unread)
                self._endings.dropped(item)
            case SubmittingEnded():
                self._endings.dropped(item)
            case InputsFailed(failure) if decide(failure, 1, 1) is Decision.STOP_RUN:
                self._stop_for(item, failure)
            case InputsFailed(failure):
                self._endings.failed(item, failure)
            case Attempted(attempt_id, state, intended_at):
                await self.proceed(item, attempt_id, state, intended_at)

    async def _accepted(self, item: PlannedJob, attempt_id: int) -> None:
        attempt = self._context.ledger.attempt(attempt_id)
        message = f"accepted, {format_usd(item.job.estimate)}"
        self._context.emit_attempt(EventKind.SUBMITTED, item.job, attempt, message)
        if self._context.policy.detach:
            # fal's queue is durable and unlimited: what is accepted takes no place here.
            self._context.leave_window()
            return
        self._context.feeder.wake()
        await self._follow(item, attempt)

    async def _retry_or_end(self, item: PlannedJob, attempt_id: int) -> None:
        """A settled attempt without files: try again, give up, leave it, or stop the run."""
        attempt = self._context.ledger.attempt(attempt_id)
        failure = attempt.failure
        assert failure is not None
        decision = decide(failure, attempt.tries, self._context.policy.attempts)
        if attempt.state is State.CANCELLED or item.orphaned:
            decision = Decision.GIVE_UP
        if decision is Decision.RETRY and not self._context.policy.payable(item.job.key):
            decision = Decision.NEXT_RUN
        if decision is Decision.RETRY:
            # Without a place the run is stopping, and the next one makes the attempt.
            if await self._window_place_after_pause(item, failure, attempt):
                await self.submit_and_follow(item, attempt.tries + 1)
            return
        if decision is Decision.STOP_RUN:
            self._stop_for(item, failure)
            return
        if failure.kind is FailureKind.UNREACHABLE:
            message = f"fal cannot be reached: {failure.message}"
            self._gate.close(ExitCode.SOME_FAILED, message)
        self._endings.failed(item, failure, attempt)

    async def _window_place_after_pause(
        self, item: PlannedJob, failure: Failure, attempt: Attempt
    ) -> bool:
        """A window place for one more attempt; False: submitting has ended by then."""
        context = self._context
        if context.submit_stop.is_set:
            return False
        pause = pacing.ATTEMPT.delay(attempt.tries, context.rng)
        context.emit_attempt(
            EventKind.RETRYING,
            item.job,
            attempt,
            f"{failure.message}; a new attempt in {pause:.0f} s",
            reason=failure.kind,
            charged=failure.charged,
            seconds=round(pause, 3),
            attempt=attempt.tries + 1,
        )
        await anyio.sleep(pause)
        await context.window.enter()
        if context.submit_stop.is_set:
            context.leave_window()
        return not context.submit_stop.is_set

    def _stop_for(self, item: PlannedJob, failure: Failure) -> None:
        self._gate.refused(failure)
        self._endings.dropped(item)

    # -- collecting ----------------------------------------------------------------------------

    def _start_collecting(self, item: PlannedJob, attempt_id: int) -> None:
        """Follow a request that is open already; it counts even if the window is full."""
        if not self._context.policy.detach:
            self._context.window.enter_now()
            self._start(self._collect, item, attempt_id)

    async def _collect(self, item: PlannedJob, attempt_id: int) -> None:
        await self._follow(item, self._context.ledger.attempt(attempt_id))

    async def _follow(self, item: PlannedJob, attempt: Attempt) -> None:
        """Collect an open request, and go on from its end; its place is left in between."""
        try:
            outcome = await self._poller.collect(attempt, item.job)
            # Within its place and nothing awaited after it: a failure is counted before the next
            # job may take the place.
            await self._context.log_sync.done()
        finally:
            self._context.leave_window()
        attempt = self._context.ledger.attempt(attempt.id)  # with what its end has told
        self._check_cost(item, attempt)
        if isinstance(outcome, Unresponsive):
            reason = outcome.reason
            self._endings.left_open(item, EventKind.UNHEARD, reason, reason, attempt.id)
        elif outcome is State.RENDERED:
            await self._deliver(item, attempt, begun=False)
        else:
            await self.proceed(item, attempt.id, outcome)

    def _check_cost(self, item: PlannedJob, attempt: Attempt) -> None:
        if message := self._gate.billed(item.job, attempt):
            self._context.emit_attempt(
                EventKind.WARNING,
                item.job,
                attempt,
                message,
                cost=attempt.cost,
                estimate=attempt.estimate,
            )

    # -- files ---------------------------------------------------------------------------------

    async def _deliver(self, item: PlannedJob, attempt: Attempt, *, begun: bool = True) -> None:
        """Fetch its files; `begun`: some of them may be here."""
        self._context.emit_attempt(
            EventKind.RENDERED,
            item.job,
            attempt,
            "rendered, downloading",
            render_seconds=render_seconds(attempt),
        )
        outcome = await self._delivery.deliver(attempt, item.job, begun=begun)
        if isinstance(outcome, Undelivered):
            reason = outcome.reason
            message = f"paid and rendered, but not fetched: {reason}"
            self._endings.left_open(item, EventKind.UNDELIVERED, reason, message, attempt.id)
        else:
            await self._context.log_sync.done()
            await self._endings.saved(item, attempt)

    async def _download_again(self, item: PlannedJob, attempt_id: int) -> None:
        attempt = self._context.ledger.attempt(attempt_id)
        if attempt.origin == "adopted":
            message = (
                "the adopted file is gone or changed, and fal never had it; put it back, or adopt "
                "the new one"
            )
            failure = Failure(kind=FailureKind.INPUT, message=message)
            self._endings.failed(item, failure, attempt)
            return
        if attempt.state is State.SUCCEEDED:
            self._delivery.mark_missing(attempt_id)
        await self._deliver(item, attempt)

    async def _place(self, item: PlannedJob, attempt_id: int) -> None:
        if await self._delivery.place(attempt_id, item.job):
            await self._endings.saved(item, self._context.ledger.attempt(attempt_id))
        else:
            await self._download_again(item, attempt_id)

    async def _restore(self, item: PlannedJob, attempt_id: int) -> None:
        attempt = self._context.ledger.attempt(attempt_id)
        if attempt.state is State.RENDERED:
            await self._deliver(item, attempt)  # the last run was interrupted in doing so
            return
        outcome = await self._delivery.restore(attempt_id, item.job)
        if isinstance(outcome, Undelivered):
            reason = outcome.reason
            message = f"not put back: {reason}"
            self._endings.left_open(item, EventKind.UNDELIVERED, reason, message, attempt_id)
        else:
            await self._endings.saved(item, attempt, restored=True)

    # -- submissions in doubt ------------------------------------------------------------------

    def _look_up(self, item: PlannedJob, attempt_id: int, since: float | None) -> None:
        message = "fal may have accepted it; looking for its trace"
        self._context.emit_attempt(EventKind.IN_DOUBT, item.job, attempt_id, message)
        self._reconcile(item, attempt_id, since)

    def _reconcile(self, item: PlannedJob, attempt_id: int, since: float | None = None) -> None:
        if self._reconciler.add(attempt_id, item, since) and not self._context.policy.detach:
            self._reconciler.running = True
            self._start(self._run_reconciler, item, attempt_id)

    async def _run_reconciler(self, _item: PlannedJob, _attempt_id: int) -> None:
        await self._reconciler.run()

    def _adopted(self, item: PlannedJob, attempt_id: int) -> None:
        """The reconciler found the request."""
        message = "found in fal's request list; collecting"
        self._context.emit_attempt(EventKind.ADOPTED, item.job, attempt_id, message)
        self._start_collecting(item, attempt_id)

    def _held(self, item: PlannedJob, attempt_id: int) -> None:
        """This run can learn nothing more about it."""
        reason = self._reconciler.reason(attempt_id)
        self._endings.left_open(item, EventKind.HELD, reason, f"in doubt: {reason}", attempt_id)
