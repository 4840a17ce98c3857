"""Delivery of a render: its files fetched, published under their names, recorded in the ledger.

Also gives files that are here further names, and puts missing ones back. Must not submit, and must
not read the network but through `file_fetch.py`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import anyio
from anyio import CancelScope

from kling_batch.core.jobs import JSON, Job
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.locations import Location
from kling_batch.core.outcomes import (
    Fetched,
    Gone,
    RemoteFile,
    Unfetched,
)
from kling_batch.core.records import Attempt, File
from kling_batch.engine.context import RunContext
from kling_batch.engine.file_fetch import FileFetch, token_of
from kling_batch.engine.file_put import FilePut
from kling_batch.engine.name_locks import NameLocks
from kling_batch.engine.output_again import OutputAgain
from kling_batch.fal.responses import files_in
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.ledger import Placed
from kling_batch.ledger.names import sharing
from kling_batch.ledger.renditions import renditions_of
from kling_batch.output.file_store import renditions_in, with_rendition
from kling_batch.output.files import write_synced
from kling_batch.output.sidecar import Part, rendition_record, sidecar
from kling_batch.output.spool import BETWEEN
from kling_batch.output.store import OutputStore


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The files are not here yet; the attempt stays rendered and the next run goes on."""

    reason: str


@dataclass(slots=True)
class _FetchResults:
    """Results of fetching the outputs of a render, by index."""

    fetched: dict[int, Fetched] = field(default_factory=dict)
    #: Why an output is still to come, or empty.
    pending: str = ""


class Delivery:
    """Brings the files of renders to the output folders."""

    def __init__(self, context: RunContext) -> None:
        """One a run."""
        self._context = context
        self._again = OutputAgain(context)
        self._fetch = FileFetch(context, self._again)
        self._run = context.worker.run
        self._names = NameLocks()
        self._put = FilePut(context)
        #: Renders that are between fal and a store at once: each lies on a disk meanwhile, this
        #: machine's or a worker's.
        self._between = anyio.Semaphore(max(BETWEEN, context.downloads))

    async def deliver(self, attempt: Attempt, job: Job, *, begun: bool) -> State | Undelivered:
        """Fetch every file of a rendered attempt, publish them, record success.

        `begun`: files of it may be here already.

        Raises:
            OSError: the disk is full or the folder is not writable; nothing is lost.
            UsageError: the target leads out of the output folder.
        """
        if not self._context.store.is_remote(job.batch):
            return await self._delivered(attempt, job, begun=begun)
        async with self._between:
            # As it is after the wait: its bill may have come.
            attempt = self._context.ledger.attempt(attempt.id)
            return await self._delivered(attempt, job, begun=begun)

    async def _delivered(self, attempt: Attempt, job: Job, *, begun: bool) -> State | Undelivered:
        files: Sequence[RemoteFile] = files_in(attempt.output)
        if not files and self._context.media(attempt.endpoint):
            if await self._again.file(attempt.id, 0) is None:
                return Undelivered("fal's answer about it names no file")
            attempt = self._context.ledger.attempt(attempt.id)
            files = files_in(attempt.output)
        if not files:
            target = self._context.store.prepare(job.batch, job.output_path(0, ".json"))
            document = await self._run(self._document, attempt, target)
            await self._publish_all(attempt, job, {0: document})
            return State.SUCCEEDED
        # All but one that was deleted, or came late.
        present = await self._present(attempt.id) if begun else {}
        results = await self._fetch_all(attempt, job, files, present)
        for file in present.values():
            await self._write_sidecar(attempt, job, file)  # a crash may have come before it
        files = self._again.latest(attempt, files)
        complete = not results.pending
        await self._publish_all(attempt, job, results.fetched, files, complete=complete)
        if not complete:
            return Undelivered(results.pending)
        if present:
            await self.place(attempt.id, job)  # under the names that this job has now
        return State.SUCCEEDED

    async def _fetch_all(
        self, attempt: Attempt, job: Job, files: Sequence[RemoteFile], present: Collection[int]
    ) -> _FetchResults:
        results = _FetchResults()
        for index in range(len(files)):
            if index in present:
                continue
            file = self._again.latest(attempt, files)[index]
            final = self._context.store.prepare(job.batch, job.output_path(index, ".part"))
            match await self._fetch.fetch(attempt, job, index, file, final):
                case Fetched() as fetched:
                    results.fetched[index] = fetched
                case Gone(reason):
                    retry = command_on(self._context.ledger.path, "retry", job.label)
                    results.pending = (
                        f"paid, and it looks lost: {reason}; every run asks for it again, and only "
                        f"`{retry}` gives it up and pays for another render"
                    )
                case Unfetched(reason):
                    results.pending = reason
        return results

    async def _present(self, attempt_id: int) -> dict[int, File]:
        """The outputs of the attempt that are on the disk, unchanged, by index."""
        files = self._context.ledger.files_of(attempt_id)
        return {file.index: file for file in files if await self._intact([file])}

    def _document(self, attempt: Attempt, target: Location) -> Fetched:
        """The answer of a raw endpoint that has no files, as a file of its own."""
        text = json.dumps(attempt.output, ensure_ascii=False, indent=2) + "\n"
        data = text.encode()
        temporary = self._context.store.temporary(target, token_of(attempt), 0)
        write_synced(temporary, data)  # before it is published, like every file
        return Fetched(
            temporary=str(temporary),
            sha256=sha256(data).hexdigest(),
            size=len(data),
            ext=".json",
            content_type="application/json",
        )

    # -- publishing ----------------------------------------------------------------------------

    async def _publish_all(
        self,
        attempt: Attempt,
        job: Job,
        fetched: Mapping[int, Fetched],
        files: Sequence[RemoteFile] = (),
        *,
        complete: bool = True,
    ) -> None:
        """Publish fetched files and record them; `complete`: the attempt has succeeded."""
        store, ledger = self._context.store, self._context.ledger
        finals = {
            i: store.prepare(job.batch, job.output_path(i, f.ext)) for i, f in fetched.items()
        }
        save = ledger.save_artifacts if complete else ledger.save_some

        async def publish() -> None:
            placed: list[Placed] = []
            for index, item in fetched.items():
                url = files[index].url if files else ""
                final = finals[index]
                placed.append(
                    await self._publish(attempt, job, index, final=final, item=item, url=url)
                )
            save(attempt, placed)
            for each in placed:
                store.recorded(each.path, each.fetched)

        await self._named(attempt, job, publish, *finals.values())

    async def _named(
        self, attempt: Attempt, job: Job, publish: Callable[[], Awaitable[None]], *names: Location
    ) -> None:
        """Publish and record while nobody else has these names; again where a store fails."""

        async def once() -> None:
            async with self._names.held(*names):
                # What has its name is recorded, however the run ends.
                with CancelScope(shield=True):
                    await publish()

        await self._put.lasting(once, attempt, job)

    async def _publish(
        self, attempt: Attempt, job: Job, index: int, *, final: Location, item: Fetched, url: str
    ) -> Placed:
        """Publish one file; the caller holds its name, and commits it before it lets go."""
        path = await self._run(
            self._context.store.publish,
            Path(item.temporary),
            final,
            sha256=item.sha256,
            record=self._record_of(attempt, job, index, item, url),
            superseded=self._supersede_in_loop,
        )
        return Placed(index=index, path=path, fetched=item, url=url)

    def _supersede_in_loop(self, path: str, kept_as: str, digest: str) -> None:
        """Called by the store, from the worker's thread."""
        self._context.worker.in_loop(self._supersede, path, kept_as, digest)

    def _supersede(self, path: str, kept_as: str, digest: str) -> None:
        """Record the second name of an artifact that is about to be replaced under its first."""
        known = self._context.ledger.file_at(path)
        # A file that somebody has edited is no longer the artifact that was paid for.
        if known is not None and known.sha256 == digest:
            self._context.ledger.supersede(path, kept_as)

    # -- files that are here already -----------------------------------------------------------

    async def place(self, attempt_id: int, job: Job) -> bool:
        """Give a succeeded job's files the names this job wants; False where one is missing."""
        store = self._context.store
        attempt = self._context.ledger.attempt(attempt_id)
        by_index = self._files(attempt_id, superseded=True)
        for index, files in by_index.items():
            final = store.prepare(job.batch, job.output_path(index, files[0].ext))
            named = store.stored(final) in {file.path for file in files}
            if named and await self._run(store.size, final) == files[0].size:
                continue
            source = await self._intact(files)
            if source is None:
                return False
            await self._copy(attempt, job, files[0], source, final)
        return bool(by_index)

    async def _copy(
        self, attempt: Attempt, job: Job, file: File, source: Location, final: Location
    ) -> None:
        """Publish an artifact under one more name."""
        store, token = self._context.store, token_of(attempt)

        async def publish() -> None:
            path = await self._run(
                store.publish_copy,
                source,
                final,
                token=token,
                sha256=file.sha256,
                record=self._sidecar(attempt, job, file, store.stored(final)),
                superseded=self._supersede_in_loop,
            )
            self._context.ledger.place(attempt.id, file.index, path)

        await self._named(attempt, job, publish, final, store.temporary(final, token, 0))

    async def _write_sidecar(self, attempt: Attempt, job: Job, file: File) -> None:
        """Write the sidecar of a file that is here."""
        store = self._context.store
        final = store.located(file.path)
        temporary = store.temporary(final, token_of(attempt), file.index)
        record = self._sidecar(attempt, job, file, file.path)
        await self._run(store.write_sidecar, final, record, temporary)

    async def _is_described(self, file: File, final: Location) -> bool:
        """Whether the sidecar beside a file is its record, with what was made of it."""
        known = await self._run(self._context.store.sidecar, final, file.sha256)
        made = self._renditions(file.path, file.sha256)
        return bool(known) and renditions_in(known).keys() >= made.keys()

    def _renditions(self, path: str, sha256: str) -> dict[str, JSON]:
        """What was made of a file, by name, as its sidecar says it."""
        rows = renditions_of(self._context.ledger, [path]).values()
        made = (row for row in rows if row.sha256 is not None and row.source_sha256 == sha256)
        return {row.name: rendition_record(row) for row in made}

    def _sidecar(self, attempt: Attempt, job: Job, file: File, path: str) -> JSON:
        """The record of a file that is here, under one of its stored names."""
        item = Fetched(
            temporary=file.path,
            sha256=file.sha256,
            size=file.size,
            ext=file.ext,
            content_type=file.content_type,
        )
        record = self._record_of(attempt, job, file.index, item, file.url or "")
        for name, made in self._renditions(path, file.sha256).items():
            record = with_rendition(record, name, made)
        return record

    def _record_of(self, attempt: Attempt, job: Job, index: int, item: Fetched, url: str) -> JSON:
        outputs = max(1, len(files_in(attempt.output)))
        part = Part(index=index, outputs=outputs, service=self._context.ledger.service)
        return sidecar(job, attempt, part, item, url=url, saved_at=self._context.now())

    async def restore(self, attempt_id: int, job: Job) -> State | Undelivered:
        """Put every file back under each name that the ledger has for it.

        From another name where one is intact, else from fal. What cannot be restored keeps its
        state: a missing file is no reason to give up a render.
        """
        store = self._context.store
        attempt = self._context.ledger.attempt(attempt_id)
        for index, files in self._files(attempt_id).items():
            if await self._intact(files) is None:
                failed = await self._fetch_back(attempt, self._owner(files[0], job), files[0])
                if failed is not None:
                    return failed
            known = self._files(attempt_id)[index]  # with the one just fetched
            source = await self._intact(known)
            for file in known:
                final, owner = store.located(file.path), self._owner(file, job)
                if source is not None and await self._intact([file]) is None:
                    store.make_folder(final)
                    await self._copy(attempt, owner, file, source, final)
                elif not await self._is_described(file, final):
                    await self._write_sidecar(attempt, owner, file)
        return attempt.state

    def _owner(self, file: File, job: Job) -> Job:
        """The one of the jobs with this request that has the file; its sidecar says the name."""
        for other in sharing(self._context.ledger, job.key):
            if f"/{file.path}".endswith(f"/{other.output_path(file.index, file.ext)}"):
                return other
        return job

    async def _fetch_back(self, attempt: Attempt, job: Job, file: File) -> Undelivered | None:
        """Fetch an output again, to one of its names; an answer without files is written anew."""
        remote = files_in(attempt.output)
        if remote and file.index >= len(remote):
            return Undelivered("fal's answer has no such file")
        final = self._context.store.located(file.path)
        self._context.store.make_folder(final)
        outcome: Fetched | Gone | Unfetched
        if remote:
            outcome = await self._fetch.fetch(attempt, job, file.index, remote[file.index], final)
        else:
            outcome = await self._run(self._document, attempt, final)
        if not isinstance(outcome, Fetched):
            return Undelivered(outcome.reason)
        fetched = outcome
        url = self._again.latest(attempt, remote)[file.index].url if remote else ""

        async def publish() -> None:
            placed = await self._publish(
                attempt, job, file.index, final=final, item=fetched, url=url
            )
            self._context.ledger.save_some(attempt, [placed])
            self._context.store.recorded(placed.path, fetched)

        await self._named(attempt, job, publish, final)
        return None

    def _files(self, attempt_id: int, *, superseded: bool = False) -> dict[int, list[File]]:
        """The files of each output, by index; `superseded`: with those kept under second names."""
        by_index: dict[int, list[File]] = {}
        for file in self._context.ledger.files_of(attempt_id):
            if superseded or not file.superseded:
                by_index.setdefault(file.index, []).append(file)
        return dict(sorted(by_index.items()))

    async def _intact(self, files: list[File]) -> Location | None:
        """The first of these files that still has the content that was paid for."""
        return await self._run(_first_intact, self._context.store, files) if files else None

    def mark_missing(self, attempt_id: int) -> None:
        """Go back to rendered: the file is missing, its render is not."""
        self._context.ledger.record(
            attempt_id, Event.ARTIFACT_MISSING, reason="the file is missing or changed on the disk"
        )


def _first_intact(store: OutputStore, files: Sequence[File]) -> Location | None:
    located = ((store.located(file.path), file) for file in files)
    return next((at for at, file in located if store.intact(at, file.size, file.sha256)), None)
