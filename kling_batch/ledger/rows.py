"""What stands in which column: from jobs and events to rows. Pure; executes no SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from kling_batch.core.jobs import JSON, Job, canonical_json
from kling_batch.core.lifecycle import Event
from kling_batch.core.outcomes import Failure, Handle

#: Which column remembers when an event happened.
MOMENTS: dict[Event, str] = {
    Event.SUBMIT_ACCEPTED: "submitted_at",
    Event.RECONCILED_FOUND: "submitted_at",
    Event.REMOTE_COMPLETED: "rendered_at",
    Event.SUBMIT_REFUSED: "settled_at",
    Event.RECONCILED_ABSENT: "settled_at",
    Event.REMOTE_FAILED: "settled_at",
    Event.CANCEL_CONFIRMED: "settled_at",
    Event.ARTIFACTS_SAVED: "settled_at",
    Event.ARTIFACT_LOST: "settled_at",
    Event.RETRY_GRANTED: "retry_granted_at",
    Event.CANCEL_REQUESTED: "cancel_asked_at",
}


def columns_of(data: dict[str, Any]) -> dict[str, Any]:
    """What of an event's data also stands in the attempt's row."""
    columns: dict[str, Any] = {}
    if isinstance(handle := data.get("handle"), Handle):
        columns |= asdict(handle)
    if isinstance(failure := data.get("failure"), Failure):
        columns |= {
            "failure_kind": failure.kind,
            "failure": json.dumps(plain(asdict(failure)), ensure_ascii=False),
            "charged": failure.charged,
        }
    if "output" in data:
        columns["output"] = json.dumps(data["output"], ensure_ascii=False)
    for name, column in (
        ("remote_status", "remote_status"),
        ("billable_units", "billable_units"),
        ("cost", "cost_micro_usd"),
    ):
        if data.get(name) is not None:
            columns[column] = data[name]
    return columns


def plain(value: Any) -> JSON:
    """JSON for the event: dataclasses opened, the output left to its own column."""
    if isinstance(value, Handle | Failure):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "output" and v is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def without_data(url: str) -> str:
    """A data URI is the file itself; the file is on the disk."""
    return "data:" if url.startswith("data:") else url


def job_row(job: Job, at: str) -> tuple[Any, ...]:
    """A row of `jobs`."""
    arguments = canonical_json(job.arguments)
    return (job.key, job.endpoint, job.mode, job.tier, job.take, arguments, at)


def name_row(batch: str, job: Job, at: str) -> tuple[Any, ...]:
    """A row of `names`."""
    place = str(job.place)
    return (batch, job.id, job.take, job.key, job.path, job.estimate, place, at)


def names_digest(jobs: Iterable[Job]) -> str:
    """The same for the same names, keys, paths and estimates in the same order."""
    lines = (f"{job.id}\t{job.take}\t{job.key}\t{job.path}\t{job.estimate}" for job in jobs)
    text = "\n".join(lines)
    return sha256(text.encode()).hexdigest()
