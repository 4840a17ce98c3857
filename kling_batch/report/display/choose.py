"""The choice between displays, from terminal, environment and flags; and two at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from kling_batch.core.events import RunEvent
from kling_batch.core.quantities import MicroUSD
from kling_batch.planning.plan import Plan
from kling_batch.report.display.base import Display
from kling_batch.report.display.ndjson import JsonDisplay
from kling_batch.report.display.plain import PlainDisplay
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import RunReport


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
    """The display that fits.

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
        """Told in this order."""
        self._displays = (first, second)

    def start(
        self,
        plan: Plan,
        *,
        cap: MicroUSD | None,
        output: str,
        emulated: bool,
        committed: MicroUSD | None = None,
    ) -> None:
        """Both begin."""
        for display in self._displays:
            display.start(plan, cap=cap, output=output, emulated=emulated, committed=committed)

    def notify(self, happening: RunEvent) -> None:
        """Both are told."""
        for display in self._displays:
            display.notify(happening)

    def tick(self, now: float) -> None:
        """Time passes for both."""
        for display in self._displays:
            display.tick(now)

    def finish(self, report: RunReport) -> None:
        """Both have the last word."""
        for display in self._displays:
            display.finish(report)

    def close(self) -> None:
        """Both let go."""
        for display in self._displays:
            display.close()
