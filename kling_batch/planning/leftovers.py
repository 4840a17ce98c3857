"""Requests that are still open although their jobs have left the manifest: paid, so collected.

An edited prompt is another job. The request of the one before may still be rendering, or be in
doubt; its money is spent, and its file belongs to whoever paid. Never a reason to buy anything.
Reads only.
"""

from __future__ import annotations

from collections.abc import Sequence

from kling_batch.core.jobs import Batch, Job, JobKey
from kling_batch.core.lifecycle import OPEN, State
from kling_batch.ledger.names import by_key, job_of, marked
from kling_batch.ledger.reader import Reader
from kling_batch.planning.plan import Action, PlannedJob

_ACTIONS: dict[State, tuple[Action, str]] = {
    State.SUBMITTING: (Action.RECONCILE, "in doubt: fal may have accepted it"),
    State.IN_DOUBT: (Action.RECONCILE, "in doubt: fal may have accepted it"),
    State.SUBMITTED: (Action.COLLECT, "in flight at fal"),
    State.RENDERED: (Action.DOWNLOAD, "paid and rendered, not yet here"),
}


def leftovers(reader: Reader, batches: Sequence[Batch]) -> list[PlannedJob]:
    """What to do about every open attempt of these batches whose job they no longer have.

    Args:
        reader: the ledger.
        batches: whole, not a selection of their jobs.
    """
    names = {batch.name for batch in batches}
    wanted = {job.key for batch in batches for job in batch.jobs}
    paths = {job.path for batch in batches for job in batch.jobs}
    found: list[PlannedJob] = []
    for attempt_id, key, batch, state in reader.open_attempts(*OPEN, State.RENDERED):
        if batch in names and key not in wanted:
            action, reason = _ACTIONS[state]
            job = _job(reader, key, batch, paths)
            said = f"no longer in the manifest; {reason}"
            found.append(PlannedJob(job, action, said, attempt_id, leftover=True))
    return found


def _job(reader: Reader, key: JobKey, batch: str, paths: set[str]) -> Job:
    """Under a name of its own, and beside the file of whatever has its path now."""
    job = job_of(by_key(reader, key))
    if not job.id.endswith(marked("", key)):
        job = job._replace(id=marked(job.id, key))  # the ledger has not heard yet that it left
    if job.path in paths:
        mark = marked("", key).replace("@", ".")
        job = job._replace(path=job.path.replace("{output}", f"{mark}{{output}}", 1))
    return job._replace(batch=batch)
