"""Plain log: a line an event with time, count and cost, a heartbeat each minute, the summary.

Also keeps job text from being read as a command by a CI system. Must not decide about jobs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from kling_batch.core.events import Pace, RunEvent
from kling_batch.core.quantities import duration, format_usd
from kling_batch.core.text import Tone
from kling_batch.report.display.base import event_line, painted, totals_of
from kling_batch.report.display.phases import EVENT_STYLES
from kling_batch.report.display.progress import Progress
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import RunReport, RunStarted
from kling_batch.report.summary import StyledLine, brief, closing, opening

#: Seconds between heartbeat lines; CI systems kill silent jobs.
HEARTBEAT = 60.0
#: Seconds that closing waits for a reader that takes nothing.
AT_ONCE = 0.5


class PlainDisplay:
    """Display for logs and CI.

    Args:
        err: standard error.
        now: the wall clock, aware; lines carry UTC.
        quiet: only what needs a person, and the summary.
        color: whether lines are coloured.
    """

    def __init__(
        self,
        err: SafeStream,
        *,
        now: Callable[[], datetime],
        quiet: bool = False,
        color: bool = False,
    ) -> None:
        """Nothing is written yet."""
        self._err = err
        self._now = now
        self._quiet = quiet
        self._color = color
        self._progress = Progress()
        self._started: RunStarted | None = None
        #: The time of the first line.
        self._since: datetime | None = None
        self._began: float | None = None
        self._last = 0.0

    def start(self, started: RunStarted) -> None:
        """Log the plan."""
        self._started = started
        self._progress.begin(started.plan, 0.0, started.committed)
        if not self._quiet:
            self._stamped(StyledLine(opening(started)), self._moment())

    def notify(self, event: RunEvent) -> None:
        """Log one line; when quiet, only that of a notable event."""
        moment = self._moment()
        at = (moment - (self._since or moment)).total_seconds()
        line = self._progress.fold(event, at)
        if self._quiet and not EVENT_STYLES[event.kind].notable:
            return
        said = event_line(event, several=self._progress.several_batches)
        if line is not None and line.accepted is not None and at > line.accepted:
            said = replace(said, text=f"{said.text} ({duration(at - line.accepted)})")
        self._stamped(said, moment, counted=True)

    def tick(self, now: float, pace: Pace | None = None) -> None:  # noqa: ARG002 - of the protocol
        """Log the totals once a minute."""
        self._err.flush()
        if self._began is None:
            self._began = self._last = now
        if self._quiet or self._started is None or now - self._last < HEARTBEAT:
            return
        self._last = now
        totals = totals_of(self._progress, self._started)
        beat = StyledLine(f"{duration(now - self._began)}: {totals}", Tone.DIM)
        self._stamped(beat, self._moment())

    def finish(self, report: RunReport) -> None:
        """Write the summary."""
        for line in brief(report) if self._quiet else closing(report):
            self._put(painted(line, color=self._color))
        self._err.drain()

    def close(self) -> None:
        """Write what is left, as far as the reader takes it."""
        self._err.drain(AT_ONCE)

    def _moment(self) -> datetime:
        moment = self._now().astimezone(UTC)
        self._since = self._since or moment
        return moment

    def _stamped(self, line: StyledLine, moment: datetime, *, counted: bool = False) -> None:
        """Write a line with its time, past midnight with its date, and how far the run is."""
        first = self._since or moment
        stamp = f"{moment:%Y-%m-%d %H:%M:%S}Z" if moment.date() != first.date() else ""
        stamp = stamp or f"{moment:%H:%M:%S}Z"
        if counted and self._started is not None:
            progress = self._progress
            cost = format_usd(progress.committed)
            stamp += f" [{progress.ended:,}/{progress.wanted:,}] {cost}"
        self._put(f"{stamp} {painted(line, color=self._color)}")

    def _put(self, text: str) -> None:
        self._err.line(inert(text))


#: What GitHub's runner takes for a command.
_COMMAND = re.compile(r"^(\s*):(?=:)|##(?=\[)")


def inert(text: str) -> str:
    """The line, spelt so that no job text becomes a command of the CI system."""
    return _COMMAND.sub(lambda found: f"{found[0]} ", text)
