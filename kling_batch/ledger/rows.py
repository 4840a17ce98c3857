"""Mapping between values and table rows: jobs, names, attempts, facts of events.

Must not execute SQL. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from kling_batch.core.diagnostics import show
from kling_batch.core.jobs import JSON, Job, JobKey, canonical_json
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import (
    CancelAnswer,
    Charged,
    Failure,
    FailureKind,
    Handle,
)
from kling_batch.core.quantities import MicroUSD, parse_time
from kling_batch.core.records import Attempt, Facts
from kling_batch.core.urls import without_signatures

#: The column that holds the time of an event.
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
    Event.COST_LEARNT: "billed_at",
}


#: A value as the ledger stores it; made once, because `json.dumps` makes an encoder each time.
json_text = json.JSONEncoder(ensure_ascii=False).encode


def moments_of(event: Event, at: str) -> dict[str, str]:
    """The time of an event, where the attempt's row has a column for it."""
    column = MOMENTS.get(event)
    return {column: at} if column else {}


def columns_of(facts: Facts) -> dict[str, Any]:
    """The facts of an event that are also stored in the attempt's row."""
    columns: dict[str, Any] = {}
    if handle := facts.get("handle"):
        columns |= _of_handle(handle)
    if failure := facts.get("failure"):
        columns |= {
            "failure_kind": failure.kind,
            "failure": json_text(plain(asdict(failure))),
            "charged": failure.charged,
        }
    if "output" in facts:
        columns["output"] = json_text(facts["output"])
    numbers = {
        "remote_status": facts.get("remote_status"),
        "billable_units": facts.get("billable_units"),
        "cost_micro_usd": facts.get("cost"),
    }
    return columns | {name: value for name, value in numbers.items() if value is not None}


def plain(value: Any) -> JSON:
    """The facts as JSON for the event; the output is left out, it has a column of its own.

    What fal says may quote an input's URL, whose signature the ledger must not keep.
    """
    if isinstance(value, str):
        return without_signatures(value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "output" and v is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Handle):
        return _of_handle(value)
    if isinstance(value, Failure):
        return plain(asdict(value))
    return value


def _of_handle(handle: Handle) -> dict[str, JSON]:
    """What `asdict` makes of it, without its copies."""
    return {name: getattr(handle, name) for name in Handle.__slots__}


def without_data(url: str) -> str:
    """The URL; of a data URI only its scheme, because the content is on the disk."""
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
    """Digest of names, keys, paths, estimates and tags, in order."""
    lines = (
        f"{job.id}\t{job.take}\t{job.key}\t{job.path}\t{job.estimate}{_tags(job)}" for job in jobs
    )
    text = "\n".join(lines)
    return sha256(text.encode()).hexdigest()


def _tags(job: Job) -> str:
    """The tags for the digest; nothing where there are none, as in ledgers without tags."""
    return "\t" + json.dumps(job.tags) if job.tags else ""


def attempt_of(row: dict[str, Any]) -> Attempt:
    """An attempt from its row."""
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
        intended_at=str(time_in(row["intended_at"])),
        submitted_at=time_in(row["submitted_at"]),
        handle=handle,
        remote_status=row["remote_status"],
        output=_load(row["output"]),
        failure=failure_of(row["failure"]),
        charged=Charged(row["charged"]) if row["charged"] else None,
        billable_units=row["billable_units"],
        cost=None if row["cost_micro_usd"] is None else MicroUSD(row["cost_micro_usd"]),
        rendered_at=time_in(row["rendered_at"]),
        origin=row["origin"],
        cancel_asked_at=time_in(row["cancel_asked_at"]),
        # Readers take ledgers that no run has migrated yet.
        cancel_answer=CancelAnswer(answer) if (answer := row.get("cancel_answer")) else None,
    )


def moment_in(text: str) -> datetime:
    """A time from its column; `ValueError` where it is none, or has no zone."""
    moment = parse_time(text)
    if moment.tzinfo is None:
        raise ValueError(f"{show(text)} is a time without a zone")
    return moment.astimezone(UTC)


def time_in(text: str | None) -> str | None:
    """The text of a column with a time, which later readers can rely on."""
    if text is not None:
        moment_in(text)
    return text


def object_in(text: str) -> dict[str, JSON]:
    """A JSON object from its column."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"{show(value)} is no JSON object")
    return value


def _load(text: str | None) -> JSON:
    return None if text is None else json.loads(text)


def failure_of(text: str | None) -> Failure | None:
    """A failure from its column."""
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
