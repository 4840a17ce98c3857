"""From a rendered result to verified files under their names, with sidecars, in the ledger.

A bad download is downloaded again; the paid result is never rendered again for it. Must not
submit, and must not read the network but through the fetcher.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path

import anyio

from kling_batch.core.events import RunEvent
from kling_batch.core.jobs import Job
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import (
    Charged,
    Failure,
    FailureKind,
    Fetched,
    Gone,
    RemoteFile,
    Unfetched,
)
from kling_batch.core.quantities import parse_iso
from kling_batch.core.records import Attempt, File
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.fal.responses import files_in
from kling_batch.ledger.ledger import Placed
from kling_batch.output.files import digest_of
from kling_batch.output.sidecar import sidecar
from kling_batch.output.store import sidecar_of

#: Files at once; what is faster than the disk and the line only splits them.
PARALLEL = 8
#: Tries at one file before the run leaves it to the next one; and for how many seconds more where
#: it is the line or the server that fails, and a night must not end with it.
FETCH_TRIES = 8
OUTAGE_SECONDS = 3600.0
#: Seconds of nothing but 404 before a file counts as gone: storage has blips, a gateway has bad
#: minutes, and the word is final.
GONE_SECONDS = 300.0
#: fal keeps files for seven days at least (docs/fal-api.md#file-retention). What it denies before
#: is missing, but not given up: this run asks for so many seconds, and the next one again.
KEPT = timedelta(days=7)
BLIP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The files are not here yet; the attempt stays rendered and the next run goes on."""

    reason: str


@dataclass(slots=True)
class _Haul:
    """What one look at all files of a render brought."""

    fetched: dict[int, Fetched] = field(default_factory=dict)
    #: Why fal denies a file, by its place.
    lost: dict[int, str] = field(default_factory=dict)
    #: Why something is still to come.
    waiting: str = ""


class Delivery:
    """Brings files to the disk and tells the ledger."""

    def __init__(self, context: RunContext) -> None:
        """Shares the run's bench."""
        self._context = context
        self._parallel = anyio.Semaphore(PARALLEL)

    async def deliver(self, attempt_id: int, job: Job) -> State | Undelivered:
        """Fetch every file of a rendered attempt, name them, record success.

        Raises:
            OSError: the disk is full or the folder is not writable; nothing is lost.
            UsageError: the target leads out of the output folder.
        """
        attempt = self._context.ledger.attempt(attempt_id)
        files = files_in(attempt.output)
        if not files:
            placed = self._shelve(attempt, job, {0: self._document(attempt, job)})
            self._context.ledger.save_artifacts(attempt, placed)
            return State.SUCCEEDED
        here = self._here(attempt_id)  # one of several had gone missing, or had come first
        haul = await self._haul(attempt, job, files, here)
        if haul.lost and self._young(attempt):
            haul.waiting = (
                f"paid, and it looks lost: {next(iter(haul.lost.values()))}; every run asks for it"
                f" again until fal's seven days are over, or: kling-batch retry {job.label}"
            )
        if not (haul.waiting or haul.fetched or here):
            return self._lost(attempt, haul.lost[0])
        placed = self._shelve(attempt, job, haul.fetched, files)
        if haul.waiting:
            self._context.ledger.save_some(attempt, placed)
            return Undelivered(haul.waiting)
        if haul.lost:
            told = f"{len(haul.lost)} of {len(files)} files are paid and lost"
            self._say(job, "warning", f"{told}: {next(iter(haul.lost.values()))}")
        self._context.ledger.save_artifacts(attempt, placed, lost=[*haul.lost])
        if here:
            self.place(attempt_id, job)  # under the name that this job wants
        return State.SUCCEEDED

    async def _haul(
        self, attempt: Attempt, job: Job, files: Sequence[RemoteFile], here: Collection[int]
    ) -> _Haul:
        haul = _Haul()
        for index, file in enumerate(files):
            if index in here:
                continue
            final = self._context.store.prepare(job.batch, job.output_path(index, ".part"))
            match await self._fetch(attempt, job, index, file, final):
                case Fetched() as fetched:
                    haul.fetched[index] = fetched
                case Gone(reason):
                    haul.lost[index] = reason
                case Unfetched(reason):
                    haul.waiting = reason
        return haul

    def _young(self, attempt: Attempt) -> bool:
        """Whether fal still has to have the files, so that their absence is an outage of its."""
        made = attempt.rendered_at
        return made is not None and self._context.now() - parse_iso(made) < KEPT

    def _here(self, attempt_id: int) -> frozenset[int]:
        """Which of its outputs lie on the disk as they were paid for."""
        files = self._context.ledger.files_of(attempt_id)
        return frozenset(file.index for file in files if self._intact([file]))

    async def _fetch(
        self, attempt: Attempt, job: Job, index: int, file: RemoteFile, final: Path
    ) -> Fetched | Gone | Unfetched:
        temporary = self._context.store.temporary(final, _token(attempt), index)
        failures = 0
        gone_since: float | None = None
        begun = anyio.current_time()
        for n in count(1):
            async with self._parallel:
                outcome = await self._context.fetcher.fetch(file, temporary)
            if isinstance(outcome, Fetched):
                return outcome
            now = anyio.current_time()
            if isinstance(outcome, Gone):
                gone_since = now if gone_since is None else gone_since
                patience = BLIP_SECONDS if self._young(attempt) else GONE_SECONDS
                if now - gone_since >= patience:
                    temporary.unlink(missing_ok=True)
                    return outcome
            else:
                gone_since = None
                failures += 1
                lasting = outcome.outage and now - begun < OUTAGE_SECONDS
                if failures >= FETCH_TRIES and not lasting:
                    return outcome
            pause = pacing.DOWNLOAD.delay(n, self._context.rng)
            self._say(job, "download_again", f"{outcome.reason}; again in {pause:.0f} s")
            await anyio.sleep(pause)
        raise AssertionError("the loop returns")

    def _document(self, attempt: Attempt, job: Job) -> Fetched:
        """A raw endpoint's answer without files is itself the artifact."""
        text = json.dumps(attempt.output, ensure_ascii=False, indent=2) + "\n"
        data = text.encode()
        target = self._context.store.prepare(job.batch, job.output_path(0, ".json"))
        temporary = self._context.store.temporary(target, _token(attempt), 0)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # before it gets its name, like every file
        return Fetched(
            temporary=str(temporary),
            sha256=sha256(data).hexdigest(),
            size=len(data),
            ext=".json",
            content_type="application/json",
        )

    def _lost(self, attempt: Attempt, reason: str) -> State:
        failure = Failure(
            kind=FailureKind.EXPIRED,
            message=f"paid and lost: {reason}",
            charged=Charged.YES,
        )
        return self._context.ledger.record(attempt.id, Event.ARTIFACT_LOST, failure=failure)

    def _shelve(
        self,
        attempt: Attempt,
        job: Job,
        fetched: Mapping[int, Fetched],
        files: Sequence[RemoteFile] = (),
    ) -> list[Placed]:
        """Name the files; the caller commits at once: no await, so that nothing comes between."""
        placed: list[Placed] = []
        for index, item in fetched.items():
            final = self._context.store.prepare(job.batch, job.output_path(index, item.ext))
            url = files[index].url if files else ""
            self._name(attempt, job, final, item, url)
            stored = self._context.store.stored(final)
            placed.append(Placed(index=index, path=stored, fetched=item, url=url))
        return placed

    def _name(self, attempt: Attempt, job: Job, final: Path, item: Fetched, url: str) -> None:
        """Give a fetched file its name, and the name its story."""
        store = self._context.store
        self._set_aside(final, item.sha256)
        store.shelve(Path(item.temporary), final)
        store.write_sidecar(final, sidecar(job, attempt, item, url, self._context.now()))

    def _set_aside(self, final: Path, incoming: str) -> None:
        """Keep whatever lies at `final` beside it, unless it is the very same content."""
        if not final.exists() or (there := digest_of(final)) == incoming:
            return
        kept = self._context.store.back_up(final)
        stored = self._context.store.stored
        known = self._context.ledger.file_at(stored(final))
        # What somebody has edited is theirs, and no longer what was paid for.
        if kept is not None and known is not None and known.sha256 == there:
            self._context.ledger.supersede(stored(final), stored(kept))

    # -- files that are here already -----------------------------------------------------------

    def place(self, attempt_id: int, job: Job) -> bool:
        """Give a succeeded job's files the names this job wants; False where one is missing."""
        context = self._context
        attempt = context.ledger.attempt(attempt_id)
        by_index = self._names(attempt_id, kept=True)
        for index, names in by_index.items():
            final = context.store.prepare(job.batch, job.output_path(index, names[0].ext))
            if context.store.stored(final) in {n.path for n in names} and final.is_file():
                continue
            source = self._intact(names)
            if source is None:
                return False
            self._copy(attempt, job, names[0], source, final)
        return bool(by_index)

    def _copy(self, attempt: Attempt, job: Job, file: File, source: Path, final: Path) -> None:
        """One more name for an artifact, with its sidecar."""
        context = self._context
        self._set_aside(final, file.sha256)
        context.store.copy(source, final, _token(attempt))
        self._tell_beside(attempt, job, file, final)
        context.ledger.place(attempt.id, file.index, context.store.stored(final))

    def _tell_beside(self, attempt: Attempt, job: Job, file: File, final: Path) -> None:
        """The sidecar of an artifact that is here already."""
        context = self._context
        item = Fetched(
            temporary=str(final),
            sha256=file.sha256,
            size=file.size,
            ext=file.ext,
            content_type=file.content_type,
        )
        context.store.write_sidecar(
            final, sidecar(job, attempt, item, file.url or "", context.now())
        )

    async def restore(self, attempt_id: int, job: Job) -> State | Undelivered:
        """Put every file back under each name that the ledger has for it, wherever that is.

        From another name where one is intact, else from fal. What cannot be had stays as it is: a
        look at the disk condemns nothing.
        """
        attempt = self._context.ledger.attempt(attempt_id)
        for index, names in self._names(attempt_id).items():
            if self._intact(names) is None:
                failed = await self._bring_back(attempt, job, names[0])
                if failed is not None:
                    return failed
            known = self._names(attempt_id)[index]  # with what has just come
            source = self._intact(known)
            for file in known:
                final = self._context.store.located(file.path)
                if source is not None and self._intact([file]) is None:
                    final.parent.mkdir(parents=True, exist_ok=True)
                    self._copy(attempt, job, file, source, final)
                elif not sidecar_of(final).is_file():
                    self._tell_beside(attempt, job, file, final)
        return attempt.state

    async def _bring_back(self, attempt: Attempt, job: Job, file: File) -> Undelivered | None:
        """Fetch an output again to one of its names."""
        remote = files_in(attempt.output)
        if file.index >= len(remote):
            return Undelivered("fal's answer has no such file")
        final = self._context.store.located(file.path)
        final.parent.mkdir(parents=True, exist_ok=True)
        url = remote[file.index].url
        outcome = await self._fetch(attempt, job, file.index, remote[file.index], final)
        if not isinstance(outcome, Fetched):
            return Undelivered(outcome.reason)
        self._name(attempt, job, final, outcome, url)
        placed = Placed(index=file.index, path=file.path, fetched=outcome, url=url)
        self._context.ledger.save_some(attempt, [placed])
        return None

    def _names(self, attempt_id: int, *, kept: bool = False) -> dict[int, list[File]]:
        """Every name in use of each output, in order; `kept`: those set aside, too."""
        by_index: dict[int, list[File]] = {}
        for file in self._context.ledger.files_of(attempt_id):
            if kept or not file.superseded:
                by_index.setdefault(file.index, []).append(file)
        return dict(sorted(by_index.items()))

    def _intact(self, names: list[File]) -> Path | None:
        """A name under which the artifact still has the content that was paid for."""
        for file in names:
            path = self._context.store.located(file.path)
            same_size = path.is_file() and path.stat().st_size == file.size
            if same_size and digest_of(path) == file.sha256:
                return path
        return None

    def fetch_again(self, attempt_id: int) -> None:
        """Go back to rendered: the file is missing, its render is not."""
        self._context.ledger.record(
            attempt_id, Event.ARTIFACT_MISSING, reason="the file is no longer on the disk"
        )

    def _say(self, job: Job, kind: str, message: str) -> None:
        self._context.notify(RunEvent(kind=kind, job=job.label, batch=job.batch, message=message))


def _token(attempt: Attempt) -> str:
    """Names the growing file of this attempt, the same in every run."""
    name = attempt.handle.request_id if attempt.handle else f"attempt-{attempt.id}"
    return sha256(name.encode()).hexdigest()[:12]
