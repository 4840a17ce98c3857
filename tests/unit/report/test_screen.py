"""The live view on emulated terminals: no dead rows, and the money, through any resize.

Terminals differ in what they do with lines that no longer fit: xterm cuts them, tmux and most
others fold them and move everything above. Both are emulated here.
"""

from __future__ import annotations

import io
import signal
import subprocess
import sys

import pyte
import pytest
from rich.cells import chop_cells
from support.reports import CENT, job, line, report

from kling_batch.core.events import EventKind, Pace, RunEvent
from kling_batch.core.quantities import MicroUSD, format_usd
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.report.display.frame import View, compose
from kling_batch.report.display.live import LiveDisplay
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import JobOutcome, RunStarted
from kling_batch.report.summary import StyledLine, folded

JOBS = 5_000
OPEN = 600
CAP = MicroUSD(400_000 * CENT)


class Terminal(pyte.Screen):
    """A terminal whose window can be dragged to another size.

    Args:
        folds: lines that no longer fit are folded; else they are cut.
    """

    def __init__(self, columns: int, lines: int, *, folds: bool) -> None:
        self.folds = folds
        #: What has left the screen at the top.
        self.past: list[str] = []
        super().__init__(columns, lines)

    def index(self) -> None:
        """Move on by a line; at the bottom, everything moves up."""
        if self.cursor.y == self.lines - 1:
            self.past.append(self.display[0].rstrip())
        super().index()

    def drag(self, columns: int, lines: int) -> None:
        """Take another size, and keep the cursor's line in sight."""
        rows = [*self.past, *(row.rstrip() for row in self.display[: self.cursor.y + 1])]
        parts = [part for row in rows for part in (chop_cells(row, columns) or [""])]
        if not self.folds:
            parts = [row[:columns].rstrip() for row in rows]
        shown = parts[-lines:] if self.folds or len(parts) > lines else parts
        self.resize(lines, columns)
        hidden = self.cursor.hidden
        self.reset()
        pyte.Stream(self).feed("\r\n".join(shown))
        self.cursor.hidden = hidden
        self.past = parts[: -len(shown)]

    def rows(self) -> list[str]:
        """What is on the screen, without the empty lines at its end."""
        rows = [row.rstrip() for row in self.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows


class Window(SafeStream):
    """Standard error of a program in such a terminal."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(io.StringIO())
        self._drawn = terminal
        self._parser = pyte.Stream(terminal)

    @property
    def size(self) -> tuple[int, int]:
        return self._drawn.columns, self._drawn.lines

    def write(self, text: str) -> int:
        """Draw; the driver of a terminal makes two characters of a line's end."""
        self._parser.feed(text.replace("\n", "\r\n"))
        return len(text)


def name(number: int) -> str:
    return f"a-job-with-a-name-as-long-as-they-come-{number:04}"


def told(kind: EventKind, number: int, message: str = "") -> RunEvent:
    return RunEvent(kind=kind, job=name(number), batch="spring", message=message)


PACE = Pace(most=10, rate=10, open=OPEN, window=OPEN)


@pytest.fixture(params=[True, False], ids=["folds", "cuts"])
def terminal(request: pytest.FixtureRequest) -> Terminal:
    return Terminal(160, 40, folds=request.param)


def begun(terminal: Terminal, jobs: int = JOBS, window: Window | None = None) -> LiveDisplay:
    """A view of many open requests, one of which has failed."""
    display = LiveDisplay(window or Window(terminal), environ={}, color=False)
    items = [PlannedJob(job(name(n)), Action.SUBMIT, "") for n in range(jobs)]
    display.start(RunStarted(plan=Plan(tuple(items)), cap=CAP, output="outputs", emulated=False))
    for number in range(min(jobs, OPEN)):
        display.notify(told(EventKind.SUBMITTED, number))
    display.notify(told(EventKind.FAILED, 1, "fal refused the prompt of this job"))
    display.tick(0.0, PACE)
    return display


SAID = (
    "{} jobs: {} to render for up to {}, cap $4,000.00; files in outputs",
    f"{name(1)}: failed: fal refused the prompt of this job",
)


def check(terminal: Terminal, display: LiveDisplay, elapsed: float) -> None:
    """The screen ends with the frame; above it stands what is to stay, and nothing else."""
    width, height = terminal.columns, terminal.lines
    progress = display._progress
    view = View(cap=CAP, emulated=False, elapsed=elapsed, pace=PACE, bar="━x─·")
    composed = compose(progress, view, width, height)
    frame = ["".join(text for text, _ in row).rstrip() for row in composed]
    rows = terminal.rows()
    count = f"{progress.total:,}"
    price = format_usd(progress.total * 70 * CENT)
    said = [text.format(count, count, price) for text in SAID]
    parts = [part.text for text in said for part in folded(StyledLine(text), width)]
    stays = [row for part in parts for row in chop_cells(part, width)]

    above = rows[: -len(frame)]
    assert rows[-len(frame) :] == frame
    assert above == stays[len(stays) - len(above) :]
    assert len(rows) == min(height - 1, len(stays) + len(frame)) or not terminal.folds
    assert terminal.cursor.y == len(rows) - 1
    assert terminal.cursor.hidden
    assert format_usd(progress.committed) in "".join(frame)
    assert "$4,000.00" in "".join(frame[-2:])


SIZES = [(160, 40), (80, 40), (40, 24), (20, 12), (40, 24), (80, 40), (160, 40)]


@pytest.mark.parametrize("jobs", [5, JOBS])
def test_no_row_is_left_behind_through_resizes(terminal: Terminal, jobs: int) -> None:
    display = begun(terminal, jobs)
    for number, size in enumerate(SIZES, start=1):
        terminal.drag(*size)
        for later in (0.0, 0.5):
            display.tick(number + later, PACE)
            check(terminal, display, number + later)


def test_an_echo_of_a_key_hides_nothing(terminal: Terminal) -> None:
    """Ctrl-C is shown by the terminal's driver, where the cursor is."""
    display = begun(terminal, 5)
    display.notify(told(EventKind.SAVED, 0, "a.mp4"))
    display.tick(1.0, PACE)
    last = terminal.rows()[-1]

    pyte.Stream(terminal).feed("^C")

    assert terminal.rows()[-1] == f"{last}^C"


def test_a_suspended_view_gives_the_terminal_back_and_returns(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-Z, a word of the shell, `fg`."""
    window = Window(terminal)
    monkeypatch.setattr(window, "at_once", window.write)
    display = begun(terminal, 5, window)
    said = [row for row in terminal.rows() if row.startswith("5 jobs") or "failed:" in row]

    pyte.Stream(terminal).feed("^Z")
    display._screen.leave()

    assert terminal.rows() == said
    assert not terminal.cursor.hidden
    window.write("[1]+  Stopped\n$ fg\n")
    display.tick(60.0, PACE)

    rows = terminal.rows()
    assert rows[: len(said) + 2] == [*said, "[1]+  Stopped", "$ fg"]
    assert [row for row in rows if " of 5 done" in row] == [rows[-4]]
    assert terminal.cursor.hidden


def test_the_summary_stands_alone_at_the_end(terminal: Terminal) -> None:
    display = begun(terminal, 5)
    terminal.drag(80, 24)
    display.finish(report(line(name(0), JobOutcome.SUCCEEDED)))
    display.close()

    rows = terminal.rows()
    assert not [row for row in rows if "waiting" in row or " of 5 done" in row]
    assert rows[-1].strip() == "cost   $1.40 this run, $5.60 in all"
    assert not terminal.cursor.hidden


@pytest.mark.skipif(not hasattr(signal, "SIGQUIT"), reason="a signal of POSIX")
def test_a_quit_leaves_the_terminal_in_order_and_ends_the_process() -> None:
    script = (
        "import os, resource, signal\n"
        "from kling_batch.report.display.screen import Suspension\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "signal.signal(signal.SIGQUIT, signal.SIG_DFL)\n"  # a shell's `&` ignores it
        "Suspension(lambda: os.write(1, b'cursor')).end()\n"
        "assert signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL\n"
        "view = Suspension(lambda: os.write(1, b'cursor'))\n"
        "os.kill(os.getpid(), signal.SIGQUIT)\n"
        "print('lived on')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGQUIT, b"cursor", b"")
