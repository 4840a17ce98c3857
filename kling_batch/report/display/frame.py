"""Frame of the live view, composed for a terminal's size: rows of jobs, and the totals below. Pure.

What is least needed goes first where columns or lines are short, and the money never. Columns
depend on the width alone, so that nothing jumps. Must not write or know a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len

from kling_batch.core.events import Pace
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.quantities import MicroUSD, clock, duration, format_usd
from kling_batch.core.text import Tone, clean, full_name
from kling_batch.report.display.base import STYLES
from kling_batch.report.display.cells import (
    Row,
    Segment,
    cut_end,
    cut_middle,
    joined,
    padded,
    row_width,
)
from kling_batch.report.display.phases import Phase
from kling_batch.report.display.progress import Line, Progress

#: Rows of jobs for which there is room in any terminal that has the lines.
_FEW = 8
#: Columns from which a row shows tier and mode, the usual time, the time, the headings.
_WITH_KIND = 70
_WITH_USUAL = 46
_WITH_TIME = 28
_WITH_FIRST_ATTEMPT = 110
#: Columns of an id at most, and of what a row says: at least, as a share, and at most.
_NAME = 48
_LEAST_SAID = 19
_SAID_SHARE = 0.45
_MOST_SAID = 60
_GAP = "  "

_STATUS_STYLES = {
    JobStatus.WAITING: "yellow",
    JobStatus.QUEUED: "cyan",
    JobStatus.RENDERING: "cyan",
    JobStatus.DOWNLOADING: "green",
    JobStatus.IN_DOUBT: "yellow",
    JobStatus.FAILED: "red",
    JobStatus.BLOCKED: "red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a frame shows beside the progress."""

    cap: MicroUSD | None
    emulated: bool
    elapsed: float
    pace: Pace | None = None
    #: Characters of the bar: done, failed, under way, to come.
    bar: str = "━x─·"


def compose(progress: Progress, view: View, width: int, height: int) -> list[Row]:
    """The frame in at most so many columns and about half the lines of the terminal.

    Half, because a terminal that becomes narrower folds its lines, and what no longer fits would
    be out of reach above.
    """
    width = max(1, width - 1)  # a full line would leave the cursor in doubt
    most = max(1, height - 1)
    footer = _footer(progress, view, width, most)
    room = min(most, max(height // 2, _FEW + len(footer) + 1)) - len(footer) - 1
    rows = _rows(progress, view, width, room) if room > 0 else []
    return [*rows, [], *footer] if rows else footer


# -- rows --------------------------------------------------------------------------------------


def _rows(progress: Progress, view: View, width: int, room: int) -> list[Row]:
    moving = len(progress.moving)
    shown = room if moving <= room else max(1, room - 1)
    columns = _Columns.of(width, progress)
    rows = [columns.row(line, progress, view) for line in progress.first_moving(shown)]
    if moving > len(rows) and len(rows) < room:
        rows.append([(cut_end(f"and {moving - len(rows):,} more", width), STYLES[Tone.DIM])])
    return rows


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns of a row; 0: it is left out."""

    name: int
    kind: int
    said: int
    time: int
    usual: bool
    first_attempt: bool

    @classmethod
    def of(cls, width: int, progress: Progress) -> _Columns:
        kind = min(progress.kind_width, 28) if width >= _WITH_KIND else 0
        usual = width >= _WITH_USUAL
        time = (13 if usual else 7) if width >= _WITH_TIME else 0
        fixed = sum(column + len(_GAP) for column in (kind, time) if column) + len(_GAP)
        left = width - fixed
        least = _LEAST_SAID if usual else len(JobStatus.DOWNLOADING)
        said = min(_MOST_SAID, max(least, int(left * _SAID_SHARE))) if usual else least
        name = max(1, min(_NAME, progress.name_width, left - said))
        said = min(_MOST_SAID, left - name)
        return cls(name, kind, said, time, usual, width >= _WITH_FIRST_ATTEMPT)

    def row(self, line: Line, progress: Progress, view: View) -> Row:
        name = full_name(line.batch, line.job, several=progress.several_batches)
        row: Row = [(padded(cut_middle(name, self.name), self.name), "")]
        if self.kind:
            row.append((_GAP + padded(cut_middle(clean(line.kind), self.kind), self.kind), "dim"))
        if self.time:
            row.append((_GAP + padded(self._time(line, progress, view), self.time), ""))
        row.append((_GAP, ""))
        return row + self._said(line, view.elapsed)

    def _time(self, line: Line, progress: Progress, view: View) -> str:
        if line.accepted is None or line.phase is Phase.DOWNLOADING:
            passed, usual = view.elapsed - line.since, None
        else:
            passed, usual = view.elapsed - line.accepted, progress.durations.of(line.endpoint)
        against = f" / {clock(usual)}" if self.usual and usual is not None else ""
        return f"{clock(passed):>{5 if self.usual else self.time}}{against}"

    def _said(self, line: Line, now: float) -> Row:
        status = line.phase.status
        row: Row = [(status.value, _STATUS_STYLES.get(status, ""))]
        more = ", ".join(_why(line, now, 1 if self.first_attempt else 2))
        left = self.said - len(status.value) - 2
        if more and left > 3:
            row.append((f", {cut_end(more, left)}", "dim"))
        return row


def _why(line: Line, now: float, attempt: int) -> list[str]:
    """Why it waits, and the try it is at, in the order of what is most useful."""
    parts = []
    if line.again is not None and line.again > now:
        parts.append(f"again in {clock(line.again - now)}")
    if line.attempt >= attempt and line.attempts and line.phase is not Phase.DOWNLOADING:
        parts.append(f"attempt {line.attempt} of {line.attempts}")
    if note := clean(line.note):
        parts.insert(0 if line.phase is Phase.QUEUED else len(parts), note)
    return parts


# -- totals ------------------------------------------------------------------------------------


def _footer(progress: Progress, view: View, width: int, most: int) -> list[Row]:
    """Bar, counts, times and money; with few lines, the times go first and the money never."""
    money = _money(progress, view, width)
    rows = {
        "bar": _bar_line(progress, view, width),
        "counts": _counts(progress, view, width),
        "times": joined(_times(progress, view), width),
    }
    for name in ("times", "counts", "bar"):
        if len(rows) + len(money) > most:
            del rows[name]
    return [*(row for row in rows.values() if row), *money]


def _times(progress: Progress, view: View) -> list[Segment]:
    phrases = [clock(view.elapsed)]
    left = progress.seconds_left(view.elapsed, view.pace)
    if left is not None:
        phrases.append(f"about {roughly(left)} left")
    if speed := progress.throughput.per_second(view.elapsed):
        phrases.append(_a_time(speed))
    if view.pace is not None and progress.waiting:
        phrases.append(pace_text(view.pace))
    return [(phrase, "dim" if place else "") for place, phrase in enumerate(phrases)]


def roughly(seconds: float) -> str:
    """A time that is not known exactly, without digits that would only flicker."""
    if seconds < 60:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 600:
        return f"{round(seconds / 60)} min"
    minutes = 5 * round(seconds / 300)
    return f"{minutes} min" if minutes < 60 else duration(minutes * 60)


def _a_time(per_second: float) -> str:
    for unit, seconds in (("second", 1), ("minute", 60), ("hour", 3600)):
        if per_second * seconds >= 1 or unit == "hour":
            number = per_second * seconds
            return f"{number:.1f} a {unit}" if number < 9.95 else f"{number:.0f} a {unit}"
    raise AssertionError("an hour takes all")


def pace_text(pace: Pace) -> str:
    """The rate of submissions in force."""
    text = f"at most {_per(pace.rate)} submitted"
    if pace.rate < 0.99 * pace.most:
        text += f" of {_per(pace.most)}: fal throttles"
    return text


def _per(rate: float) -> str:
    for unit, seconds in (("s", 1), ("min", 60)):
        if rate * seconds >= 1:
            return f"{rate * seconds:.3g}/{unit}"
    return f"{rate * 3600:.3g}/h"


def _counts(progress: Progress, view: View, width: int) -> Row:
    """How many jobs are not done, by status, and what the waiting ones wait for."""
    lead = [("stopping", STYLES[Tone.WARNING])] if progress.stopping else []
    plain = lead + [
        (f"{number:,} {status.value}", _STATUS_STYLES.get(status, ""))
        for number, status in progress.statuses()
    ]
    unwanted = [(f"{number:,} {phase.value}", "dim") for number, phase in progress.unwanted()]
    why = _waits_for(progress, view.pace)
    full = joined([*plain, *unwanted], width)
    if not (why and plain):
        return full
    last, style = plain[-1]  # those that wait for their turn stand last
    told = joined([*plain[:-1], (f"{last} ({why})", style), *unwanted], width)
    return told if len(told) == len(full) else full


def _waits_for(progress: Progress, pace: Pace | None) -> str:
    """What keeps the next job from being submitted."""
    if pace is None or progress.stopping:
        return ""
    if pace.held > 0:
        return f"fal asks to wait {clock(pace.held)}"
    if not progress.count(Phase.WAITING):
        return ""
    if pace.open >= pace.window:
        sent = progress.open + progress.count(Phase.SENDING)
        # A place is taken before the turn of the rate comes.
        return "rate" if sent < pace.window // 2 else f"{pace.open:,} of {pace.window:,} open"
    return "rate" if pace.open > progress.open else "other jobs"


def _bar_line(progress: Progress, view: View, width: int) -> Row:
    label = f"{progress.done:,} of {progress.wanted:,} done"
    percent = f"{100 * progress.done // max(1, progress.wanted)} %"
    if width < 40:
        return [(cut_end(label, width), "bold")]
    row: Row = [(f"  {percent:>5}  ", ""), (label, "bold")]
    length = min(60, width - row_width(row))
    return [*_bar(progress, view.bar, length), *row]


def _bar(progress: Progress, glyphs: str, length: int) -> Row:
    """The bar: what is done, what failed, what is under way, what is to come."""
    parts = (progress.done, progress.failed + progress.in_doubt, progress.open)
    ends = _ends(parts, max(1, progress.wanted), length)
    styles = ("green", "red", "cyan", "dim")
    row: Row = []
    at = 0
    for end, glyph, style in zip((*ends, length), glyphs, styles, strict=True):
        if end > at:
            row.append((glyph * (end - at), style))
        at = max(at, end)
    return row


def _ends(parts: tuple[int, ...], total: int, length: int) -> list[int]:
    """Where each part of a bar ends: whatever is not zero is seen, and full is only what is all."""
    ends = []
    at = below = 0
    for part in parts:
        below += part
        end = length if below == total else min(length - 1, length * below // total)
        at = min(length, max(at + bool(part), end)) if part else at
        ends.append(at)
    return ends


def _money(progress: Progress, view: View, width: int) -> list[Row]:
    """What is spent, owed and allowed, in the fullest words that fit; in two lines if need be."""
    spent = MicroUSD(progress.committed - progress.owed)
    total = format_usd(progress.committed)
    cap = "" if view.cap is None else format_usd(view.cap)
    lead = "would have cost " if view.emulated else ""
    owed = f"{format_usd(progress.owed)} {'more if rendered' if view.emulated else 'owed'}"
    known = f"{lead}{format_usd(spent)}" if view.emulated else f"{format_usd(spent)} spent"
    full = [known, *([owed] if progress.owed else []), f"cap {cap}" if cap else "no cap"]
    choices = [", ".join(full), f"{lead}{total}{f' of {cap}' if cap else ''}"]
    if cap:
        choices.append(f"{total} of {cap}")
    for text in choices:
        if cell_len(text) <= width:
            return [[(text, "bold")]]
    lines = [total, f"of {cap}"] if cap else [total]
    return [[(line, "bold")] for line in lines]
