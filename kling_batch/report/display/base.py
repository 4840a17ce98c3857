"""How a run is shown: the protocol, the plain lines for logs, and the choice between displays.

Standard output is data only, everything for people goes to standard error. The live table is
`live.py` (the only home of rich), JSON lines are `ndjson.py`. Must not decide about jobs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from kling_batch.catalog.pricing import format_usd
from kling_batch.core.jobs import MicroUSD
from kling_batch.core.outcomes import Happening
from kling_batch.core.text import clean, duration, full_name
from kling_batch.planning.plan import Plan
from kling_batch.report.display.ndjson import JsonDisplay
from kling_batch.report.display.progress import Progress
from kling_batch.report.display.stream import Writer
from kling_batch.report.run_report import RunReport
from kling_batch.report.summary import Said, Tone, brief, closing, opening

#: Seconds after which a silent log gets a sign of life; CI systems kill silent jobs.
HEARTBEAT = 60.0
#: Seconds that leaving waits for a reader who takes nothing.
AT_ONCE = 0.5


class Display(Protocol):
    """What a run is told to. No method ever raises, or waits, for want of a reader."""

    def start(
        self,
        plan: Plan,
        *,
        cap: MicroUSD | None,
        output: str,
        emulated: bool,
        committed: MicroUSD | None = None,
    ) -> None:
        """The run begins; not called where there is nothing to do.

        `committed`: what the ledger counts against the cap at this moment, where the caller knows.
        """

    def notify(self, happening: Happening) -> None:
        """One thing happened."""

    def tick(self, now: float) -> None:
        """Time passes: `now` is seconds on any steady clock, at least one call a second."""

    def finish(self, report: RunReport) -> None:
        """The run has ended; the last word."""

    def close(self) -> None:
        """Leave a usable terminal behind; may be called at any moment and more than once."""


def choose(
    *,
    json: bool,
    quiet: bool,
    stream_is_terminal: bool,
    environ: Mapping[str, str],
    out: Writer | None = None,
    err: Writer | None = None,
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
    out = out or Writer(sys.stdout)
    err = err or Writer(sys.stderr)
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


# -- colour ------------------------------------------------------------------------------------

_SGR = {
    Tone.PLAIN: "",
    Tone.TITLE: "1",
    Tone.GOOD: "32",
    Tone.BAD: "31",
    Tone.DOUBT: "33",
    Tone.DIM: "2",
}


def painted(said: Said, *, color: bool) -> str:
    """The line as a terminal gets it."""
    code = _SGR[said.tone] if color else ""
    return f"\x1b[{code}m{said.text}\x1b[0m" if code and said.text else said.text


# -- one line an event -------------------------------------------------------------------------

#: What a person must see even when quiet.
NOTABLE: dict[str, Tone] = {
    "warning": Tone.DOUBT,
    "stopping": Tone.BAD,
    "failed": Tone.BAD,
    "blocked": Tone.BAD,
    "undelivered": Tone.BAD,
    "unheard": Tone.BAD,
    "unreadable": Tone.DOUBT,
    "in_doubt": Tone.DOUBT,
    "held": Tone.DOUBT,
}

#: What stands before a message that does not say by itself what it is.
_LEADS = {
    "saved": "saved ",
    "failed": "failed: ",
    "blocked": "blocked: ",
    "warning": "warning: ",
    "stopping": "stopping: ",
    "retrying": "failed for now: ",
    "throttled": "not accepted yet: ",
    "braking": "not sent yet: ",
    "unreachable": "not accepted yet: ",
    "locked": "not accepted yet: ",
    "download_again": "download failed: ",
}
_STATUS = {"IN_QUEUE": "queued at fal", "IN_PROGRESS": "rendering"}


def said_of(happening: Happening, *, several: bool) -> Said:
    """An event in words: the job, then what happened to it."""
    message = clean(happening.message)
    if happening.kind == "progress":
        message = _STATUS.get(message, message)
        if (position := happening.data.get("position")) and happening.message == "IN_QUEUE":
            message = f"{message}, position {position}"
    message = _LEADS.get(happening.kind, "") + message
    name = full_name(happening.batch, happening.job, several=several) if happening.job else ""
    tone = Tone.GOOD if happening.kind == "saved" else NOTABLE.get(happening.kind, Tone.PLAIN)
    return Said(f"{name}: {message}" if name else message, tone)


def totals_of(progress: Progress, cap: MicroUSD | None) -> str:
    """Where the run stands, in one line."""
    counts = ", ".join(f"{number:,} {what}" for number, what in progress.totals())
    money = format_usd(progress.committed)
    return f"{counts}; {money}{'' if cap is None else f' of {format_usd(cap)}'} committed"


class PlainDisplay:
    """A line an event with its time, a sign of life each minute, the summary: for logs and CI.

    Args:
        err: standard error.
        now: the wall clock, aware; lines carry UTC.
        quiet: only what needs a person, and the summary.
        color: whether to paint.
    """

    def __init__(
        self, err: Writer, *, now: Callable[[], datetime], quiet: bool = False, color: bool = False
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
            self._stamped(Said(opening(plan, cap=cap, output=output, emulated=emulated)))

    def notify(self, happening: Happening) -> None:
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
        self._stamped(Said(f"{elapsed}: {totals_of(self._progress, self._cap)}", Tone.DIM))

    def finish(self, report: RunReport) -> None:
        """The summary."""
        for said in brief(report) if self._quiet else closing(report):
            self._put(painted(said, color=self._color))
        self._err.drain()

    def close(self) -> None:
        """Everything said, as far as somebody listens."""
        self._err.drain(AT_ONCE)

    def _stamped(self, said: Said) -> None:
        time = self._now().astimezone(UTC)
        self._put(f"{time:%H:%M:%S}Z {painted(said, color=self._color)}")

    def _put(self, text: str) -> None:
        self._err.line(inert(text))


#: What GitHub's runner would take for a command, wherever it came from.
_COMMAND = re.compile(r"^(\s*):(?=:)|##(?=\[)")


def inert(text: str) -> str:
    """A line that a CI system only shows: job text cannot set its variables or hide its log."""
    return _COMMAND.sub(lambda found: f"{found[0]} ", text)


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

    def notify(self, happening: Happening) -> None:
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
