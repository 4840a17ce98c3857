"""Fetch of one file of a render, repeated until it is complete, gone, or left to the next run.

A bad download is downloaded again; the render is never paid for again because of it. Must not
publish files or write to the ledger.
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
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext

#: Tries at one file before the run leaves it to the next one, and seconds for which they go on all
#: the same where the network or the server fails: a night's run must not end with a short outage.
FETCH_TRIES = 8
OUTAGE_SECONDS = 3600.0
#: Seconds of nothing but 404 before a run reports a file as missing at fal. That is never final,
#: because storage and gateways answer 404 in outages, too: the next run asks again.
GONE_SECONDS = 60.0


class FileFetch:
    """Fetches files of renders; one a run, because it limits downloads at once."""

    def __init__(self, context: RunContext) -> None:
        """Nothing is being fetched."""
        self._context = context
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
            outcome = await self._fetch(attempt, job, file, temporary)
            if isinstance(outcome, Fetched):
                await run(store.downloaded, outcome, attempt.id)
            return outcome
        return await self._fetch(attempt, job, file, temporary)

    async def _fetch(
        self, attempt: Attempt, job: Job, file: RemoteFile, temporary: Path
    ) -> Fetched | Gone | Unfetched:
        failures = 0
        gone_since: float | None = None
        started = anyio.current_time()
        for n in count(1):
            async with self._parallel:
                outcome = await self._context.fetcher.fetch(file, temporary)
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
                outage = outcome.outage and now - started < OUTAGE_SECONDS
                if failures >= FETCH_TRIES and not outage:
                    return outcome
            pause = pacing.DOWNLOAD.delay(n, self._context.rng)
            self._context.emit_attempt(
                EventKind.DOWNLOAD_AGAIN,
                job,
                attempt,
                f"{outcome.reason}; again in {pause:.0f} s",
                reason=outcome.reason,
                seconds=round(pause, 3),
            )
            await anyio.sleep(pause)
        raise AssertionError("the loop returns")


def token_of(attempt: Attempt) -> str:
    """The part of temporary names that belongs to this attempt, the same in every run."""
    name = attempt.handle.request_id if attempt.handle else f"attempt-{attempt.id}"
    return sha256(name.encode()).hexdigest()[:12]
