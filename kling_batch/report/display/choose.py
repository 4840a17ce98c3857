"""Choice of the display, from terminal, environment and flags; and two displays as one.

Must not write anything itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from kling_batch.core.events import Pace, RunEvent
from kling_batch.report.display.base import Display
from kling_batch.report.display.ndjson import JsonDisplay
from kling_batch.report.display.plain import PlainDisplay
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import RunReport, RunStarted


def choose(
    *,
    json: bool,
    quiet: bool,
    stream_is_terminal: bool,
    environ: Mapping[str, str],
    out: SafeStream | None = None,
    err: SafeStream | None = None,
    now: Callable[[], datetime] | None = None,
) -> Display:
    """The display for this terminal and these flags.

    Args:
        json: NDJSON on standard output; failures and the summary still go to standard error.
        quiet: only what needs a person, and the summary; with `json` nothing but JSON.
        stream_is_terminal: whether standard error is one.
        environ: `CI` and `TERM=dumb` ask for plain lines, `NO_COLOR` and `FORCE_COLOR` for less
            and more colour.
        out: standard output.
        err: standard error.
        now: the wall clock.
    """
    out = out or SafeStream(sys.stdout)
    err = err or SafeStream(sys.stderr)
    now = now or _utc_now
    live = stream_is_terminal and environ.get("TERM") != "dumb" and not _is_ci(environ)
    color = _color(environ, live=live)
    if json:
        machine = JsonDisplay(out, now=now)
        if quiet:
            return machine
        return Both(machine, PlainDisplay(err, now=now, quiet=True, color=color))
    if live and not quiet:
        from kling_batch.report.display.live import LiveDisplay  # noqa: PLC0415 - rich loads only for a terminal

        return LiveDisplay(err, environ=environ, color=color)
    return PlainDisplay(err, now=now, quiet=quiet, color=color)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _is_ci(environ: Mapping[str, str]) -> bool:
    return environ.get("CI", "").lower() not in ("", "0", "false")


def _color(environ: Mapping[str, str], *, live: bool) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if (forced := environ.get("FORCE_COLOR")) is not None:
        return forced.lower() not in ("", "0", "false")
    return live


class Both:
    """Two displays of one run."""

    def __init__(self, first: Display, second: Display) -> None:
        """`first` gets every call before `second`."""
        self._displays = (first, second)

    def start(self, started: RunStarted) -> None:
        """Start both."""
        for display in self._displays:
            display.start(started)

    def notify(self, event: RunEvent) -> None:
        """Notify both."""
        for display in self._displays:
            display.notify(event)

    def tick(self, now: float, pace: Pace | None = None) -> None:
        """Tick both."""
        for display in self._displays:
            display.tick(now, pace)

    def finish(self, report: RunReport) -> None:
        """Finish both."""
        for display in self._displays:
            display.finish(report)

    def close(self) -> None:
        """Close both."""
        for display in self._displays:
            display.close()
