"""Live view of a run on a terminal: the jobs under way, and the totals below them.

Drawn by `tick`, never by a thread, and removed at the end so that the summary stands alone.
A frame costs as many rows as the terminal has, however many jobs there are. Must not decide about
jobs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from kling_batch.core.events import Pace, RunEvent
from kling_batch.report.display.base import event_line, painted, usual_seconds_of
from kling_batch.report.display.frame import View, compose
from kling_batch.report.display.phases import EVENT_STYLES
from kling_batch.report.display.plain import AT_ONCE
from kling_batch.report.display.progress import Progress
from kling_batch.report.display.screen import Screen, Suspension
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import RunReport, RunStarted
from kling_batch.report.summary import StyledLine, closing, opening

#: Bars by what the terminal's encoding has: done, failed, under way, to come.
_BARS = ("━x─·", "=x-.")


class LiveDisplay:
    """Live view: rows of jobs and the totals.

    Args:
        err: standard error, a terminal.
        environ: `COLUMNS` and `LINES`, as shells set them.
        color: whether to use colour.
    """

    def __init__(
        self,
        err: SafeStream,
        *,
        environ: Mapping[str, str],
        color: bool = True,
    ) -> None:
        """Nothing is drawn yet."""
        self._err = err
        self._color = color
        self._screen = Screen(err, environ, color=color)
        self._progress = Progress()
        self._started: RunStarted | None = None
        self._bar = next((bar for bar in _BARS if err.has(bar)), _BARS[-1])
        self._suspension: Suspension | None = None
        self._began: float | None = None
        self._elapsed = 0.0
        self._pending: deque[StyledLine] = deque()

    def start(self, started: RunStarted) -> None:
        """Print the plan in one line."""
        self._started = started
        usual = usual_seconds_of(started)
        self._progress.begin(started.plan, 0.0, started.committed, usual)
        self._suspension = Suspension(self._screen.leave)
        self._screen.say([StyledLine(opening(started))])

    def notify(self, event: RunEvent) -> None:
        """Fold the event into the table, which the next tick draws."""
        self._progress.fold(event, self._elapsed)
        if EVENT_STYLES[event.kind].stays:
            self._pending.append(event_line(event, several=self._progress.several_batches))

    def tick(self, now: float, pace: Pace | None = None) -> None:
        """Draw the frame, unless the terminal is stopped (Ctrl-S) or another program's (`bg`)."""
        if self._began is None:
            self._began = now
        self._elapsed = now - self._began
        if self._started is None:
            return
        if not (self._err.foreground and self._err.ready):
            return
        self._say_pending()
        self._draw(self._started, pace)

    def _draw(self, started: RunStarted, pace: Pace | None) -> None:
        view = View(
            cap=started.cap,
            emulated=started.emulated,
            elapsed=self._elapsed,
            pace=pace,
            bar=self._bar,
        )
        self._screen.show(compose(self._progress, view, *self._screen.size))

    def finish(self, report: RunReport) -> None:
        """Remove the frame and write the summary."""
        self._end()
        for line in closing(report, width=self._screen.size[0]):
            self._err.line(painted(line, color=self._color))
        self._err.drain()

    def close(self) -> None:
        """Remove the frame and show the cursor; does not wait for a terminal that hangs."""
        self._end()
        self._err.drain(AT_ONCE)

    def _end(self) -> None:
        if self._started is not None:
            self._started = None
            self._screen.clear()
        if self._suspension is not None:
            self._suspension.end()
            self._suspension = None
        self._say_pending()

    def _say_pending(self) -> None:
        """Print above the frame what is to stay."""
        lines = list(self._pending)
        self._pending.clear()
        self._screen.say(lines)
