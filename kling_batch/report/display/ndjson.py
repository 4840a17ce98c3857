"""NDJSON display: one JSON object a line on standard output, the last one the report.

The fields are a contract with other people's programs: add, never rename; a change of meaning
raises the `SCHEMA_VERSION` of all JSON. Event names are those of `EventKind`, and `started`,
`heartbeat` and `report` from here. Must not write anything but JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime

from kling_batch.core.events import Pace, RunEvent
from kling_batch.core.jobs import JSON
from kling_batch.core.quantities import format_time, usd_number
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.planning.plan import Action, LeftOut
from kling_batch.report.display.progress import Progress
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import JobLine, RunReport, RunStarted


def event_record(
    event: str, time: str, *, batch: str = "", job: str = "", message: str = "", data: JSON = None
) -> JSON:
    """One event; each has all of these fields."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event": event,
        "time": time,
        "batch": batch or None,
        "job": job or None,
        "message": message,
        "data": data or {},
    }


def started_record(started: RunStarted) -> JSON:
    """The plan in numbers; the first line of the stream."""
    plan = started.plan
    return {
        "jobs": len(plan.items),
        "actions": {action.value: n for action in Action if (n := plan.count(action))},
        "cost_usd": usd_number(plan.cost),
        "committed_usd": usd_number(started.committed),
        "cap_usd": usd_number(started.cap),
        "output": started.output,
        "emulated": started.emulated,
        "left_out": _left_out(plan.left_out),
        "covered_by_caps": started.coverage.jobs if started.coverage else None,
    }


def _left_out(left_out: Sequence[LeftOut]) -> JSON:
    return [{"by": option, "jobs": jobs} for option, jobs in left_out]


def report_record(report: RunReport) -> JSON:
    """The report as JSON; the last line of the stream."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event": "report",
        "time": report.ended_at,
        "exit_code": report.exit_code.value,
        "exit_meaning": report.meaning,
        "reasons": list(report.reasons),
        "batches": list(report.batches),
        "started_at": report.started_at,
        "ended_at": report.ended_at,
        "seconds": round(report.seconds, 3),
        "counts": {outcome.name.lower(): number for outcome, number in report.counts().items()},
        "spent_now_usd": usd_number(report.spent_now),
        "charged_usd": usd_number(report.charged),
        "exposed_usd": usd_number(report.exposed),
        "cap_usd": usd_number(report.cap),
        "emulated": report.emulated,
        "output": report.output,
        "ledger": report.ledger,
        "next_steps": list(report.next_steps),
        "jobs": [job_record(line) for line in report.lines],
        "unlisted_unchanged_jobs": report.unlisted,
        "left_out": _left_out(report.left_out),
        "renditions": {
            "made": report.renditions.made,
            "failed": list(report.renditions.failed),
            "left": report.renditions.left,
        },
    }


def job_record(line: JobLine) -> JSON:
    """One job at the end."""
    return {
        "batch": line.batch,
        "job": line.job,
        "ending": line.outcome.name.lower(),
        "message": line.message,
        "mode": line.mode or None,
        "tier": line.tier or None,
        "prompt": line.prompt,
        "files": list(line.files),
        "cost_usd": usd_number(line.cost),
        "seconds": None if line.seconds is None else round(line.seconds, 3),
        "request_id": line.request_id or None,
        "place": str(line.place) or None,
    }


class JsonDisplay:
    """Writes each event when it comes.

    Args:
        out: standard output.
        now: the wall clock, aware.
        heartbeat: seconds between `heartbeat` events.
    """

    def __init__(
        self, out: SafeStream, *, now: Callable[[], datetime], heartbeat: float = 60
    ) -> None:
        """Nothing is written yet."""
        self._out = out
        self._now = now
        self._heartbeat = heartbeat
        self._progress = Progress()
        self._last: float | None = None

    def start(self, started: RunStarted) -> None:
        """Write the plan in numbers."""
        self._progress.begin(started.plan, 0.0, started.committed)
        self._event("started", data=started_record(started))

    def notify(self, event: RunEvent) -> None:
        """Write one line."""
        self._progress.fold(event, 0.0)
        self._event(
            event.kind,
            batch=event.batch,
            job=event.job,
            message=event.message,
            data=event.data,
        )

    def tick(self, now: float, pace: Pace | None = None) -> None:  # noqa: ARG002 - of the protocol
        """Write the counts once a minute."""
        self._out.flush()
        if self._last is None:
            self._last = now
        if now - self._last < self._heartbeat:
            return
        self._last = now
        progress = self._progress
        counts = {
            "jobs": progress.total,
            "done": progress.done,
            "open": progress.open,
            "downloading": progress.downloading,
            "waiting": progress.waiting,
            "unapproved": progress.total - progress.wanted,
            "failed": progress.failed,
            "in_doubt": progress.in_doubt,
            "committed_usd": usd_number(progress.committed),
        }
        self._event("heartbeat", data=counts)

    def finish(self, report: RunReport) -> None:
        """Write the report; waits for a slow reader."""
        self._write(report_record(report))
        self._out.drain()

    def close(self) -> None:
        """Write what is left, as far as the reader takes it."""
        self._out.drain(0.5)

    def _event(self, event: str, **fields: JSON) -> None:
        self._write(event_record(event, format_time(self._now()), **fields))

    def _write(self, record: JSON) -> None:
        # ASCII only: the line survives every encoding, and half a surrogate in a prompt.
        self._out.line(json.dumps(record, default=str))
