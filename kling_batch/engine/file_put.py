"""Putting of a file into a store, repeated where the store fails for a while.

Local folders fail once and for all. What cannot be put stays on this machine, paid for, and the
next run goes on with it. Must not fetch files or write to the ledger.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count

import anyio

from kling_batch.core.events import EventKind
from kling_batch.core.jobs import Job
from kling_batch.core.records import Attempt
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.output.store_errors import StoreError

#: Tries at least, and seconds for which they go on: each try has the driver's own repetitions.
PUT_TRIES = 5
OUTAGE_SECONDS = 600.0


class FilePut:
    """Repeats what a store has refused; one a run."""

    def __init__(self, context: RunContext) -> None:
        """Nothing is being put."""
        self._context = context

    async def lasting(self, put: Callable[[], Awaitable[None]], attempt: Attempt, job: Job) -> None:
        """Put until it succeeds, or is of no use for this run.

        Raises:
            OSError: the file is not where it should be; nothing is lost.
        """
        started = anyio.current_time()
        for n in count(1):
            try:
                return await put()
            except StoreError as error:
                lasted = anyio.current_time() - started
                if not error.passing or (n >= PUT_TRIES and lasted >= OUTAGE_SECONDS):
                    raise error.with_file_kept() from error
                reason = error.strerror or str(error)
            pause = pacing.DOWNLOAD.delay(n, self._context.rng)
            self._context.emit_attempt(
                EventKind.PUT_AGAIN,
                job,
                attempt,
                f"{reason}; put again in {pause:.0f} s",
                reason=reason,
                seconds=round(pause, 3),
            )
            await anyio.sleep(pause)
        raise AssertionError("the loop returns")
