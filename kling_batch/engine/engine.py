"""The worker pool: takes a plan, drives every job as far as it goes without a person.

One task per job that is moving, a window of open requests, one task that looks after doubts.
A job's failure never touches its siblings; what stops the run (key, budget, ledger, signal) stops
the feeding first. Knows the outside only through `RunContext`. Must not read YAML, print, use SQL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import anyio.lowlevel
from anyio.abc import TaskGroup

from kling_batch.core.events import RunEvent, RunResult, name_of
from kling_batch.core.jobs import Job, JobKey
from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import Failure, FailureKind
from kling_batch.core.quantities import format_usd
from kling_batch.core.records import OverCap
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.engine.delivery import Delivery, Undelivered
from kling_batch.engine.gate import SubmissionGate
from kling_batch.engine.job_queue import JobQueue
from kling_batch.engine.polling import Poller, Unresponsive
from kling_batch.engine.reconciler import Reconciler
from kling_batch.engine.submission import Bought, Halted, NotReady, Submission
from kling_batch.errors import AuthError, ExitCode, KlingBatchError, UsageError
from kling_batch.output.files import Extent, extent_of, shown, words_of
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.planning.retry import Decision, decide

Work: TypeAlias = Callable[[PlannedJob, int], Awaitable[None]]


class Engine:
    """One run of one plan."""

    def __init__(self, context: RunContext) -> None:
        """`context.ledger` holds the run lock and has begun a run."""
        self._context = context
        self._submission = Submission(context)
        self._poller = Poller(context, locked=partial(self.stop_feeding, ExitCode.BUDGET))
        self._delivery = Delivery(context)
        self._reconciler = Reconciler(
            context, adopted=self._adopted, absent=self._absent, held=self._held
        )
        self._job_queue = JobQueue(Plan(()))
        self._running = 0
        self._wake = anyio.Event()
        self._work = anyio.CancelScope()
        self._tasks: TaskGroup | None = None
        self.run_result = RunResult()
        self._gate = SubmissionGate(context, self.run_result.stops, self._closed)

    # -- from outside --------------------------------------------------------------------------

    def stop_feeding(self, code: ExitCode, reason: str) -> None:
        """Buy nothing more; what is open is still collected."""
        self._gate.close(code, reason)

    def _closed(self) -> None:
        self._submission.halt()
        self._nudge()

    @property
    def _feeding(self) -> bool:
        return not self._context.halted

    def leave(self, code: ExitCode, reason: str) -> None:
        """Buy nothing more and stop collecting too; only POSTs in flight get their answer."""
        self.stop_feeding(code, reason)
        self._work.cancel()

    async def run(self, plan: Plan) -> RunResult:
        """Drive the plan to its end, or to where the run was told to leave."""
        self._job_queue = JobQueue(plan)
        self._gate.open_for(item.job.batch for item in plan.items)
        if alarm := self._context.policy.alarm:
            self.stop_feeding(ExitCode.BUDGET, alarm)
        with self._work:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                for item in self._job_queue.resumed:
                    self._resume(item)
                await self._feed()
        return self.run_result

    def _resume(self, item: PlannedJob) -> None:
        """Go on with what an earlier run left; these requests are open whatever the window."""
        assert item.attempt_id is not None
        works: dict[Action, Work] = {
            Action.COLLECT: self._collect_and_deliver,
            Action.DOWNLOAD: self._download_again,
            Action.PLACE: self._place,
            Action.RESTORE: self._restore,
        }
        action = item.action
        if action is Action.RECONCILE:
            if not self._reconciler.reopened(item.attempt_id):
                self._look_for(item, item.attempt_id)
                return
            action = Action.COLLECT
        if action is Action.COLLECT:
            self._context.window.enter_now()
        self._start(works[action], item, item.attempt_id)

    def _start(self, work: Work, item: PlannedJob, number: int) -> None:
        assert self._tasks is not None
        if not (self._context.policy.detach and work == self._collect_and_deliver):
            self._running += 1
            self._tasks.start_soon(self._guarded, work, item, number)

    # -- feeding -------------------------------------------------------------------------------

    async def _feed(self) -> None:
        """Start jobs while the window has room, until none is left that could become ready."""
        ready, window = self._job_queue.ready, self._context.window
        while self._feeding and self._job_queue.left:
            if not ready or window.full:
                if self._context.policy.detach and not self._running:
                    break  # nobody waits for results, and nothing is under way that could help
                await self._wake.wait()
                continue
            item = ready.popleft()
            if not self._gate.allows(item.job):
                self._drop(item)
                continue
            window.enter_now()
            self._start(self._buy, item, item.tries)
            await anyio.lowlevel.checkpoint()  # each into the rate's line, in the manifest's order

    def _nudge(self) -> None:
        self._wake.set()
        self._wake = anyio.Event()

    def _leave_window(self) -> None:
        self._context.window.leave()
        self._nudge()

    async def _guarded(self, work: Work, item: PlannedJob, number: int) -> None:
        """Run one job's work; what stops the run is turned into a stop here, in one place."""
        try:
            try:
                await work(item, number)
            except (UsageError, OSError) as error:
                self._unplaced(item, error)
        except AuthError as error:
            self.leave(error.exit_code, str(error))
        except KlingBatchError as error:
            # The ledger cannot take what happens: nothing more may happen.
            self.leave(error.exit_code, f"{item.job.label}: {error}")
        finally:
            self._running -= 1
            self._nudge()

    def _unplaced(self, item: PlannedJob, error: UsageError | OSError) -> None:
        """A file cannot be put down; where it lies under other names, only this one is missing."""
        self._not_put_down(item, error)
        attempts = self._context.ledger.attempts_of(item.job.key)
        here = [attempt.id for attempt in attempts if attempt.state is State.SUCCEEDED]
        for attempt_id in here:  # the database forbids a second one
            self._place_twins(item, attempt_id)
        self._settled(item.job.key, succeeded=bool(here))

    def _not_put_down(self, item: PlannedJob, error: UsageError | OSError) -> None:
        """Tell why: the whole disk's fault, the folder's, or this name's alone."""
        words = words_of(error)
        said = f"{item.job.label}: {words}"
        if (extent := extent_of(error)) is Extent.DISK:
            self.leave(ExitCode.SOME_FAILED, said)
        elif extent is Extent.FOLDER:
            self.stop_feeding(ExitCode.SOME_FAILED, said)
        self._because(item.job, words)
        self._told(item, "undelivered", f"not put down: {words}")

    # -- one job -------------------------------------------------------------------------------

    async def _buy(self, item: PlannedJob, tries: int) -> None:
        """From the window's door to the job's end; the place is held while a request is open."""
        try:
            bought = await self._submission.buy(item.job, tries)
        except BaseException:
            self._leave_window()
            raise
        if isinstance(bought, Bought) and bought.state is State.SUBMITTED:
            self._told(item, "submitted", f"accepted, {format_usd(item.job.estimate)}")
            self._nudge()
            if not self._context.policy.detach:
                await self._collect_and_deliver(item, bought.attempt_id)
            return
        self._leave_window()
        match bought:
            case OverCap():
                self._gate.over_cap(item.job, bought)
                self._drop(item)
            case Halted():
                self._drop(item)
            case NotReady(failure) if decide(failure, 1, 1) is Decision.STOP_RUN:
                self._stopped_by(item, failure)
            case NotReady(failure):
                self._end(item, failure)
            case Bought(attempt_id, State.IN_DOUBT, since):
                self._doubt(item, attempt_id, since)
            case Bought(attempt_id):
                await self._failed(item, attempt_id)

    async def _collect_and_deliver(self, item: PlannedJob, attempt_id: int) -> None:
        try:
            state = await self._poller.collect(attempt_id, item.job.label)
        finally:
            self._leave_window()
        self._watch_cost(item, attempt_id)
        match state:
            case Unresponsive(reason):
                self._leave_open(item, "unheard", reason, reason)
            case State.RENDERED:
                await self._deliver(item, attempt_id)
            case State.IN_DOUBT:
                self._doubt(item, attempt_id)
            case _:
                await self._failed(item, attempt_id)

    async def _deliver(self, item: PlannedJob, attempt_id: int) -> None:
        self._told(item, "rendered", "rendered, downloading")
        outcome = await self._delivery.deliver(attempt_id, item.job)
        if isinstance(outcome, Undelivered):
            told = f"paid and rendered, but not fetched: {outcome.reason}"
            self._leave_open(item, "undelivered", outcome.reason, told)
        elif outcome is State.SUCCEEDED:
            self._saved(item, attempt_id)
        else:
            await self._failed(item, attempt_id)

    async def _download_again(self, item: PlannedJob, attempt_id: int) -> None:
        attempt = self._context.ledger.attempt(attempt_id)
        if attempt.origin == "adopted":
            message = "the adopted file is gone, and fal never had it; put it back"
            self._end(item, Failure(kind=FailureKind.INPUT, message=message))
            return
        if attempt.state is State.SUCCEEDED:
            self._delivery.fetch_again(attempt_id)
        await self._deliver(item, attempt_id)

    async def _place(self, item: PlannedJob, attempt_id: int) -> None:
        if self._delivery.place(attempt_id, item.job):
            self._saved(item, attempt_id)
        else:
            await self._download_again(item, attempt_id)

    async def _restore(self, item: PlannedJob, attempt_id: int) -> None:
        if self._context.ledger.attempt(attempt_id).state is State.RENDERED:
            await self._deliver(item, attempt_id)  # the last run was on its way to do so
            return
        outcome = await self._delivery.restore(attempt_id, item.job)
        if isinstance(outcome, Undelivered):
            told = f"not put back: {outcome.reason}"
            self._leave_open(item, "undelivered", outcome.reason, told)
        else:
            self.run_result.restored.add(name_of(item.job))
            self._saved(item, attempt_id)

    async def _failed(self, item: PlannedJob, attempt_id: int) -> None:
        """A settled attempt without files: try again, give up, leave it, or stop the run."""
        attempt = self._context.ledger.attempt(attempt_id)
        failure = attempt.failure
        assert failure is not None
        decision = decide(failure, attempt.tries, self._context.policy.attempts)
        if attempt.state is State.CANCELLED or item.orphaned:
            decision = Decision.GIVE_UP
        if decision is Decision.RETRY and not self._context.policy.payable(item.job.key):
            decision = Decision.NEXT_RUN
        if decision is Decision.RETRY and self._feeding:
            pause = pacing.ATTEMPT.delay(attempt.tries, self._context.rng)
            self._told(item, "retrying", f"{failure.message}; a new attempt in {pause:.0f} s")
            await anyio.sleep(pause)
            if await self._entered():
                await self._buy(item, attempt.tries + 1)
                return
        if decision is Decision.STOP_RUN:
            self._stopped_by(item, failure)
            return
        if decision is Decision.RETRY:
            return  # the run is stopping; the next one makes the attempt
        if failure.kind is FailureKind.UNREACHABLE:
            self.stop_feeding(ExitCode.SOME_FAILED, f"fal cannot be reached: {failure.message}")
        self._end(item, failure)

    def _stopped_by(self, item: PlannedJob, failure: Failure) -> None:
        if not self._gate.refused(failure):
            self._work.cancel()
        self._drop(item)

    async def _entered(self) -> bool:
        """A place in the window for one more attempt, unless buying has ended by then."""
        window = self._context.window
        if self._context.policy.detach and window.full:
            return False  # nobody collects, so no place will be free; the next run makes it
        await window.enter()
        if not self._feeding:
            self._leave_window()
        return self._feeding

    # -- doubts --------------------------------------------------------------------------------

    def _doubt(self, item: PlannedJob, attempt_id: int, since: float | None = None) -> None:
        self._told(item, "in_doubt", "fal may have accepted it; looking for its trace")
        self._look_for(item, attempt_id, since)

    def _look_for(self, item: PlannedJob, attempt_id: int, since: float | None = None) -> None:
        if self._reconciler.add(attempt_id, item, since) and not self._context.policy.detach:
            assert self._tasks is not None
            self._reconciler.running = True
            self._tasks.start_soon(self._guarded, self._reconcile, item, attempt_id)

    async def _reconcile(self, _item: PlannedJob, _attempt_id: int) -> None:
        await self._reconciler.run()

    def _adopted(self, item: PlannedJob, attempt_id: int) -> None:
        """The reconciler found the request: collect it; it is open whatever the window."""
        self._told(item, "adopted", "found in fal's request list; collecting")
        self._context.window.enter_now()
        self._start(self._collect_and_deliver, item, attempt_id)

    def _absent(self, item: PlannedJob, attempt_id: int) -> None:
        """No trace for `doubt_wait`, and the manifest prefers a possible second charge."""
        self._start(self._failed, item, attempt_id)

    def _held(self, item: PlannedJob, attempt_id: int) -> None:
        """This run can learn nothing more about it."""
        why = self._reconciler.reason(attempt_id)
        self._leave_open(item, "held", why, f"in doubt: {why}")

    # -- ends ----------------------------------------------------------------------------------

    def _saved(self, item: PlannedJob, attempt_id: int) -> None:
        known = self._context.ledger.files_of(attempt_id)
        files = [shown(self._context.store.located(f.path)) for f in known if not f.superseded]
        self._told(item, "saved", ", ".join(files), files=files)
        self._settled(item.job.key, succeeded=True)
        self._place_twins(item, attempt_id)

    def _place_twins(self, item: PlannedJob, attempt_id: int) -> None:
        """The other names of what is here; one that cannot be given keeps no other waiting."""
        for duplicate in self._job_queue.duplicates.get(item.job.key, []):
            try:
                if not self._delivery.place(attempt_id, duplicate):
                    self._because(
                        duplicate, "its file was taken away while the run went on; run again"
                    )
            except (UsageError, OSError) as error:
                self._not_put_down(item._replace(job=duplicate), error)

    def _leave_open(self, item: PlannedJob, kind: str, reason: str, told: str) -> None:
        """Nothing is settled, and this run can do no more: the next one goes on."""
        self._because(item.job, reason)
        self._told(item, kind, told)
        self._settled(item.job.key, succeeded=False)

    def _end(self, item: PlannedJob, failure: Failure) -> None:
        self._because(item.job, failure.message)
        self.run_result.failed.add(name_of(item.job))
        self._told(item, "failed", failure.message, failure=failure.kind, charged=failure.charged)
        self._settled(item.job.key, succeeded=False)

    def _settled(self, key: JobKey, *, succeeded: bool) -> None:
        """A job has come to its end for this run: its children go, or are blocked."""
        self._job_queue.settle(key, succeeded=succeeded, blocked=self._blocked)
        self._nudge()

    def _drop(self, item: PlannedJob) -> None:
        """Not bought in this run, nor what waits for it; the next one begins with them."""
        self._job_queue.settle(item.job.key, succeeded=False, blocked=lambda _: None)
        self._nudge()

    def _blocked(self, child: PlannedJob) -> None:
        reason = "a job whose output it needs did not succeed"
        self._because(child.job, reason)
        self.run_result.blocked.add(name_of(child.job))
        self._told(child, "blocked", reason)

    def _watch_cost(self, item: PlannedJob, attempt_id: int) -> None:
        attempt = self._context.ledger.attempt(attempt_id)
        if told := self._gate.billed(item.job, attempt):
            self._told(item, "warning", told, cost=attempt.cost, estimate=attempt.estimate)

    # -- telling -------------------------------------------------------------------------------

    def _told(self, item: PlannedJob, kind: str, message: str, **data: object) -> None:
        job = item.job
        self._context.notify(
            RunEvent(kind=kind, job=job.label, batch=job.batch, message=message, data=data)
        )

    def _because(self, job: Job, reason: str) -> None:
        self.run_result.reasons[name_of(job)] = reason
