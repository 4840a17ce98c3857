"""Another answer of fal about a render whose files cannot be had where its output says.

Their addresses may be dead, or have expired, while a later read of the result, or the request list,
names good ones. Both reads are free, and each is made once a run and render. Must not fetch files,
and must not decide that anything is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

from kling_batch.core.jobs import JSON
from kling_batch.core.lifecycle import Event
from kling_batch.core.outcomes import Finished, Handle, Listing, RemoteFile, Rendered
from kling_batch.core.records import Attempt
from kling_batch.engine.context import RunContext
from kling_batch.fal.responses import files_in

_Source: TypeAlias = Callable[[Attempt, Handle], Awaitable[JSON]]


class OutputAgain:
    """Reads outputs again; one a run, because it knows what was read."""

    def __init__(self, context: RunContext) -> None:
        """Nothing was read again."""
        self._context = context
        #: By attempt, what is not asked yet.
        self._sources: dict[int, list[_Source]] = {}

    def latest(self, attempt: Attempt, files: Sequence[RemoteFile]) -> Sequence[RemoteFile]:
        """The files of a render, which were `files` when its attempt was read."""
        if attempt.id not in self._sources:
            return files
        return files_in(self._context.ledger.attempt(attempt.id).output)

    async def file(
        self, attempt_id: int, index: int, tried: RemoteFile | None = None
    ) -> RemoteFile | None:
        """Where an output lies by what fal says now; None: nowhere but where it was tried."""
        tried_url = tried.url if tried else ""
        while True:
            attempt = self._context.ledger.attempt(attempt_id)
            files = files_in(attempt.output)
            if index < len(files) and files[index].url != tried_url:
                return files[index]
            if not await self._ask(attempt, len(files)):
                return None

    async def _ask(self, attempt: Attempt, count: int) -> bool:
        """Ask the next source, and record another output; False: there is nobody to ask."""
        sources = self._sources.setdefault(attempt.id, [self._result, self._listed])
        if not sources or attempt.handle is None:
            return False
        output = await sources.pop(0)(attempt, attempt.handle)
        files = files_in(output)
        # With another number of files, which of them is which would be a guess.
        if files and len(files) == (count or len(files)) and files != files_in(attempt.output):
            self._context.ledger.record(attempt.id, Event.OUTPUT_CHANGED, output=output)
        return True

    async def _result(self, _attempt: Attempt, handle: Handle) -> JSON:
        ask = partial(self._context.queue.result, handle, Finished(), media=True)
        outcome = await self._context.reads.read(ask)
        return outcome.output if isinstance(outcome, Rendered) else None

    async def _listed(self, attempt: Attempt, handle: Handle) -> JSON:
        ask = partial(
            self._context.queue.listing,
            attempt.endpoint,
            since=attempt.intended_at,
            request_id=handle.request_id,
        )
        listing = await self._context.reads.read(ask)
        items = listing.items if isinstance(listing, Listing) else ()
        mine = (item.output for item in items if item.request_id == handle.request_id)
        return next(mine, None)
