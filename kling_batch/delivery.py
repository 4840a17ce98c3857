"""From a rendered result to verified files under their names, with sidecars, in the ledger.

A bad download is downloaded again; the paid result is never rendered again for it. Must not
submit, and must not read the network but through the fetcher.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path

import anyio

from kling_batch import backoff
from kling_batch.answers import files_in
from kling_batch.bench import Bench
from kling_batch.jobs import Job
from kling_batch.ledger import Placed
from kling_batch.lifecycle import Event, State
from kling_batch.outcome import (
    Charged,
    Failure,
    FailureKind,
    Fetched,
    Gone,
    Happening,
    RemoteFile,
    Unfetched,
)
from kling_batch.records import Attempt, File
from kling_batch.shelf import digest_of
from kling_batch.sidecar import sidecar

#: Files at once; what is faster than the disk and the line only splits them.
PARALLEL = 8
#: Tries at one file before the run leaves it to the next one.
FETCH_TRIES = 8
#: Seconds of nothing but 404 before a file counts as gone: storage has blips, a gateway has bad
#: minutes, and the word is final.
GONE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The files are not here yet; the attempt stays rendered and the next run goes on."""

    reason: str


class Delivery:
    """Brings files to the disk and tells the ledger."""

    def __init__(self, bench: Bench) -> None:
        """Shares the run's bench."""
        self._bench = bench
        self._parallel = anyio.Semaphore(PARALLEL)

    async def deliver(self, attempt_id: int, job: Job) -> State | Undelivered:
        """Fetch every file of a rendered attempt, name them, record success.

        Raises:
            OSError: the disk is full or the folder is not writable; nothing is lost.
            UsageError: the target leads out of the output folder.
        """
        attempt = self._bench.ledger.attempt(attempt_id)
        files = files_in(attempt.output)
        if not files:
            return self._shelve(attempt, job, {0: self._document(attempt, job)})
        here = self._here(attempt_id)
        fetched: dict[int, Fetched] = {}
        lost: dict[int, str] = {}
        for index, file in enumerate(files):
            if index in here:  # one of several had gone missing
                continue
            outcome = await self._fetch(attempt, job, index, file)
            match outcome:
                case Fetched():
                    fetched[index] = outcome
                case Gone(reason):
                    lost[index] = reason
                case Unfetched(reason):
                    return Undelivered(reason)
        if not fetched and not here:
            return self._lost(attempt, lost[0])
        if lost:
            told = f"{len(lost)} of {len(files)} files are paid and lost"
            self._say(job, "warning", f"{told}: {next(iter(lost.values()))}")
        state = self._shelve(attempt, job, fetched, [file.url for file in files], lost=[*lost])
        if here:
            self.place(attempt_id, job)  # under the name that this job wants
        return state

    def _here(self, attempt_id: int) -> frozenset[int]:
        """Which of its outputs lie on the disk as they were paid for."""
        files = self._bench.ledger.files_of(attempt_id)
        return frozenset(file.index for file in files if self._intact([file]))

    async def _fetch(
        self, attempt: Attempt, job: Job, index: int, file: RemoteFile
    ) -> Fetched | Gone | Unfetched:
        target = self._bench.shelf.prepare(job.batch, job.output_path(index, ".part"))
        temporary = self._bench.shelf.temporary(target, _token(attempt), index)
        failures = 0
        gone_since: float | None = None
        for n in count(1):
            async with self._parallel:
                outcome = await self._bench.fetcher.fetch(file, temporary)
            if isinstance(outcome, Fetched):
                return outcome
            now = anyio.current_time()
            if isinstance(outcome, Gone):
                gone_since = now if gone_since is None else gone_since
                if now - gone_since >= GONE_SECONDS:
                    temporary.unlink(missing_ok=True)
                    return outcome
            else:
                gone_since = None
                failures += 1
                if failures == FETCH_TRIES:
                    return outcome
            pause = backoff.DOWNLOAD.delay(n, self._bench.rng)
            self._say(job, "download_again", f"{outcome.reason}; again in {pause:.0f} s")
            await anyio.sleep(pause)
        raise AssertionError("the loop returns")

    def _document(self, attempt: Attempt, job: Job) -> Fetched:
        """A raw endpoint's answer without files is itself the artifact."""
        text = json.dumps(attempt.output, ensure_ascii=False, indent=2) + "\n"
        data = text.encode()
        target = self._bench.shelf.prepare(job.batch, job.output_path(0, ".json"))
        temporary = self._bench.shelf.temporary(target, _token(attempt), 0)
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
        return self._bench.ledger.record(attempt.id, Event.ARTIFACT_LOST, failure=failure)

    def _shelve(
        self,
        attempt: Attempt,
        job: Job,
        fetched: Mapping[int, Fetched],
        urls: list[str] | None = None,
        lost: Sequence[int] = (),
    ) -> State:
        """Name the files, then commit: no await, so that nothing comes between."""
        bench = self._bench
        placed: list[Placed] = []
        for index, item in fetched.items():
            final = bench.shelf.prepare(job.batch, job.output_path(index, item.ext))
            self._set_aside(final, item.sha256)
            bench.shelf.shelve(Path(item.temporary), final)
            url = urls[index] if urls else ""
            placed.append(
                Placed(index=index, path=bench.shelf.stored(final), fetched=item, url=url)
            )
            bench.shelf.write_sidecar(final, sidecar(job, attempt, item, url, bench.now()))
        bench.ledger.save_artifacts(attempt, placed, lost=lost)
        return State.SUCCEEDED

    def _set_aside(self, final: Path, incoming: str) -> None:
        """Keep whatever lies at `final` beside it, unless it is the very same content."""
        if not final.exists() or digest_of(final) == incoming:
            return
        kept = self._bench.shelf.set_aside(final)
        if kept is not None:
            stored = self._bench.shelf.stored
            self._bench.ledger.supersede(stored(final), stored(kept))

    # -- files that are here already -----------------------------------------------------------

    def place(self, attempt_id: int, job: Job) -> bool:
        """Give a succeeded job's files the names this job wants; False where one is missing."""
        bench = self._bench
        attempt = bench.ledger.attempt(attempt_id)
        by_index: dict[int, list[File]] = {}
        for file in bench.ledger.files_of(attempt_id):
            by_index.setdefault(file.index, []).append(file)
        for index, names in sorted(by_index.items()):
            final = bench.shelf.prepare(job.batch, job.output_path(index, names[0].ext))
            if bench.shelf.stored(final) in {n.path for n in names} and final.is_file():
                continue
            source = self._intact(names)
            if source is None:
                return False
            file = names[0]
            self._set_aside(final, file.sha256)
            bench.shelf.copy(source, final, _token(attempt))
            bench.ledger.place(attempt_id, index, bench.shelf.stored(final))
            item = Fetched(
                temporary=str(final),
                sha256=file.sha256,
                size=file.size,
                ext=file.ext,
                content_type=file.content_type,
            )
            record = sidecar(job, attempt, item, file.url or "", bench.now())
            bench.shelf.write_sidecar(final, record)
        return bool(by_index)

    def _intact(self, names: list[File]) -> Path | None:
        """A name under which the artifact still has the content that was paid for."""
        for file in names:
            path = self._bench.shelf.located(file.path)
            same_size = path.is_file() and path.stat().st_size == file.size
            if same_size and digest_of(path) == file.sha256:
                return path
        return None

    def fetch_again(self, attempt_id: int) -> None:
        """Go back to rendered: the file is missing, its render is not."""
        self._bench.ledger.record(
            attempt_id, Event.ARTIFACT_MISSING, reason="the file is no longer on the disk"
        )

    def _say(self, job: Job, kind: str, message: str) -> None:
        self._bench.notify(Happening(kind=kind, job=job.label, batch=job.batch, message=message))


def _token(attempt: Attempt) -> str:
    """Names the growing file of this attempt, the same in every run."""
    name = attempt.handle.request_id if attempt.handle else f"attempt-{attempt.id}"
    return sha256(name.encode()).hexdigest()[:12]
