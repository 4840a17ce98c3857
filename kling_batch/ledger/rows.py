"""What stands in which column: from jobs and events to rows. Pure; executes no SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from kling_batch.core.jobs import JSON, Job, JobKey, canonical_json
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import Charged, Failure, FailureKind, Handle
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Attempt

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


def attempt_of(row: dict[str, Any]) -> Attempt:
    """An attempt from its row, whole."""
    handle = (
        Handle(
            request_id=row["request_id"],
            response_url=row["response_url"],
            status_url=row["status_url"],
            cancel_url=row["cancel_url"],
        )
        if row["request_id"]
        else None
    )
    return Attempt(
        id=row["id"],
        job_key=JobKey(row["job_key"]),
        batch=row["batch"],
        tries=row["try"],
        state=State(row["state"]),
        endpoint=row["endpoint"],
        payload=_load(row["payload"]),
        estimate=MicroUSD(row["estimate_micro_usd"]),
        intended_at=row["intended_at"],
        submitted_at=row["submitted_at"],
        handle=handle,
        remote_status=row["remote_status"],
        output=_load(row["output"]),
        failure=failure_of(row["failure"]),
        charged=Charged(row["charged"]) if row["charged"] else None,
        billable_units=row["billable_units"],
        cost=None if row["cost_micro_usd"] is None else MicroUSD(row["cost_micro_usd"]),
        settled_at=row["settled_at"],
        rendered_at=row["rendered_at"],
        origin=row["origin"],
        cancel_asked_at=row["cancel_asked_at"],
    )


def _load(text: str | None) -> JSON:
    return None if text is None else json.loads(text)


def failure_of(text: str | None) -> Failure | None:
    """A failure as its column has it."""
    value = _load(text)
    if value is None:
        return None
    return Failure(
        kind=FailureKind(value["kind"]),
        message=value["message"],
        charged=Charged(value["charged"]),
        error_type=value.get("error_type", ""),
        retryable=value.get("retryable"),
        status=value.get("status"),
        loc=tuple(value.get("loc", ())),
    )
