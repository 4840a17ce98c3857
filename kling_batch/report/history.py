"""History of a job and what the next run does with it, for `show` and `why`.

What comes next is the plan's decision (`outlook`). Must not write, and must not judge a failure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from kling_batch.core.jobs import (
    JSON,
    JobKey,
    Render,
    awaited_job,
    canonical_json,
    differences,
    is_unpicked,
)
from kling_batch.core.lifecycle import NEXT, SETTLED, State, status_of
from kling_batch.core.quantities import format_usd, usd_number
from kling_batch.core.records import Attempt, LoggedEvent, Standing
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import clean
from kling_batch.errors import UsageError
from kling_batch.ledger import queries
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.names import LedgerJob, find
from kling_batch.ledger.reader import Reader
from kling_batch.planning.forecast import Outlook, outlook
from kling_batch.planning.plan import Action, PlannedJob
from kling_batch.planning.retry import is_rendered, to_change
from kling_batch.planning.verdicts import awaited_pick
from kling_batch.report.costs import attempt_cost
from kling_batch.report.made_values import value_in, value_name
from kling_batch.report.verdicts import judged_data, judged_lines
from kling_batch.settings import EMULATOR

#: Text of each event; `by person`: of one that a person reported; `emulated`: on the emulator.
_EVENTS: dict[str, str] = {
    "submit_intended": "intent committed, price {estimate}",
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
    "output_changed": "fal names other files for it",
    "artifacts_saved": "saved {paths}",
    "artifact_lost": "{message}",
    "artifact_missing": "{reason}; downloading again",
    "file_adopted": "{path} adopted as the result",
    "file_recovered": "{reason}",
    "request_recovered": "{reason}, as {request_id}",
    "cost_learnt": "fal billed {cost}",
    "cost_learnt emulated": "would have cost {cost}",
    "retry_granted": "another paid attempt allowed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What the job's manifest says now, or as of when the ledger speaks instead."""

    #: The job as a run would meet it now; None where the manifest is not known.
    planned: PlannedJob | None = None
    #: As of when, for people.
    as_of: str = ""
    #: Whether the manifest was read and does not have the job any more.
    dropped: bool = False


_UNKNOWN = Current()


def history(reader: Reader, job: LedgerJob, current: Current = _UNKNOWN) -> list[str]:
    """What comes next of a job, then every attempt with its events and files, a line each."""
    lines = [*why(reader, job, current), ""]
    lines += [f"{job.batch}/{job.label}", f"  {job.endpoint}", f"  key {job.key}"]
    lines += [f"  {name}: {_value(value)}" for name, value in json.loads(job.arguments).items()]
    attempts = reader.attempts_of(job.key)
    emulated = queries.service_of(reader) == EMULATOR
    for number, attempt in enumerate(attempts, 1):
        status = status_of(attempt.state, attempt.remote_status)
        lines += ["", f"attempt {number}: {status}, {attempt_cost(attempt, emulated=emulated)}"]
        events = queries.events_of(reader, attempt.id)
        lines += [f"  {event.at}  {_text(event, attempt, emulated=emulated)}" for event in events]
        if value := value_in(attempt.endpoint, attempt.output):
            lines.append(f"  {value_name(attempt.endpoint)}: {clean(value)}")
        lines += [
            f"  file {file.path} ({file.size} bytes, sha256 {file.sha256[:12]}…)"
            + (" superseded" if file.superseded else "")
            for file in reader.files_of(attempt.id)
        ]
    if judged := judged_lines(reader, job.key):
        lines += ["", *judged]
    return lines


def as_data(reader: Reader, job: LedgerJob, current: Current = _UNKNOWN) -> JSON:
    """The same as JSON values."""
    coming = current.planned or outlook(reader, job).planned
    attempts = reader.attempts_of(job.key)
    last = attempts[-1] if attempts else None
    return {
        "schema_version": SCHEMA_VERSION,
        "batch": job.batch,
        "job": job.id,
        "take": job.take,
        "key": job.key,
        "endpoint": job.endpoint,
        "arguments": json.loads(job.arguments),
        "emulated": queries.service_of(reader) == EMULATOR,
        "status": (status_of(last.state, last.remote_status) if last else status_of(None)).value,
        "next": {"action": coming.action.value, "reason": coming.reason},
        "as_of": current.as_of or None,
        "verdicts": judged_data(reader, job.key),
        "attempts": [
            {
                "attempt": attempt.id,
                "state": attempt.state.value,
                "status": status_of(attempt.state, attempt.remote_status).value,
                "request_id": attempt.handle.request_id if attempt.handle else None,
                "estimate_usd": usd_number(attempt.estimate),
                "cost_usd": usd_number(attempt.cost),
                "charged": attempt.charged.value if attempt.charged else None,
                "failure": attempt.failure.message if attempt.failure else None,
                "events": [event._asdict() for event in queries.events_of(reader, attempt.id)],
                "files": [file.path for file in reader.files_of(attempt.id)],
                "value": value_in(attempt.endpoint, attempt.output),
            }
            for attempt in attempts
        ],
    }


def why(reader: Reader, job: LedgerJob, current: Current = _UNKNOWN) -> list[str]:
    """What the next run would do with the job, why, and what has changed about it."""
    planned = current.planned
    if planned is not None and planned.job.key != job.key:
        return [*_changed(reader, job, planned), f"({current.as_of})"]
    lines = [_next(reader, job, planned)]
    if current.dropped:
        dropped = f"{job.label} is not in the manifest now, so a run of it does not pay for it."
        standing = outlook(reader, job).standing
        under_way = standing is not None and standing.state not in SETTLED
        lines = [*lines, dropped] if under_way else [dropped]
    for key, retired_at in job.earlier[:3]:
        before = queries.render_of(reader, key)
        if before is not None and awaited_pick(before):
            continue  # it was no render yet
        now = Render(job.endpoint, json.loads(job.arguments))
        changes = differences(before, now) if before is not None else {}
        lines.append(f"Until {retired_at} this name meant another render ({key}); what changed:")
        lines += _said(reader, changes)
    return [*lines, f"({current.as_of})"] if current.as_of else lines


def why_new(planned: PlannedJob) -> list[str]:
    """The same for a job that the ledger does not know."""
    if planned.action in (Action.HOLD, Action.DECLINED):
        return [f"{planned.job.label} is new; {planned.reason}: {_coming(planned)}."]
    return [f"{planned.job.label} is {planned.reason}: {_coming(planned)}."]


def _changed(reader: Reader, job: LedgerJob, planned: PlannedJob) -> Iterator[str]:
    """What differs between the manifest's job and the one that the ledger has under its name."""
    before = queries.render_of(reader, job.key)
    picked = before is not None and awaited_pick(before)
    what = "has a picked source now" if picked else "has changed"
    yield f"{planned.job.label} {what} ({planned.reason}): {_coming(planned)}."
    now = Render(planned.job.endpoint, json.loads(canonical_json(planned.job.arguments)))
    yield from _said(reader, differences(before, now) if before else {})


def _coming(planned: PlannedJob) -> str:
    """What the next run does with a job that is not the ledger's."""
    if planned.action is Action.SUBMIT and not planned.duplicate:
        return f"the next run pays up to {format_usd(planned.job.estimate)} for it"
    return "the next run pays nothing for it"


def _said(reader: Reader, changes: Mapping[str, tuple[JSON, JSON]]) -> Iterator[str]:
    for name, (old, new) in changes.items():
        yield f"  {name}: {_shown(reader, old)} → {_shown(reader, new)}"


def _shown(reader: Reader, value: JSON) -> str:
    """A value of an argument; an output of another job by the name of that job."""
    output = value.get("$output") if isinstance(value, dict) else None
    if not isinstance(output, list) or not output:
        return _short(value)
    key = JobKey(str(output[0]))
    if is_unpicked(key):
        return f"the take of {awaited_job(key)} that somebody picks"
    with suppress(UsageError):
        return f"output of {find(reader, key).label}"
    return f"output of {key}"


def _short(value: JSON) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _next(reader: Reader, job: LedgerJob, planned: PlannedJob | None) -> str:
    """One sentence made of the plan's decision, so that it agrees with `plan` about payments."""
    coming = outlook(reader, job)
    if planned is not None:  # of the manifest itself, which decides how often is tried
        coming = replace(coming, planned=planned, by_limit=False)
    price = format_usd(job.estimate)
    if coming.standing is not None:
        return f"{job.label} {_then(reader, coming, coming.standing, price)}."
    if coming.planned.action is Action.BLOCKED:
        reason = coming.planned.reason
        return f"{job.label} was never submitted and {reason}: the next run does not pay for it."
    if coming.planned.action in (Action.HOLD, Action.DECLINED):
        reason = coming.planned.reason
        return f"{job.label} was never submitted; {reason}. The next run does not pay for it."
    return f"{job.label} was never submitted: the next run pays up to {price} for it."


def _then(reader: Reader, coming: Outlook, standing: Standing, price: str) -> str:
    """The state of the job, and what follows."""
    reason = coming.planned.reason
    ended = "was cancelled" if standing.state is State.CANCELLED else "has failed"
    match coming.planned.action:
        case Action.SUBMIT:
            unless = ", unless the manifest's `retry` allows fewer" if coming.by_limit else ""
            return (
                f"{ended} ({reason}): the next run pays up to {price} for another attempt{unless}"
            )
        case Action.SETTLED:
            return f"{ended} ({_failure(standing)}) and stays so{_until(coming, standing)}"
        case Action.BLOCKED | Action.RECOVER | Action.HOLD | Action.DECLINED as action:
            link = {Action.BLOCKED: " and", Action.RECOVER: " here, and is"}.get(action, ";")
            return f"{ended}{link} {reason}: the next run does not pay for it"
        case Action.RECONCILE:
            return (
                "is in doubt: fal may have accepted it. The next run looks for its trace and does "
                "not send it again; `resolve` records what you know of it"
            )
        case Action.KEEP | Action.PLACE | Action.RESTORE:
            return (
                "is done and paid. Nothing that is paid for has changed since, so the next run "
                "renders nothing; `reroll` pays for another take"
            )
        case Action.COLLECT | Action.DOWNLOAD:
            return _collected(reader, standing.attempt_id, coming.planned.job.label)


def _until(coming: Outlook, standing: Standing) -> str:
    """What pays for a settled job again."""
    if change := to_change(standing.failure):
        return (
            f": fal would refuse the same request again, so change {change}; "
            "`retry` pays for it unchanged"
        )
    if is_rendered(standing.failure):
        return ": only `retry` with its name pays for another render"
    unless = ", unless the manifest's `retry` allows more attempts" if coming.by_limit else ""
    return f"{unless}: only `run --retry-failed` or `retry` pays for it again"


def _failure(standing: Standing) -> str:
    return standing.failure.message if standing.failure else status_of(standing.state)


def _collected(reader: Reader, attempt_id: int, label: str) -> str:
    attempt = reader.attempt(attempt_id)
    if attempt.state not in (State.RENDERED, State.SUCCEEDED):
        meaning, _, then = NEXT[attempt.state]
        status = status_of(attempt.state, attempt.remote_status)
        return f"is {status}: {meaning}; the next run: {then}"
    if attempt.origin == "adopted":
        return "was adopted, and its file is gone, which fal never had; put it back"
    retry = command_on(reader.path, "retry", label)
    here = "is missing" if attempt.state is State.SUCCEEDED else "is not here"
    return (
        f"is paid, but its file {here}: the next run downloads it, which costs nothing. Where fal "
        f"has it no more, every run asks again, and only `{retry}` gives it up "
        "and pays for another render"
    )


def _text(event: LoggedEvent, attempt: Attempt, *, emulated: bool) -> str:
    data = event.data or {}
    fields = {
        **data,
        **data.get("handle", {}),
        **data.get("failure", {}),
        "estimate": format_usd(attempt.estimate),
    }
    if "paths" in fields:
        fields["paths"] = ", ".join(fields["paths"])
    if isinstance(fields.get("cost"), int):
        fields["cost"] = format_usd(fields["cost"])
    name = f"{event.event} by {data['by']}" if "by" in data else event.event
    if emulated and f"{name} emulated" in _EVENTS:
        name = f"{name} emulated"
    template: str = _EVENTS.get(name) or _EVENTS.get(event.event, event.event)
    return template.format_map(_Lenient(fields))


class _Lenient(dict[str, Any]):
    """Fields of an event; those that an older version did not write read `?`."""

    def __missing__(self, key: str) -> str:
        return "?"


def _value(value: JSON) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
