"""How a run is shown: the protocol, the plain lines for logs, and the choice between displays.

Standard output is data only, everything for people goes to standard error. The live table is
`live.py` (the only home of rich), JSON lines are `ndjson.py`. Must not decide about jobs.
"""

from __future__ import annotations

from typing import Protocol

from kling_batch.core.events import RunEvent
from kling_batch.core.quantities import MicroUSD, format_usd
from kling_batch.core.text import Tone, clean, full_name
from kling_batch.planning.plan import Plan
from kling_batch.report.display.progress import Progress
from kling_batch.report.run_report import RunReport
from kling_batch.report.summary import StyledLine


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

    def notify(self, happening: RunEvent) -> None:
        """One thing happened."""

    def tick(self, now: float) -> None:
        """Time passes: `now` is seconds on any steady clock, at least one call a second."""

    def finish(self, report: RunReport) -> None:
        """The run has ended; the last word."""

    def close(self) -> None:
        """Leave a usable terminal behind; may be called at any moment and more than once."""


# -- colour ------------------------------------------------------------------------------------

_SGR = {
    Tone.PLAIN: "",
    Tone.TITLE: "1",
    Tone.GOOD: "32",
    Tone.BAD: "31",
    Tone.WARNING: "33",
    Tone.DIM: "2",
}


def painted(said: StyledLine, *, color: bool) -> str:
    """The line as a terminal gets it."""
    code = _SGR[said.tone] if color else ""
    return f"\x1b[{code}m{said.text}\x1b[0m" if code and said.text else said.text


# -- one line an event -------------------------------------------------------------------------

#: What a person must see even when quiet.
NOTABLE: dict[str, Tone] = {
    "warning": Tone.WARNING,
    "stopping": Tone.BAD,
    "failed": Tone.BAD,
    "blocked": Tone.BAD,
    "undelivered": Tone.BAD,
    "unheard": Tone.BAD,
    "unreadable": Tone.WARNING,
    "in_doubt": Tone.WARNING,
    "held": Tone.WARNING,
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


def said_of(happening: RunEvent, *, several: bool) -> StyledLine:
    """An event in words: the job, then what happened to it."""
    message = clean(happening.message)
    if happening.kind == "progress":
        message = _STATUS.get(message, message)
        if (position := happening.data.get("position")) and happening.message == "IN_QUEUE":
            message = f"{message}, position {position}"
    message = _LEADS.get(happening.kind, "") + message
    name = full_name(happening.batch, happening.job, several=several) if happening.job else ""
    tone = Tone.GOOD if happening.kind == "saved" else NOTABLE.get(happening.kind, Tone.PLAIN)
    return StyledLine(f"{name}: {message}" if name else message, tone)


def totals_of(progress: Progress, cap: MicroUSD | None) -> str:
    """Where the run stands, in one line."""
    counts = ", ".join(f"{number:,} {what}" for number, what in progress.totals())
    money = format_usd(progress.committed)
    return f"{counts}; {money}{'' if cap is None else f' of {format_usd(cap)}'} committed"
