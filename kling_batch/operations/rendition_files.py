"""Files of renditions: what a worker process reads and writes, and how the result gets its name.

In an output folder that is the file itself. Of an object in a store a copy is fetched to this
machine, once for all its renditions, and what was made of it is put into the store. Must not know
the ledger, and must not decide what is made.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import anyio

from kling_batch.core.command_line import Command
from kling_batch.core.locations import Location, ObjectAddress
from kling_batch.core.recipes import Kind
from kling_batch.core.records import RenditionRow
from kling_batch.operations.rendition_tasks import Task
from kling_batch.output.files import FileState, has_content, state_of
from kling_batch.output.renditions import note_rendition, noted_rendition, publish_rendition
from kling_batch.output.store import OutputStore, fetch, put
from kling_batch.output.store_errors import StoreError
from kling_batch.output.worker import FileWorker
from kling_batch.renditions.make import Made, remove_leftovers
from kling_batch.renditions.pool import Failed, blame

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds between the tries of what a store refuses for a while; a try has the driver's own.
_PAUSES = (1.0, 4.0)


class Reading(NamedTuple):
    """A file that is read for a rendition, and its state when it was what was saved."""

    path: Path
    state: FileState | None


@dataclass(slots=True)
class _Source:
    """A file of which renditions are wanted."""

    #: Tasks that are not done yet.
    waiting: int = 0
    #: Its copy, once that is complete.
    copy: Path | None = None
    #: Recipes whose commands run on the file itself, each with those that ran beside it.
    running: dict[str, set[str]] = field(default_factory=dict)
    #: One fetches, and one writes the sidecar, at a time.
    lock: anyio.Lock = field(default_factory=anyio.Lock)


class RenditionFiles:
    """The files of one run's renditions.

    Args:
        store: where they lie.
        worker: does what blocks.
        repair: what to type where a source is no longer what was saved.
    """

    def __init__(self, store: OutputStore, worker: FileWorker, repair: Command) -> None:
        """Nothing is fetched yet."""
        self._store = store
        self._worker = worker
        self._repair = repair
        self._sources: dict[str, _Source] = {}
        #: In which state a source had the content that was saved; of an object there is none.
        self._intact: dict[str, FileState | None] = {}
        #: Sources that were found to be something else.
        self.damaged: set[str] = set()

    def expect(self, task: Task) -> None:
        """Keep what is fetched for this task until it is `done`."""
        self._sources.setdefault(task.wanted.source_path, _Source()).waiting += 1

    async def done(self, task: Task) -> None:
        """Remove what was fetched, where no other task needs it."""
        source = self._sources[task.wanted.source_path]
        source.waiting -= 1
        if not source.waiting:
            del self._sources[task.wanted.source_path]
            if source.copy is not None:
                await self._worker.run(_remove, self._folder(task))

    def clear(self) -> None:
        """Remove what this run, or one that was killed, has left on this machine."""
        _remove(self._store.scratch)

    # -- looking --

    async def made_before(self, task: Task, *, by_workers: bool = False) -> Made | None:
        """What lies under the name, where it is this rendition; another file is kept beside.

        `by_workers`: where it is to be made, a worker looks at its source.

        Raises:
            OSError: the source is no longer what was saved, or a store cannot be asked.
        """
        return await self._lasting(self._made_before, task, by_workers)

    def _made_before(self, task: Task, by_workers: bool) -> Made | None:
        wanted, known = task.wanted, task.known
        source, target = self._at(wanted.source_path), self._at(wanted.path)
        if not by_workers:
            self._must_be_intact(wanted)
        elif known is not None and known.sha256 is None and isinstance(target, Path):
            remove_leftovers(target)  # of a worker that went on after its run had ended
        if (size := self._store.size(target)) is None:
            return None
        digest = self._store.digest(target)
        if known is None:
            noted = noted_rendition(source, wanted.source_sha256, wanted.name)
            if (noted.get("recipe_digest"), noted.get("sha256")) == (wanted.recipe_digest, digest):
                self._must_be_intact(wanted)
                return Made(sha256=digest, size=size, content_type=str(noted.get("content_type")))
        if known is None or known.sha256 not in (None, digest):
            self._store.back_up(target)
        return None

    def _must_be_intact(self, wanted: RenditionRow) -> None:
        source = self._at(wanted.source_path)
        # Looked at each time: programs of the user run on it meanwhile.
        state = state_of(source) if isinstance(source, Path) else None
        if wanted.source_path in self._intact and self._intact[wanted.source_path] == state:
            return
        if self._store.digest(source) != wanted.source_sha256:
            raise OSError(self.changed(wanted))
        self._intact[wanted.source_path] = state

    def changed(self, wanted: RenditionRow) -> str:
        """That a source is no longer what was saved, and what to type."""
        self.damaged.add(wanted.source_path)
        name = self._at(wanted.source_path).name
        return f"{name} has changed since it was saved; `{self._repair}` puts it back"

    # -- making --

    async def linked(self, same: Sequence[RenditionRow], task: Task) -> Made | None:
        """One more name for what was made of the same content under another one."""
        return await self._lasting(self._linked, same, task) if same else None

    def _linked(self, same: Sequence[RenditionRow], task: Task) -> Made | None:
        for row in same:
            at = self._at(row.path)
            if row.sha256 is None or row.size is None:
                continue
            if self._store.intact(at, row.size, row.sha256):
                target, scratch = self._at(task.wanted.path), self._store.scratch
                publish_rendition(at, target, row.sha256, scratch)
                content_type = row.content_type or ""
                return Made(sha256=row.sha256, size=row.size, content_type=content_type)
        return None

    async def source(self, task: Task) -> Reading:
        """What is read: the file, which `made_before` has compared, or a copy of the object."""
        at = self._at(task.wanted.source_path)
        if isinstance(at, Path):
            return Reading(at, self._intact[task.wanted.source_path])
        source = self._sources[task.wanted.source_path]
        async with source.lock:
            if source.copy is None:
                copy = self._folder(task) / at.name
                await self._lasting(self._fetch, at, copy, task.wanted.source_sha256)
                source.copy = copy
        if task.recipe.kind is Kind.COMMAND:
            # Of its own: what it may do to it must not be in any other rendition.
            own = self._folder(task) / task.wanted.name / at.name
            return Reading(own, await self._worker.run(_copied, source.copy, own))
        return Reading(source.copy, state_of(source.copy))

    async def spoiled(self, task: Task, reading: Reading) -> bool:
        """Whether what was read is no longer what was saved. Raises `OSError`."""
        digest = task.wanted.source_sha256
        return not await self._worker.run(has_content, *reading, digest)

    @contextmanager
    def beside(self, task: Task) -> Iterator[set[str]]:
        """Recipes whose commands run on the same file meanwhile: one of them may have changed it.

        Empty where only a copy is read, or no command is run.
        """
        name, others = task.wanted.name, set[str]()
        if task.recipe.kind is not Kind.COMMAND or isinstance(
            self._at(task.wanted.source_path), ObjectAddress
        ):
            yield others
            return
        running = self._sources[task.wanted.source_path].running
        others.update(running)
        for found in running.values():
            found.add(name)
        running[name] = others
        try:
            yield others
        finally:
            del running[name]

    def blamed(
        self, task: Task, made: Made | Failed, *, spoiled: bool, others: Collection[str]
    ) -> str:
        """That a command has changed what it must only read, and what to type.

        `others`: recipes of which one may have done it as well.
        """
        said = blame(task.recipe.settings, made)
        if isinstance(self._at(task.wanted.source_path), ObjectAddress):
            return f"{said}, a copy of the saved file, which is as it was"
        if not spoiled:
            return f"{said}, if not its content"
        self.damaged.add(task.wanted.source_path)
        file = "the saved file itself"
        if others:
            file += f", or {' or '.join(sorted(others))} did, which ran beside it"
        return f"{said}, {file}; `{self._repair}` fetches it again"

    async def discard(self, task: Task) -> None:
        """Remove what was made of a source that was spoiled meanwhile."""
        await self._worker.run(self.target(task).unlink, missing_ok=True)

    def _fetch(self, at: ObjectAddress, copy: Path, digest: str) -> None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        fetch(at, copy, digest)

    def target(self, task: Task) -> Path:
        """What is written: the file itself, or what is put into the store afterwards."""
        at = self._at(task.wanted.path)
        return at if isinstance(at, Path) else self._folder(task) / at.name

    async def place(self, task: Task, made: Made, record: Mapping[str, Any]) -> None:
        """Put what was made into its store, and note it in the sidecar of its source."""
        wanted, at = task.wanted, self._at(task.wanted.path)
        if isinstance(at, ObjectAddress):
            local = self.target(task)
            if local.exists():  # else the store has copied it itself
                await self._lasting(put, local, at, made["sha256"])
                await self._worker.run(local.unlink)
        source = self._at(wanted.source_path)
        async with self._sources[wanted.source_path].lock:
            await self._lasting(note_rendition, source, wanted.source_sha256, wanted.name, record)

    def _folder(self, task: Task) -> Path:
        """Where a source and its renditions lie, under the names that they have in the store."""
        token = sha256(task.wanted.source_path.encode("utf-8", "surrogatepass")).hexdigest()
        return self._store.scratch / token[:16]

    def _at(self, stored: str) -> Location:
        return self._store.located(stored)

    async def _lasting(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what may go to a store, again where that fails for a while."""
        for pause in _PAUSES:
            try:
                return await self._worker.run(work, *args, **kwargs)
            except StoreError as error:
                if not error.passing:
                    raise
            await anyio.sleep(pause)
        return await self._worker.run(work, *args, **kwargs)


def _copied(file: Path, copy: Path) -> FileState | None:
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(file, copy)
    return state_of(copy)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
