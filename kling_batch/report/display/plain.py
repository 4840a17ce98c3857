"""Plain log lines: a line an event with its time, a sign of life each minute, the summary."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from kling_batch.core.events import RunEvent
from kling_batch.core.quantities import MicroUSD, duration
from kling_batch.core.text import Tone
from kling_batch.planning.plan import Plan
from kling_batch.report.display.base import NOTABLE, painted, said_of, totals_of
from kling_batch.report.display.progress import Progress
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import RunReport
from kling_batch.report.summary import StyledLine, brief, closing, opening

#: Seconds after which a silent log gets a sign of life; CI systems kill silent jobs.
HEARTBEAT = 60.0


#: Seconds that leaving waits for a reader who takes nothing.
AT_ONCE = 0.5


class PlainDisplay:
    """A line an event with its time, a sign of life each minute, the summary: for logs and CI.

    Args:
        err: standard error.
        now: the wall clock, aware; lines carry UTC.
        quiet: only what needs a person, and the summary.
        color: whether to paint.
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
        self._cap: MicroUSD | None = None
        self._began: float | None = None
        self._last = 0.0

    def start(
        self,
        plan: Plan,
        *,
        cap: MicroUSD | None,
        output: str,
        emulated: bool,
        committed: MicroUSD | None = None,
    ) -> None:
        """What the run sets out to do."""
        self._cap = cap
        self._progress.begin(plan, 0.0, committed)
        if not self._quiet:
            self._stamped(StyledLine(opening(plan, cap=cap, output=output, emulated=emulated)))

    def notify(self, happening: RunEvent) -> None:
        """One line, unless quiet and nobody's business."""
        self._progress.fold(happening, 0.0)
        if not self._quiet or happening.kind in NOTABLE:
            self._stamped(said_of(happening, several=self._progress.several_batches))

    def tick(self, now: float) -> None:
        """A sign of life each minute."""
        self._err.flush()
        if self._began is None:
            self._began = self._last = now
        if self._quiet or now - self._last < HEARTBEAT:
            return
        self._last = now
        elapsed = duration(now - self._began)
        self._stamped(StyledLine(f"{elapsed}: {totals_of(self._progress, self._cap)}", Tone.DIM))

    def finish(self, report: RunReport) -> None:
        """The summary."""
        for said in brief(report) if self._quiet else closing(report):
            self._put(painted(said, color=self._color))
        self._err.drain()

    def close(self) -> None:
        """Everything said, as far as somebody listens."""
        self._err.drain(AT_ONCE)

    def _stamped(self, said: StyledLine) -> None:
        time = self._now().astimezone(UTC)
        self._put(f"{time:%H:%M:%S}Z {painted(said, color=self._color)}")

    def _put(self, text: str) -> None:
        self._err.line(inert(text))


#: What GitHub's runner would take for a command, wherever it came from.
_COMMAND = re.compile(r"^(\s*):(?=:)|##(?=\[)")


def inert(text: str) -> str:
    """A line that a CI system only shows: job text cannot set its variables or hide its log."""
    return _COMMAND.sub(lambda found: f"{found[0]} ", text)
