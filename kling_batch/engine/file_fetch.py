"""Fetch of one file of a render, repeated until it is complete, gone, or left to the next run.

A bad download is downloaded again; the render is never paid for again because of it. Where one
address fails for long, fal is asked for another. Must not publish files or write to the ledger.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from pathlib import Path

import anyio

from kling_batch.core.events import EventKind
from kling_batch.core.jobs import Job
from kling_batch.core.locations import Location, ObjectAddress
from kling_batch.core.outcomes import Fetched, Gone, RemoteFile, Unfetched
from kling_batch.core.records import Attempt
from kling_batch.core.urls import unsigned
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.engine.output_again import OutputAgain
from kling_batch.output.part_origin import remove_part

#: Tries at one file before the run leaves it to the next one, and seconds for which they go on all
#: the same where the network or the server fails: a night's run must not end with a short outage.
FETCH_TRIES = 8
OUTAGE_SECONDS = 3600.0
#: Seconds of nothing but 404 before a run reports a file as missing at fal. That is never final,
#: because storage and gateways answer 404 in outages, too: the next run asks again.
GONE_SECONDS = 60.0
#: Failures at one address after which fal is asked for another: early, as a run may be short.
ASK_AFTER = 3


class _Tries:
    """Tries at one address that failed, and whether they go on."""

    def __init__(self, started: float) -> None:
        """None yet; `started`: when the file was first asked for."""
        self.started = started
        self._all = self._failures = 0
        self._gone_since: float | None = None
        #: Whether the file is left to the next run, without another address.
        self.over = False

    def note(self, outcome: Gone | Unfetched, now: float) -> None:
        """One more failed try."""
        self._all += 1
        if isinstance(outcome, Gone):
            self._gone_since = now if self._gone_since is None else self._gone_since
            self.over = now - self._gone_since >= GONE_SECONDS
            return
        self._gone_since = None
        self._failures += 1
        outage = outcome.outage and now - self.started < OUTAGE_SECONDS
        self.over = self._failures >= FETCH_TRIES and not outage

    @property
    def spent(self) -> bool:
        """Whether another address should be asked for: this one has failed often enough."""
        return self.over or self._all == ASK_AFTER


class FileFetch:
    """Fetches files of renders; one a run, because it limits downloads at once.

    Args:
        context: of the run.
        again: asked for another address where the tries at one are spent.
    """

    def __init__(self, context: RunContext, again: OutputAgain) -> None:
        """Nothing is being fetched."""
        self._context, self._again = context, again
        self._parallel = anyio.Semaphore(context.downloads, fast_acquire=True)

    async def fetch(
        self, attempt: Attempt, job: Job, index: int, file: RemoteFile, final: Location
    ) -> Fetched | Gone | Unfetched:
        """Fetch one output to its temporary path: beside `final`, or where a store's files wait."""
        store, run = self._context.store, self._context.worker.run
        temporary = store.temporary(final, token_of(attempt), index)
        if isinstance(final, ObjectAddress):
            if (known := await run(store.spooled, temporary)) is not None:
                return known
            outcome = await self._fetch(attempt, job, index, file, temporary)
            if isinstance(outcome, Fetched):
                await run(store.downloaded, outcome, attempt.id)
            return outcome
        return await self._fetch(attempt, job, index, file, temporary)

    async def _fetch(
        self, attempt: Attempt, job: Job, index: int, file: RemoteFile, temporary: Path
    ) -> Fetched | Gone | Unfetched:
        tries = _Tries(anyio.current_time())
        for n in count(1):
            async with self._parallel:
                outcome = await self._context.fetcher.fetch(file, temporary)
            if isinstance(outcome, Fetched):
                return outcome
            tries.note(outcome, anyio.current_time())
            other = await self._again.file(attempt.id, index, file) if tries.spent else None
            if tries.over or other is not None:
                _drop(outcome, temporary, file, other)
            if other is not None:
                told = f"{outcome.reason}; fal names another address for it now"
                self._tell(attempt, job, told, outcome.reason, 0.0)
                file, tries = other, _Tries(tries.started)
                continue
            if tries.over:
                return outcome
            pause = pacing.DOWNLOAD.delay(n, self._context.rng)
            told = f"{outcome.reason}; again in {pause:.0f} s"
            self._tell(attempt, job, told, outcome.reason, pause)
            await anyio.sleep(pause)
        raise AssertionError("the loop returns")

    def _tell(self, attempt: Attempt, job: Job, message: str, reason: str, pause: float) -> None:
        kind, seconds = EventKind.DOWNLOAD_AGAIN, round(pause, 3)
        self._context.emit_attempt(kind, job, attempt, message, reason=reason, seconds=seconds)


def _drop(
    outcome: Gone | Unfetched, temporary: Path, file: RemoteFile, other: RemoteFile | None
) -> None:
    """Delete what came of a file that is gone, or that is another one now.

    An address that is only signed anew has the same content, which is continued.
    """
    elsewhere = other is not None and unsigned(other.url) != unsigned(file.url)
    if elsewhere or isinstance(outcome, Gone):
        remove_part(temporary)


def token_of(attempt: Attempt) -> str:
    """The part of temporary names that belongs to this attempt, the same in every run."""
    name = attempt.handle.request_id if attempt.handle else f"attempt-{attempt.id}"
    return sha256(name.encode()).hexdigest()[:12]
