"""Ends of a job in this run: saved, failed, left open, blocked, dropped or not writable.

Each end is reported as an event, noted in the run's result where no ledger row says it, and
releases or blocks the jobs that wait for it. Must not submit, poll or fetch.
"""

from __future__ import annotations

from kling_batch.core.events import EventKind, RunResult, name_of
from kling_batch.core.jobs import JSON, Job, JobKey
from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import Failure
from kling_batch.core.records import Attempt
from kling_batch.engine.context import RunContext
from kling_batch.engine.delivery import Delivery
from kling_batch.engine.event_data import file_data, render_seconds
from kling_batch.engine.gate import SubmissionGate
from kling_batch.engine.job_queue import JobQueue
from kling_batch.errors import ExitCode, UsageError
from kling_batch.output.files import Extent, describe_error, extent_of
from kling_batch.planning.plan import Action, PlannedJob
from kling_batch.shown_location import shown

#: Actions that end with a render of this run.
_RENDERS = (Action.SUBMIT, Action.COLLECT, Action.RECONCILE)


class JobEndings:
    """Ends jobs, and settles them in the queue."""

    def __init__(
        self,
        context: RunContext,
        *,
        queue: JobQueue,
        gate: SubmissionGate,
        delivery: Delivery,
        run_result: RunResult,
    ) -> None:
        """Writes its notes into `run_result`."""
        self._context = context
        self._queue = queue
        self._gate = gate
        self._delivery = delivery
        self._run_result = run_result

    async def saved(self, item: PlannedJob, attempt: Attempt, *, restored: bool = False) -> None:
        """All files are in place; also under the names of the job's duplicates, if possible.

        `attempt`: as it was rendered; that its files are saved since tells nothing more here.
        """
        if restored:
            self._run_result.restored.add(name_of(item.job))
        known = self._context.ledger.files_of(attempt.id)
        located = self._context.store.located
        files = [(shown(located(file.path)), file) for file in known if not file.superseded]
        paths = [path for path, _ in files]
        self._context.emit_attempt(
            EventKind.SAVED,
            item.job,
            attempt,
            ", ".join(paths),
            files=paths,
            artifacts=file_data(files),
            render_seconds=render_seconds(attempt),
        )
        if item.action in _RENDERS:
            self._gate.ended(None)
        self._settle(item.job.key, succeeded=True)
        await self._place_duplicates(item, attempt.id)

    def failed(self, item: PlannedJob, failure: Failure, attempt: Attempt | None = None) -> None:
        """This run gives the job up; `attempt` is the one that failed, if any was made."""
        self._note(item.job, failure.message)
        self._run_result.failed.add(name_of(item.job))
        facts = {
            "reason": failure.message,
            "failure": failure.kind,
            "charged": failure.charged,
            "error_type": failure.error_type or None,
            "status": failure.status,
        }
        self._emit(EventKind.FAILED, item.job, failure.message, attempt, facts)
        self._gate.ended(failure)
        self._settle(item.job.key, succeeded=False)

    def left_open(
        self, item: PlannedJob, kind: EventKind, reason: str, message: str, attempt_id: int
    ) -> None:
        """Nothing is settled, and this run can do no more: the next one goes on."""
        self._note(item.job, reason)
        self._emit(kind, item.job, message, attempt_id, {"reason": reason})
        self._settle(item.job.key, succeeded=False)

    def _emit(
        self,
        kind: EventKind,
        job: Job,
        message: str,
        attempt: Attempt | int | None,
        data: dict[str, JSON],
    ) -> None:
        if attempt is None:
            self._context.emit(kind, job, message, **data)
        else:
            self._context.emit_attempt(kind, job, attempt, message, **data)

    def dropped(self, item: PlannedJob) -> None:
        """Not submitted in this run, nor what waits for it; the next one begins with them."""
        self._queue.settle(item.job.key, succeeded=False, blocked=lambda _: None)
        self._context.feeder.wake()

    async def unwritable(self, item: PlannedJob, error: UsageError | OSError) -> None:
        """A file cannot be written; if it is on the disk already, only this name is missing."""
        self._report_unwritable(item.job, error)
        attempts = self._context.ledger.attempts_of(item.job.key)
        if not attempts:  # nothing was paid, and nothing will be as long as its file has no name
            self._run_result.failed.add(name_of(item.job))
        succeeded = [attempt.id for attempt in attempts if attempt.state is State.SUCCEEDED]
        for attempt_id in succeeded:  # one at most, by the database's unique index
            await self._place_duplicates(item, attempt_id)
        self._settle(item.job.key, succeeded=bool(succeeded))

    def _report_unwritable(self, job: Job, error: UsageError | OSError) -> None:
        """Report the error, and stop as far as other files cannot be written, either."""
        reason = describe_error(error)
        match extent_of(error):
            case Extent.DISK:
                self._gate.leave(ExitCode.SOME_FAILED, f"{job.label}: {reason}")
            case Extent.FOLDER:
                self._gate.close(ExitCode.SOME_FAILED, f"{job.label}: {reason}")
            case Extent.NAME:
                pass
        self._note(job, reason)
        message = f"cannot be written: {reason}"
        self._context.emit(EventKind.UNDELIVERED, job, message, reason=reason)

    async def _place_duplicates(self, item: PlannedJob, attempt_id: int) -> None:
        """Publish the files under the names of duplicates; each on its own."""
        for duplicate in self._queue.duplicates.get(item.job.key, []):
            try:
                if not await self._delivery.place(attempt_id, duplicate):
                    self._note(duplicate, "its file was deleted during the run; run again")
            except (UsageError, OSError) as error:
                self._report_unwritable(duplicate, error)

    def _settle(self, key: JobKey, *, succeeded: bool) -> None:
        self._queue.settle(key, succeeded=succeeded, blocked=self._blocked)
        self._context.feeder.wake()

    def _blocked(self, child: PlannedJob) -> None:
        reason = "a job whose output it needs did not succeed"
        self._note(child.job, reason)
        self._run_result.blocked.add(name_of(child.job))
        self._context.emit(EventKind.BLOCKED, child.job, reason, reason=reason)

    def _note(self, job: Job, reason: str) -> None:
        """Keep for the summary why a job is not done."""
        self._run_result.reasons[name_of(job)] = reason
