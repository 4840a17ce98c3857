"""Attempts for renders that were paid for under another ledger: one transaction each.

They are paid attempts like all others, so that every sum and cap counts them; only their first
event says where they come from. Must not send anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from kling_batch.core.jobs import Job, canonical_json
from kling_batch.core.lifecycle import Event, State, step
from kling_batch.core.outcomes import Charged, Handle
from kling_batch.core.records import Facts
from kling_batch.core.recovery import Recovery
from kling_batch.ledger import artifacts as placements
from kling_batch.ledger.artifacts import Placed
from kling_batch.ledger.ledger import Ledger


def record(
    ledger: Ledger, job: Job, found: Recovery, handle: Handle | None, placed: Sequence[Placed]
) -> int:
    """Record a render that was found: succeeded where its files are here, else to be collected.

    Its id. The unique index forbids a second live or paid attempt at the job, and the column a
    second owner of the request.
    """
    event = Event.FILE_RECOVERED if placed else Event.REQUEST_RECOVERED
    state = step(None, event)
    at = ledger.stamp()
    facts: Facts = {"reason": found.reason}
    if handle is not None:
        facts["handle"] = handle
    if placed:
        facts["paths"] = [item.path for item in placed]
    with ledger.transaction() as db:
        columns = _columns(ledger, job, found, at) | {"state": state}
        if handle is not None:
            columns |= {
                "request_id": handle.request_id,
                "response_url": handle.response_url,
                "status_url": handle.status_url,
                "cancel_url": handle.cancel_url,
            }
        if state is State.SUCCEEDED:
            columns |= {
                "settled_at": at,
                "charged": Charged.YES if found.paid else Charged.NO,
                "output": json.dumps(found.output, ensure_ascii=False),
            }
        marks = ", ".join("?" * len(columns))
        cursor = db.execute(
            f"insert into attempts ({', '.join(columns)}) values ({marks})",  # noqa: S608
            [*columns.values()],
        )
        attempt_id = int(cursor.lastrowid or 0)
        if placed:
            placements.save(db, attempt_id, placed, at)
        ledger.append(attempt_id, event, None, state, facts, at=at)
    return attempt_id


def _columns(ledger: Ledger, job: Job, found: Recovery, at: str) -> dict[str, object]:
    return {
        "job_key": job.key,
        "batch": job.batch,
        "run_id": ledger.run_id,
        "try": 1,
        "origin": "paid" if found.paid else "adopted",
        "endpoint": job.endpoint,
        "payload": None if found.payload is None else canonical_json(found.payload),
        # What is not billed counts with an estimate; never with less than the present one.
        "estimate_micro_usd": max(found.estimate, job.estimate) if found.paid else 0,
        # When it was paid for: caps of a day count it there.
        "intended_at": found.since or at,
        "submitted_at": found.since or None,
        "rendered_at": found.rendered_at,
        "billable_units": found.billable_units,
        "cost_micro_usd": found.cost if found.paid else None,
    }
