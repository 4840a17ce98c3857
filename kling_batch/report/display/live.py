"""Live table of a run on a terminal, drawn with rich.

Drawn by `tick`, never by a thread, and removed at the end so that the summary stands alone.
Job text enters as `Text`, never as markup. Must not decide about jobs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import IO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kling_batch.core.events import RunEvent
from kling_batch.core.quantities import MicroUSD, clock
from kling_batch.core.text import clean, full_name
from kling_batch.report.display.base import STYLES, event_line, painted, totals_of
from kling_batch.report.display.phases import EVENT_STYLES, Phase
from kling_batch.report.display.plain import AT_ONCE
from kling_batch.report.display.progress import Line, Progress, longest
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import RunReport, RunStarted
from kling_batch.report.summary import StyledLine, closing, opening

#: Lines of the terminal that are not rows: the blank line and the totals below, room above.
_OTHER_LINES = 4

_PHASE_STYLES = {
    Phase.SENDING: "yellow",
    Phase.RETRYING: "yellow",
    Phase.LOOKING: "yellow",
    Phase.RENDERING: "cyan",
    Phase.DOWNLOADING: "green",
}


class LiveDisplay:
    """Table of the jobs under way, with the totals below it.

    Args:
        err: standard error, a terminal.
        environ: `COLUMNS`, `LINES`, `TERM`, as rich reads them.
        color: whether to use colour.
    """

    def __init__(self, err: SafeStream, *, environ: Mapping[str, str], color: bool = True) -> None:
        """Nothing is drawn yet."""
        self._err = err
        self._color = color
        self._console = Console(
            file=cast("IO[str]", err),
            force_terminal=True,
            no_color=not color,
            highlight=False,
            markup=False,
            emoji=False,
            _environ=environ,
        )
        self._live: Live | None = None
        self._progress = Progress()
        self._cap: MicroUSD | None = None
        self._began: float | None = None
        self._elapsed = 0.0
        self._pending: deque[StyledLine] = deque()

    def start(self, started: RunStarted) -> None:
        """Print the plan in one line, then start the table."""
        self._cap = started.cap
        self._progress.begin(started.plan, 0.0, started.committed)
        self._print(StyledLine(opening(started)))
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def notify(self, event: RunEvent) -> None:
        """Fold the event into the table, which the next tick draws."""
        self._progress.fold(event, self._elapsed)
        if EVENT_STYLES[event.kind].stays:
            self._pending.append(event_line(event, several=self._progress.several_batches))

    def tick(self, now: float) -> None:
        """Draw the table, unless the terminal is stopped (Ctrl-S)."""
        if self._began is None:
            self._began = now
        self._elapsed = now - self._began
        if self._live is None or not self._err.ready:
            return
        self._print_pending()
        self._live.update(self._frame(), refresh=True)

    def finish(self, report: RunReport) -> None:
        """Remove the table and write the summary."""
        self._end()
        for line in closing(report, width=self._console.width):
            self._err.line(painted(line, color=self._color))
        self._err.drain()

    def close(self) -> None:
        """Remove the table and show the cursor; does not wait for a terminal that hangs."""
        self._end()
        self._err.drain(AT_ONCE)

    def _end(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.update(Text(""), refresh=False)
            live.stop()
        self._print_pending()

    def _print_pending(self) -> None:
        """Print above the table what is to stay."""
        while self._pending:
            self._print(self._pending.popleft())

    def _print(self, line: StyledLine) -> None:
        self._console.print(Text(line.text, self._style(STYLES[line.tone])), soft_wrap=False)

    def _style(self, style: str) -> str:
        return style if self._color else ""

    # -- the frame -----------------------------------------------------------------------------

    def _frame(self) -> RenderableType:
        rows = max(1, self._console.height - _OTHER_LINES)
        lines = longest(self._progress.moving.values())
        if len(lines) > rows:
            lines, hidden = lines[: rows - 1], len(lines) - rows + 1
        else:
            hidden = 0
        table = Table(box=None, show_header=False, expand=True, padding=(0, 2, 0, 0))
        table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
        table.add_column(width=13, no_wrap=True)
        table.add_column(width=7, justify="right", no_wrap=True)
        table.add_column(ratio=4, no_wrap=True, overflow="ellipsis", style=self._style("dim"))
        for line in lines:
            table.add_row(*self._row(line))
        parts: list[RenderableType] = [table]
        if hidden:
            parts.append(Text(f"and {hidden:,} more", style=self._style("dim")))
        return Group(*parts, Text(""), self._footer())

    def _row(self, line: Line) -> tuple[Text, Text, Text, Text]:
        name = full_name(line.batch, line.job, several=self._progress.several_batches)
        return (
            Text(name),
            Text(line.phase.status, style=self._style(_PHASE_STYLES.get(line.phase, ""))),
            Text(clock(self._elapsed - line.since)),
            Text(clean(line.note)),
        )

    def _footer(self) -> RenderableType:
        progress = self._progress
        lead = "stopping: " if progress.stopping else ""
        text = f"{lead}{totals_of(progress, self._cap)}"
        width = 16 if self._console.width >= 100 else 8
        footer = Table.grid(padding=(0, 1))
        footer.add_column(width=width)
        footer.add_column(no_wrap=True)
        footer.add_column(no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(total=max(1, progress.total), completed=progress.done, width=width)
        footer.add_row(bar, clock(self._elapsed), Text(text, style=self._style("bold")))
        return footer
