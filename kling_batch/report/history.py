"""The story of a job, in words, from ledger and disk: for `show` and `why`. Pure but for reads.

What comes next is the plan's decision (`outlook`); must not judge a failure itself.
"""

from __future__ import annotations

import json
from typing import Any

from kling_batch.core.jobs import JSON
from kling_batch.core.lifecycle import NEXT, State
from kling_batch.core.outcomes import Charged
from kling_batch.core.quantities import format_usd
from kling_batch.core.records import Attempt, Standing
from kling_batch.ledger.names import LedgerJob, differences
from kling_batch.ledger.reader import Reader
from kling_batch.planning.forecast import Outlook, outlook
from kling_batch.planning.plan import Action

_EVENTS: dict[str, str] = {
    "submit_intended": "intent written down, price {estimate}",
    "submit_accepted": "accepted by fal as {request_id}",
    "submit_refused": "not taken: {message}",
    "submit_unconfirmed": "answer lost: {reason}",
    "run_recovered": "in doubt: {reason}",
    "reconciled_found": "found at fal as {request_id}",
    "reconciled_found by person": "it is at fal as {request_id}, you said",
    "reconciled_absent": "taken as never accepted: {message}",
    "remote_observed": "fal says {remote_status}",
    "remote_completed": "rendered",
    "remote_failed": "failed at fal: {message}",
    "remote_lost": "fal no longer knows it: {reason}",
    "cancel_requested": "cancellation asked, fal says {answer}",
    "cancel_confirmed": "cancelled: {message}",
    "artifacts_saved": "saved {paths}",
    "artifact_lost": "{message}",
    "artifact_missing": "{reason}; downloading again",
    "file_adopted": "{path} adopted as the result",
    "cost_learnt": "fal billed {cost}",
    "retry_granted": "another paid attempt allowed",
}


def story(reader: Reader, job: LedgerJob) -> list[str]:
    """Every attempt of a job and what happened to it, a line each."""
    lines = [f"{job.batch}/{job.label}", f"  {job.endpoint}", f"  key {job.key}"]
    lines += [f"  {name}: {_value(value)}" for name, value in json.loads(job.arguments).items()]
    attempts = reader.attempts_of(job.key)
    for number, attempt in enumerate(attempts, 1):
        lines += ["", f"attempt {number}: {attempt.state.replace('_', ' ')}, {_money(attempt)}"]
        lines += [f"  {row['at']}  {_event(row, attempt)}" for row in _events(reader, attempt.id)]
        lines += [
            f"  file {file.path} ({file.size} bytes, sha256 {file.sha256[:12]}…)"
            + (" superseded" if file.superseded else "")
            for file in reader.files_of(attempt.id)
        ]
    lines += ["", *why(reader, job)]
    return lines


def as_data(reader: Reader, job: LedgerJob) -> JSON:
    """The same for machines."""
    coming = outlook(reader, job).planned
    return {
        "schema_version": 1,
        "batch": job.batch,
        "job": job.id,
        "take": job.take,
        "key": job.key,
        "endpoint": job.endpoint,
        "arguments": json.loads(job.arguments),
        "next": {"action": coming.action.value, "reason": coming.reason},
        "attempts": [
            {
                "attempt": attempt.id,
                "state": attempt.state.value,
                "request_id": attempt.handle.request_id if attempt.handle else None,
                "estimate_usd": attempt.estimate / 1e6,
                "cost_usd": None if attempt.cost is None else attempt.cost / 1e6,
                "charged": attempt.charged.value if attempt.charged else None,
                "failure": attempt.failure.message if attempt.failure else None,
                "events": [
                    {**row, "data": json.loads(row["data"]) if row["data"] else None}
                    for row in _events(reader, attempt.id)
                ],
                "files": [file.path for file in reader.files_of(attempt.id)],
            }
            for attempt in reader.attempts_of(job.key)
        ],
    }


def why(reader: Reader, job: LedgerJob) -> list[str]:
    """In words, what the next run would do with the job, and why."""
    lines = [_next(reader, job)]
    for key, retired_at in job.earlier[:3]:
        rows = list(reader.rows("select endpoint, arguments from jobs where key = ?", [key]))
        changes = differences(json.loads(rows[0]["arguments"]), json.loads(job.arguments))
        if rows[0]["endpoint"] != job.endpoint:
            changes.insert(0, f"endpoint: {rows[0]['endpoint']} → {job.endpoint}")
        lines.append(f"Until {retired_at} this name meant another render ({key}); what changed:")
        lines += [f"  {change}" for change in changes]
    return lines


def _next(reader: Reader, job: LedgerJob) -> str:
    """One sentence, made of the plan's decision: it says what is paid for as `plan` does."""
    coming = outlook(reader, job)
    price = format_usd(job.estimate)
    if coming.standing is not None:
        return f"{job.label} {_then(reader, coming, coming.standing, price)}."
    if coming.planned.action is Action.BLOCKED:
        reason = coming.planned.reason
        return f"{job.label} was never submitted and {reason}: the next run does not pay for it."
    return f"{job.label} was never submitted: the next run pays up to {price} for it."


def _then(reader: Reader, coming: Outlook, standing: Standing, price: str) -> str:
    """What has become of the job, and what follows."""
    state, reason = standing.state, coming.planned.reason
    match coming.planned.action:
        case Action.SUBMIT:
            unless = ", unless the manifest's `retry` allows fewer" if coming.by_limit else ""
            return (
                f"has {state} ({reason}): the next run pays up to {price} for another attempt"
                f"{unless}"
            )
        case Action.SETTLED:
            unless = ", unless the manifest's `retry` allows more attempts"
            return (
                f"has {state} ({_said(standing)}) and stays so{unless if coming.by_limit else ''}: "
                "only `run --retry-failed` or `retry` pays for it again"
            )
        case Action.BLOCKED:
            return f"has {state} and {reason}: the next run does not pay for it"
        case Action.RECONCILE:
            return (
                "is in doubt: fal may have accepted it. The next run looks for its trace and does "
                "not send it again, unless the manifest says `on_doubt: resubmit`; `resolve` takes "
                "your word"
            )
        case Action.KEEP | Action.PLACE | Action.RESTORE:
            return (
                "is done and paid. Nothing that is paid for has changed since, so the next run "
                "renders nothing; `reroll` pays for another take"
            )
        case Action.COLLECT | Action.DOWNLOAD:
            return _collected(state, reader.attempt(standing.attempt_id))


def _said(standing: Standing) -> str:
    return standing.failure.message if standing.failure else standing.state


def _collected(state: State, attempt: Attempt) -> str:
    if state is not State.SUCCEEDED:
        meaning, _, then = NEXT[state]
        return f"is {state}: {meaning}; the next run: {then}"
    if attempt.origin == "adopted":
        return "was adopted, and its file is gone, which fal never had; put it back"
    return "is paid, but its file is missing: the next run downloads it, which costs nothing"


def _events(reader: Reader, attempt_id: int) -> list[dict[str, Any]]:
    return list(
        reader.rows(
            "select at, event, from_state, to_state, data from events where attempt_id = ?"
            " order by id",
            [attempt_id],
        )
    )


def _event(row: dict[str, Any], attempt: Attempt) -> str:
    data: dict[str, Any] = json.loads(row["data"]) if row["data"] else {}
    words = {
        **data,
        **data.get("handle", {}),
        **data.get("failure", {}),
        "estimate": format_usd(attempt.estimate),
    }
    if "paths" in words:
        words["paths"] = ", ".join(words["paths"])
    if isinstance(words.get("cost"), int):
        words["cost"] = format_usd(words["cost"])
    event = f"{row['event']} by {data['by']}" if "by" in data else row["event"]
    template: str = _EVENTS.get(event) or _EVENTS.get(row["event"], row["event"])
    return template.format_map(_Lenient(words))


class _Lenient(dict[str, Any]):
    """An event of another version may lack a word."""

    def __missing__(self, key: str) -> str:
        return "?"


def _money(attempt: Attempt) -> str:
    if attempt.origin == "adopted":
        return "adopted, nothing paid"
    if attempt.charged is Charged.NO:
        return "nothing charged"
    if attempt.cost is not None:
        return f"{format_usd(attempt.cost)} charged (estimated {format_usd(attempt.estimate)})"
    estimate = format_usd(attempt.estimate)
    if attempt.state in (State.FAILED, State.CANCELLED) and attempt.charged is not None:
        lost = attempt.charged is Charged.YES
        return f"{estimate} charged and lost" if lost else f"{estimate} possibly charged"
    return f"{estimate} estimated"


def _value(value: JSON) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
