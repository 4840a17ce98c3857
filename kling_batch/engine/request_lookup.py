"""Lookup of a request that fal's queue no longer knows, in the platform's request list.

The queue keeps results for an hour (docs/fal-api.md#result-retention), the list keeps input and
output for a month. What is in neither may have been paid. Must not write to the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import anyio

from kling_batch.core.outcomes import (
    CancelAnswer,
    Charged,
    Failed,
    Failure,
    FailureKind,
    Finished,
    Listed,
    ListForbidden,
    Listing,
    Rendered,
    Unread,
)
from kling_batch.core.records import Attempt
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.fal.classify import CANCELLED, REMOVED, verdict_of_listed, verdict_of_status
from kling_batch.fal.responses import files_in, first_detail, is_error

CUT_OFF = "the request list could not be read to its end"
#: Reads of the list before it counts as not knowing the request.
LIST_READS = 5

ListEntry: TypeAlias = Listed | ListForbidden | Unread | None
"""The list's entry of a request. None: it has none; `Unread`: the list could not be read."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Neither queue nor list has a result: the request is in doubt."""

    reason: str


class RequestLookup:
    """Reads the request list for single requests."""

    def __init__(self, context: RunContext) -> None:
        """One a run."""
        self._context = context

    async def verdict(
        self, attempt: Attempt, finished: Finished, unread: Unread, *, patient: bool
    ) -> Rendered | Failed | Lost | None:
        """What became of a request; None: nothing is certain yet, ask the queue again.

        Args:
            attempt: as the ledger has it now; it may have been cancelled meanwhile.
            finished: the status read before, empty where there was none.
            unread: the failed read of the queue.
            patient: whether the queue is to be asked again before the request counts as lost.
        """
        entry = await self._entry(attempt)
        outcome = _verdict(entry, finished, media=self._context.media(attempt.endpoint))
        if outcome is None and attempt.cancel_asked_at and unread.not_found:
            outcome = _removed(attempt, entry)
        if outcome is not None:
            return outcome
        if isinstance(entry, Unread) or (patient and not unread.empty):
            return None
        reason = "the request list has no output for it"
        if not isinstance(entry, Listed):
            reason = entry.reason if entry else "the request list does not know it either"
        return Lost(f"{unread.reason}; {reason}")

    async def _entry(self, attempt: Attempt) -> ListEntry:
        """The request's entry in the list, or why there is none."""
        assert attempt.handle is not None
        answer: ListForbidden | Unread | None = None
        for n in range(1, LIST_READS + 1):
            ask = partial(
                self._context.queue.listing,
                attempt.endpoint,
                since=attempt.intended_at,
                request_id=attempt.handle.request_id,
            )
            listing = await self._context.reads.read(ask)
            match listing:
                case Listing(items, complete=complete):
                    mine = [i for i in items if i.request_id == attempt.handle.request_id]
                    if mine:
                        return mine[0]
                    # What was not read to its end does not prove that it is not there.
                    answer = None if complete else Unread(CUT_OFF)
                case ListForbidden() | Unread():
                    answer = listing
            await anyio.sleep(pacing.READ.delay(n, self._context.rng))
        return answer


def _verdict(entry: ListEntry, finished: Finished, *, media: bool) -> Rendered | Failed | None:
    """The verdict of the list, or of the status seen before; None: neither has one."""
    if isinstance(entry, Listed):
        if (entry.status_code or 0) >= 400 or first_detail(entry.output):
            return Failed(verdict_of_listed(entry))
        files = files_in(entry.output)
        if files or not (media or entry.output is None or is_error(entry.output)):
            return Rendered(output=entry.output, files=files)
    if finished.error or finished.error_type:
        return Failed(verdict_of_status(finished))
    return None


def _removed(attempt: Attempt, entry: ListEntry) -> Failed | None:
    """The verdict about a request that vanished, where fal had said that it removed it.

    Without these words of fal's a request that vanished after its cancellation is in doubt: it may
    be rendering all the same.
    """
    if attempt.cancel_answer is not CancelAnswer.REMOVED or isinstance(entry, Unread):
        return None
    return Failed(REMOVED)


def cancelled_free(attempt: Attempt, failure: Failure) -> Failure:
    """The failure of a request, free of charge where we cancelled it before it began.

    The ledger's status is the one that was read right before the cancellation was asked for.
    """
    if attempt.cancel_asked_at is None:
        return failure
    if failure.status == 499:
        failure = replace(failure, error_type=CANCELLED, kind=FailureKind.ABANDONED)
    began = (
        attempt.remote_status != "IN_QUEUE" and attempt.cancel_answer is not CancelAnswer.REMOVED
    )
    if began or failure.error_type != CANCELLED or failure.charged is not Charged.UNKNOWN:
        return failure
    return replace(failure, charged=Charged.NO)
