"""Engine: the worker pool that carries out a plan, and its stop handling.

One task per job that is moving, a window of open requests, one task for submissions in doubt. A
job's failure never touches other jobs; what stops the run (key, budget, ledger, signal) ends
submitting first. Knows the outside only through `RunContext`. Must not read YAML, print, use SQL.
"""

from __future__ import annotations

import anyio.lowlevel
from anyio.abc import TaskGroup

from kling_batch.core.events import RunResult
from kling_batch.core.lifecycle import IllegalTransitionError
from kling_batch.engine.context import RunContext
from kling_batch.engine.delivery import Delivery
from kling_batch.engine.gate import SubmissionGate
from kling_batch.engine.job_endings import JobEndings
from kling_batch.engine.job_flow import JobFlow, Work
from kling_batch.engine.job_queue import JobQueue
from kling_batch.errors import AuthError, ExitCode, KlingBatchError, UsageError
from kling_batch.planning.plan import Plan, PlannedJob


class Engine:
    """One run of one plan."""

    def __init__(self, context: RunContext) -> None:
        """`context.ledger` holds the run lock and has begun a run."""
        self.run_result = RunResult()
        self._context = context
        self._queue = JobQueue()
        self._work = anyio.CancelScope()
        self._tasks: TaskGroup | None = None
        self._running = 0
        self._gate = SubmissionGate(context, self.run_result.stops, self._work.cancel)
        delivery = Delivery(context)
        self._endings = JobEndings(
            context,
            queue=self._queue,
            gate=self._gate,
            delivery=delivery,
            run_result=self.run_result,
        )
        self._flow = JobFlow(
            context,
            gate=self._gate,
            delivery=delivery,
            endings=self._endings,
            start=self._start,
        )

    def leave(self, code: ExitCode, reason: str) -> None:
        """Submit nothing more and stop collecting too; only POSTs in flight get their answer."""
        self._gate.leave(code, reason)

    async def run(self, plan: Plan) -> RunResult:
        """Carry out the plan to its end, or until the run is stopped."""
        self._queue.load(plan)
        self._gate.open_for(plan)
        if alarm := self._context.policy.alarm:
            self._gate.close(self._context.policy.alarm_code, alarm)
        with self._work:
            async with anyio.create_task_group() as services:
                services.start_soon(self._context.reads.serve)
                # What was started beside the run, such as its signals, comes before any payment.
                await anyio.lowlevel.checkpoint()
                async with anyio.create_task_group() as tasks:
                    self._tasks = tasks
                    for item in self._queue.resumed:
                        self._flow.resume(item)
                    await self._feed()
                services.cancel_scope.cancel()
        return self.run_result

    async def _feed(self) -> None:
        """Start jobs while the window has room, until none is left that could become ready."""
        context = self._context
        while self._queue.left and not context.submit_stop.is_set:
            if not self._queue.ready or context.window.full:
                if context.policy.detach and not self._running:
                    break  # nobody collects, so nothing can become ready
                context.reads.submitting(yes=False)
                await context.feeder.wait()
                continue
            item = self._queue.ready.popleft()
            if not self._gate.allows(item.job):
                self._endings.dropped(item)
                continue
            context.reads.submitting(yes=True)
            context.window.enter_now()
            self._start(self._flow.submit_and_follow, item, item.tries)
            # Yield, so that jobs reach the rate limiter in the order of the manifest.
            await anyio.lowlevel.checkpoint()
        context.reads.submitting(yes=False)

    def _start(self, work: Work, item: PlannedJob, number: int) -> None:
        assert self._tasks is not None
        self._running += 1
        self._tasks.start_soon(self._guarded, work, item, number)

    async def _guarded(self, work: Work, item: PlannedJob, number: int) -> None:
        """Run a job's task; the one place where errors that stop the run become a stop."""
        try:
            try:
                await work(item, number)
            except (UsageError, OSError) as error:
                await self._endings.unwritable(item, error)
        except AuthError as error:
            self._gate.leave(error.exit_code, str(error))
        except KlingBatchError as error:
            # The ledger cannot record what happens: nothing more may happen.
            self._gate.leave(error.exit_code, f"{item.job.label}: {error}")
        except IllegalTransitionError as error:
            # Only where a second run writes the same ledger, after its lock file was deleted.
            reason = f"{item.job.label}: the ledger was changed by another program ({error})"
            self._gate.leave(ExitCode.LEDGER, reason)
        finally:
            self._running -= 1
            self._context.feeder.wake()
