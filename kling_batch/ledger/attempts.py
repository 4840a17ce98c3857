"""One paid try at a job, as the ledger's row has it. Pure; executes no SQL."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kling_batch.core.jobs import JSON, JobKey, MicroUSD
from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import Charged, Failure, FailureKind, Handle


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One paid try, as the ledger has it."""

    id: int
    job_key: JobKey
    batch: str
    tries: int
    state: State
    endpoint: str
    payload: JSON
    estimate: MicroUSD
    intended_at: str
    submitted_at: str | None
    handle: Handle | None
    remote_status: str | None
    output: JSON
    failure: Failure | None
    charged: Charged | None
    billable_units: float | None
    cost: MicroUSD | None
    settled_at: str | None
    rendered_at: str | None
    origin: str
    #: When fal took a request to cancel it.
    cancel_asked_at: str | None


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
