"""Recording of recovered renders: paid for before, and in no attempt of this ledger until now.

From here on they count against caps, and their requests belong to somebody. Must not submit.
"""

from __future__ import annotations

from kling_batch.core.events import EventKind
from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import Fetched, Handle
from kling_batch.core.recovery import RecoveredFile
from kling_batch.engine.context import RunContext
from kling_batch.ledger import recovery
from kling_batch.ledger.ledger import Placed
from kling_batch.planning.plan import PlannedJob


def record_recovery(context: RunContext, item: PlannedJob) -> tuple[int, State]:
    """Record what the plan found for a job; its new attempt, and what state that is in."""
    found, job = item.found, item.job
    assert found is not None
    placed = [_placed(context, file) for file in found.files]
    attempt_id = recovery.record(context.ledger, job, found, _handle(context, item), placed)
    context.emit_attempt(
        EventKind.RECOVERED,
        job,
        attempt_id,
        found.reason,
        request_id=found.request_id or None,
        paid_since=found.since or None,
    )
    return attempt_id, State.SUCCEEDED if placed else State.SUBMITTED


def _handle(context: RunContext, item: PlannedJob) -> Handle | None:
    assert item.found is not None
    if not item.found.request_id:
        return None
    return context.queue.handle(item.job.endpoint, item.found.request_id)


def _placed(context: RunContext, file: RecoveredFile) -> Placed:
    fetched = Fetched(
        temporary="",
        sha256=file.sha256,
        size=file.size,
        ext=file.ext,
        content_type=file.content_type,
    )
    path = context.store.stored(file.path)
    return Placed(index=file.index, path=path, fetched=fetched, url=file.url)
