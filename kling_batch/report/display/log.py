"""Complete log of a run: every event with its ids, and every HTTP request, each with date and time.

For `--verbose` and `--log-file`. Must not leave anything out, nor hold secrets: whoever tells it
something has removed them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from kling_batch.core.events import Pace, RunEvent
from kling_batch.core.jobs import JSON
from kling_batch.report.display.base import event_line
from kling_batch.report.display.plain import inert
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import RunReport, RunStarted
from kling_batch.report.summary import closing, opening

#: Data of an event that its message does not say.
_SHOWN = (
    "request_id",
    "attempt",
    "attempts",
    "endpoint",
    "estimate_usd",
    "cost_usd",
    "render_seconds",
)


class LogDisplay:
    """Writes a line for everything.

    Args:
        out: where the lines go.
        now: the wall clock, aware; lines carry UTC.
    """

    def __init__(self, out: SafeStream, *, now: Callable[[], datetime]) -> None:
        """Nothing is written yet."""
        self._out = out
        self._now = now

    def trace(self, text: str) -> None:
        """Write one HTTP request."""
        self._line("http", text)

    def failed(self, message: str) -> None:
        """Write why the command cannot begin or go on."""
        self._line("error", message)

    def start(self, started: RunStarted) -> None:
        """Write the plan in one line."""
        self._line("started", opening(started))

    def notify(self, event: RunEvent) -> None:
        """Write one event with its data."""
        facts = [f"{name}={_plain(event.data[name])}" for name in _SHOWN if name in event.data]
        text = event_line(event, several=True).text
        self._line(event.kind, f"{text}  [{' '.join(facts)}]" if facts else text)

    def tick(self, now: float, pace: Pace | None = None) -> None:  # noqa: ARG002 - stamped by the wall clock
        """Write what the reader takes."""
        self._out.flush()

    def finish(self, report: RunReport) -> None:
        """Write the summary."""
        for line in closing(report):
            if line.text:
                self._line("report", line.text)
        self._out.drain()

    def close(self) -> None:
        """Write what is left, as far as the reader takes it."""
        self._out.drain(0.5)

    def _line(self, kind: str, text: str) -> None:
        time = self._now().astimezone(UTC)
        shown = " ".join(text.split("\n"))
        stamp = f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"
        self._out.line(inert(f"{stamp} {kind}: {shown}"))


def _plain(value: JSON) -> str:
    return "none" if value is None else str(value)
