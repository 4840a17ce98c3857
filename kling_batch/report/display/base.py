"""The display protocol, and the lines that all displays share.

Standard output is data only; everything for people goes to standard error. Plain lines are in
`plain.py`, the live table in `live.py`, JSON lines in `ndjson.py`. Must not decide about jobs.
"""

from __future__ import annotations

from typing import Protocol

from kling_batch.core.events import EventKind, Pace, RunEvent
from kling_batch.core.quantities import format_usd
from kling_batch.core.text import Tone, clean, full_name
from kling_batch.report.display.phases import EVENT_STYLES, OF_STATUS
from kling_batch.report.display.progress import Progress
from kling_batch.report.plan_view import usual_seconds
from kling_batch.report.run_report import RunReport, RunStarted
from kling_batch.report.summary import StyledLine


class Display(Protocol):
    """Receiver of a run's events. No method ever raises, or waits, for want of a reader."""

    def start(self, started: RunStarted) -> None:
        """The run begins; not called where there is nothing to do."""

    def notify(self, event: RunEvent) -> None:
        """Show one event."""

    def tick(self, now: float, pace: Pace | None = None) -> None:
        """Update what depends on the time; called four times a second.

        Args:
            now: a monotonic time in seconds.
            pace: of submissions; None where it is not known.
        """

    def finish(self, report: RunReport) -> None:
        """The run has ended: show the summary."""

    def close(self) -> None:
        """Leave a usable terminal behind; may be called at any moment and more than once."""


# -- colour ------------------------------------------------------------------------------------

#: Tone → rich style.
STYLES: dict[Tone, str] = {
    Tone.PLAIN: "",
    Tone.TITLE: "bold",
    Tone.GOOD: "green",
    Tone.BAD: "red",
    Tone.WARNING: "yellow",
    Tone.DIM: "dim",
}


def painted(line: StyledLine, *, color: bool) -> str:
    """The line as it is written: with escape sequences where colour is wanted."""
    if not (color and line.text and STYLES[line.tone]):
        return line.text
    from rich.color import ColorSystem  # noqa: PLC0415 - a log without colour never loads rich
    from rich.style import Style  # noqa: PLC0415

    style = Style.parse(STYLES[line.tone])
    return style.render(line.text, color_system=ColorSystem.STANDARD)


# -- one line an event -------------------------------------------------------------------------


def event_line(event: RunEvent, *, several: bool) -> StyledLine:
    """An event as a line: the job's name, then what happened to it."""
    message = clean(event.message)
    if event.kind is EventKind.PROGRESS and (status := OF_STATUS.get(event.message)):
        message = status.text
        if (position := event.data.get("position")) and event.message == "IN_QUEUE":
            message = f"{message}, position {position}"
    style = EVENT_STYLES[event.kind]
    if not message.startswith(style.lead.partition(":")[0] or "\0"):  # it says so itself
        message = style.lead + message
    name = full_name(event.batch, event.job, several=several) if event.job else ""
    return StyledLine(f"{name}: {message}" if name else message, style.tone)


def usual_seconds_of(started: RunStarted) -> dict[str, float]:
    """Seconds of a render by endpoint: the ledger's, else those of the model's page.

    The emulator's renders are not the models': without a history nothing is known of them.
    """
    known = dict(started.typical_seconds)
    if not started.emulated:
        for endpoint in {item.job.endpoint for item in started.plan.items}:
            known.setdefault(endpoint, usual_seconds(endpoint, {}))
    return known


def totals_of(progress: Progress, started: RunStarted) -> str:
    """The totals of the run, in one line."""
    counts = ", ".join(f"{number:,} {what}" for number, what in progress.totals())
    money = format_usd(progress.committed)
    if started.cap is not None:
        money += f" of {format_usd(started.cap)}"
    return f"{counts}; {f'would have cost {money}' if started.emulated else f'{money} committed'}"
