"""Renditions beside a run: a pool of processes makes them of each saved file; what it made is kept.

Hears of saved files as a display. Whatever becomes of a rendition fails no job and costs nothing.
Must not decide about jobs or money, and must not make anything itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeAlias

import anyio
import anyio.lowlevel
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream

from kling_batch.core.events import EventKind, Pace, RenditionTotals, RunEvent
from kling_batch.core.jobs import JSON, Batch, Job
from kling_batch.core.recipes import CHANGED_INPUT, Kind, has_changed_input
from kling_batch.errors import KlingBatchError
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.renditions import (
    begin_rendition,
    end_rendition,
    same_renditions,
)
from kling_batch.operations.rendition_files import RenditionFiles
from kling_batch.operations.rendition_tasks import Sizes, Task, asked_of, names_of
from kling_batch.output.files import describe_error
from kling_batch.output.sidecar import rendition_record
from kling_batch.output.store import OutputStore
from kling_batch.output.worker import FileWorker
from kling_batch.renditions.ability import left_out
from kling_batch.renditions.elsewhere import Elsewhere, Unmade
from kling_batch.renditions.make import Made
from kling_batch.renditions.pool import Failed, WorkerPool, usual_workers, worker_pool
from kling_batch.report.run_report import RunReport, RunStarted
from kling_batch.shown_location import shown

Group: TypeAlias = Sequence[Task]
"""Renditions of one file."""

#: Jobs that are looked at before the loop has its turn: about five milliseconds.
_TOGETHER = 100
#: Renditions that are fetched, put and compared beside those that processes make.
_AHEAD = 2
#: Threads for that.
THREADS = 4


class Renditions:
    """Makes what is missing of the saved files of some batches.

    Args:
        ledger: knows what is there already; every call is made in the loop's thread.
        batches: with their recipes.
        store: where the files lie.
        worker: does what blocks.
        notify: is told of what was made, and of what was not.
        workers: processes at most.
    """

    def __init__(
        self,
        ledger: Ledger,
        batches: Sequence[Batch],
        store: OutputStore,
        *,
        worker: FileWorker,
        notify: Callable[[RunEvent], None],
        workers: int | None = None,
    ) -> None:
        """Nothing is made yet."""
        self._elsewhere: Elsewhere | None = None
        self.totals = RenditionTotals()
        self._ledger = ledger
        self._batches = [batch for batch in batches if batch.renditions]
        self._store = store
        self._worker = worker
        self._notify = notify
        self._workers = workers or usual_workers()
        self._jobs = {(job.batch, job.label): job for b in self._batches for job in b.jobs}
        self._files = RenditionFiles(store, worker, command_on(ledger.path, "verify", "--repair"))
        self._tried: set[str] = set()
        #: Why a recipe is not followed any more in this run, by its digest.
        self._spoiling: dict[str, str] = {}
        self._waiting = 0
        self._pool: WorkerPool | None = None
        #: What is made here and not by workers, with its copies on this disk.
        self._here = anyio.Semaphore(self._workers + _AHEAD)
        self._send, self._receive = anyio.create_memory_object_stream[Job | Group](math.inf)

    def use(self, renderers: Elsewhere) -> None:
        """Let workers of a scheduler make them, and this machine the rest; called before `work`."""
        self._elsewhere = renderers

    # -- of a display --

    def start(self, started: RunStarted) -> None:
        """Nothing: `work` begins with what is there already."""

    def notify(self, event: RunEvent) -> None:
        """Take note of a job whose files are in place; returns at once."""
        if event.kind is EventKind.SAVED and (job := self._jobs.get((event.batch, event.job))):
            self._put(job)

    def tick(self, now: float, pace: Pace | None = None) -> None:
        """Nothing: time changes nothing here."""

    def finish(self, report: RunReport) -> None:
        """Nothing: `drain` has counted."""

    def close(self) -> None:
        """Kill every process; needs no event loop."""
        if self._pool is not None:
            self._pool.kill()

    # -- of the event loop --

    async def work(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Make what is asked for, until it is cancelled, which kills the processes."""
        self._files.clear()
        try:
            with self._send, self._receive:
                async with worker_pool(self._workers) as self._pool:
                    await self._serve_all(self._pool, task_status)
        finally:
            self._files.clear()

    async def _serve_all(self, pool: WorkerPool, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as tasks:
            at_once = self._elsewhere.most if self._elsewhere is not None else 0
            for _ in range(self._workers + _AHEAD + at_once):
                tasks.start_soon(self._serve, pool, self._receive.clone())
            task_status.started()
            await self.look()
            await anyio.sleep_forever()

    async def look(self) -> None:
        """Ask for everything that is missing and was not tried yet."""
        jobs = [*self._jobs.values()]
        sizes = Sizes(self._store)
        with self._told():
            for first in range(0, len(jobs), _TOGETHER):
                await self._add_missing(sizes, jobs[first : first + _TOGETHER])
                await anyio.lowlevel.checkpoint()

    async def _add_missing(self, sizes: Sizes, jobs: Sequence[Job]) -> None:
        asked = [*asked_of(self._ledger, self._batches, jobs)]
        if unread := sizes.unread(names_of(asked)):
            await self._worker.run(sizes.read, unread)
        self.add(sizes.missing(asked))

    def add(self, tasks: Iterable[Task]) -> None:
        """Ask for these, each once."""
        groups: dict[str, list[Task]] = {}
        for task in tasks:
            if task.wanted.path in self._tried:
                continue
            self._tried.add(task.wanted.path)
            if reason := left_out(task.recipe) or _to_be_corrected(task):
                self._failed(task, reason)
            else:
                self._files.expect(task)
                # A worker gets a file once, for all that is made of it.
                by = task.wanted.path if self._elsewhere is None else task.wanted.source_path
                groups.setdefault(by, []).append(task)
        for group in groups.values():
            self._put(group)

    async def drain(self, *, stopped: Callable[[], bool]) -> None:
        """Wait until everything is made, and not after `stopped`; counts what is left."""
        await self._until_done(stopped)
        if not stopped():
            await self.look()  # restored files, and second names
            await self._until_done(stopped)
        self.totals.left = self._waiting
        self.totals.damaged = len(self._files.damaged)

    async def _until_done(self, stopped: Callable[[], bool]) -> None:
        while self._waiting and not stopped():  # noqa: ASYNC110 - a stop is no event here
            await anyio.sleep(0.02)

    def _put(self, item: Job | Group) -> None:
        self._waiting += _count(item)
        try:
            self._send.send_nowait(item)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._waiting -= _count(item)  # nobody works any more: the next run finds it

    async def _serve(self, pool: WorkerPool, asked: MemoryObjectReceiveStream[Job | Group]) -> None:
        with asked:
            async for item in asked:
                if isinstance(item, Job):
                    with self._told():
                        await self._add_missing(Sizes(self._store), [item])
                    self._waiting -= 1
                else:
                    await self._make_all(pool, item)

    @contextmanager
    def _told(self, task: Task | None = None) -> Iterator[None]:
        """Whatever the disk or the ledger cannot do is a sentence; the run goes on."""
        try:
            yield
        except (KlingBatchError, OSError) as error:
            self._failed(task, describe_error(error))
        except Exception as error:  # noqa: BLE001 - a defect here must not end a run that has paid
            self._failed(task, f"{type(error).__name__}: {error}")

    # -- one rendition --

    async def _make_all(self, pool: WorkerPool, group: Group) -> None:
        """Make renditions of one file: by a worker where there are any, and else here."""
        offers: dict[str, Made | Unmade] = {}
        if self._elsewhere is not None:
            with suppress(KlingBatchError, OSError):  # told where it is tried here
                offers = await self._by_workers(self._elsewhere, group)
        for task in group:
            with self._told(task):
                await self._make(pool, task, offers.get(task.wanted.path))
            await self._files.done(task)
            self._waiting -= 1

    async def _by_workers(self, made_by: Elsewhere, group: Group) -> dict[str, Made | Unmade]:
        """What workers have made of a file, by the name of the rendition."""
        asked = []
        for task in group:
            before = await self._files.made_before(task, by_workers=True)
            if task.wanted.recipe_digest in self._spoiling or before is not None:
                continue
            if not same_renditions(self._ledger, task.wanted):
                begin_rendition(self._ledger, task.wanted)
                asked.append(task)
        if not asked:
            return {}
        wanted = asked[0].wanted
        found = await made_by.make(
            self._store.located(wanted.source_path),
            wanted.source_sha256,
            [(task.recipe, self._store.located(task.wanted.path)) for task in asked],
        )
        return dict(zip((t.wanted.path for t in asked), found, strict=True))

    async def _make(self, pool: WorkerPool, task: Task, offer: Made | Unmade | None) -> None:
        """Make one rendition, unless it is there and a sidecar or a worker says what it is."""
        if isinstance(offer, dict):
            await self._keep(task, offer)
            return
        if offer is not None and offer.changed_input:
            reason = f"{offer.reason}, a copy of the saved file on the worker {offer.worker}"
            self._spoiling[task.wanted.recipe_digest] = reason
        async with self._here:
            if await self._make_here(pool, task) and offer is not None and self._elsewhere:
                self._elsewhere.made_here(offer)

    async def _make_here(self, pool: WorkerPool, task: Task) -> bool:
        """Make one rendition with a process of this machine; False: it cannot be made."""
        before = await self._files.made_before(task)
        begin_rendition(self._ledger, task.wanted)
        if before is not None:
            end_rendition(self._ledger, task.wanted.path, **before)
            return True
        same = same_renditions(self._ledger, task.wanted)
        made: Made | Failed | None = await self._files.linked(same, task)
        if made is None:
            made = await self._from_source(pool, task)
        if isinstance(made, Failed):
            end_rendition(self._ledger, task.wanted.path, failure=made.reason)
            self._failed(task, made.reason)
            return False
        await self._keep(task, made)
        return True

    async def _from_source(self, pool: WorkerPool, task: Task) -> Made | Failed:
        """What a process makes of a file, which must be afterwards what it was before."""
        if reason := self._spoiling.get(task.wanted.recipe_digest):
            return Failed(reason)
        begun = task.known is not None and task.known.sha256 is None
        reading, target = await self._files.source(task), self._files.target(task)
        with self._files.beside(task) as others:
            made = await pool.make(reading.path, json.loads(task.recipe.text), target, begun=begun)
            # Looked at whatever became of it: what a command has started may have changed it.
            spoiled = await self._files.spoiled(task, reading)
        if not (spoiled or (isinstance(made, Failed) and made.changed_input)):
            return made
        if not isinstance(made, Failed):
            await self._files.discard(task)
        if task.recipe.kind is not Kind.COMMAND:
            return Failed(self._files.changed(task.wanted))
        # Else it would spoil every file of the batch.
        it = "it, or one beside it," if others else "it"
        why = f"{it} {CHANGED_INPUT}, which was {reading.path.name}"
        self._spoiling[task.wanted.recipe_digest] = f"its command is not run any more: {why}"
        return Failed(self._files.blamed(task, made, spoiled=spoiled, others=others))

    async def _keep(self, task: Task, made: Made) -> None:
        """Note in sidecar and ledger what was made."""
        await self._files.place(task, made, rendition_record(task.wanted._replace(**made)))
        end_rendition(self._ledger, task.wanted.path, **made)
        self._made(task, made)

    def _made(self, task: Task, made: Made) -> None:
        self.totals.made += 1
        target = self._store.located(task.wanted.path)
        self._tell(EventKind.RENDITION, task, shown(target), path=shown(target), **made)

    def _failed(self, task: Task | None, reason: str) -> None:
        if task is None:
            self.totals.failed.append(f"renditions: {reason}")
            self._notify(RunEvent(kind=EventKind.WARNING, message=f"renditions: {reason}"))
            return
        of = task.job or task.wanted.source_path
        self.totals.failed.append(f"{of}, {task.wanted.name}: {reason}")
        message = f"{task.wanted.name}: {reason}"
        self._tell(EventKind.RENDITION_FAILED, task, message, reason=reason)

    def _tell(self, kind: EventKind, task: Task, message: str, **data: JSON) -> None:
        source = shown(self._store.located(task.wanted.source_path))
        named = {"rendition": task.wanted.name, "of": source, **data}
        self._notify(
            RunEvent(kind=kind, job=task.job, batch=task.batch, message=message, data=named)
        )


def _to_be_corrected(task: Task) -> str:
    """Why the ledger alone is no reason to make it: that would spoil what was fetched again."""
    if task.batch or task.known is None or not has_changed_input(task.known.failure):
        return ""
    return f"its command is not run: it has {CHANGED_INPUT} before; correct the recipe first"


def _count(item: Job | Group) -> int:
    return 1 if isinstance(item, Job) else len(item)
