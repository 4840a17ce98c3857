"""Opening line and closing summary of a run, as text for people. Pure.

Lines carry a tone, not a colour; displays decide how a tone looks. Must not print or read.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kling_batch.core.quantities import duration, format_usd, rate_text
from kling_batch.core.text import Tone, as_typed, clean, count, full_name
from kling_batch.errors import ExitCode
from kling_batch.ledger.commands import command_on
from kling_batch.planning.plan import Action
from kling_batch.report.costs import run_cost
from kling_batch.report.plan_view import beside_sum
from kling_batch.report.run_report import NOTHING_LEFT, JobLine, JobOutcome, RunReport, RunStarted


@dataclass(frozen=True, slots=True)
class StyledLine:
    """One line of output and its tone."""

    text: str = ""
    tone: Tone = Tone.PLAIN
    #: Columns by which continuation lines are indented; None: never folded, because a command is
    #: pasted as a whole.
    hang: int | None = 2


#: Up to this many jobs, each one's files are named.
SMALL = 12
#: Jobs named in one section; the rest is counted.
NAMED = 20

#: Headings of the sections of jobs that are not done.
_SECTIONS: dict[JobOutcome, str] = {
    JobOutcome.FAILED: "Failed",
    JobOutcome.BLOCKED: "Blocked by other jobs",
    JobOutcome.UNDELIVERED: "Paid and rendered, not here yet (downloading costs nothing)",
    JobOutcome.IN_DOUBT: (
        "In doubt (fal may have accepted and may bill these; nothing is sent twice)"
    ),
    JobOutcome.RUNNING: "Still with fal (billed when rendered)",
    JobOutcome.AWAITING: "Waiting for a verdict",
}
#: The same for the emulator, which bills nothing.
_EMULATED: dict[JobOutcome, str] = {
    JobOutcome.IN_DOUBT: "In doubt (the emulator may have accepted these; nothing is sent twice)",
    JobOutcome.RUNNING: "Still with the emulator",
}


def opening(started: RunStarted) -> str:
    """The plan of a run, in one line."""
    plan = started.plan
    cost = f"{format_usd(plan.cost)}{beside_sum(plan)}"
    counts = (
        (plan.count(Action.SUBMIT), f"to render for up to {cost}"),
        (plan.count(Action.COLLECT), "to collect"),
        (plan.count(Action.RECONCILE), "in doubt"),
        (plan.count(Action.RECOVER), "recovered"),
        (plan.count(Action.DOWNLOAD, Action.PLACE, Action.RESTORE), "to download"),
        (plan.count(Action.KEEP), "unchanged"),
        (plan.count(Action.SETTLED, Action.BLOCKED), "failed before or blocked"),
        (plan.count(Action.HOLD), "waiting for a verdict"),
        (plan.count(Action.DECLINED), "declined"),
    )
    parts = [f"{number:,} {what}" for number, what in counts if number]
    if started.cap is not None:
        parts.append(f"cap {format_usd(started.cap)}")
    if started.rate is not None:
        pace = f"at most {rate_text(started.rate)} submitted"
        few = started.concurrency
        parts.append(pace if few is None else f"{pace} and {few:,} open at once")
    where = " on the emulator (nothing is paid)" if started.emulated else ""
    files = clean(started.output)
    notes = [f"left out: {', '.join(map(str, plan.left_out))}"] if plan.left_out else []
    notes += [str(started.coverage)] if started.coverage else []
    more = "".join(f"; {note}" for note in notes)
    return f"{count(len(plan.items), 'job')}{where}: {', '.join(parts)}; files in {files}{more}"


def closing(report: RunReport, *, width: int | None = None) -> list[StyledLine]:
    """The whole summary; folded to `width` columns where that is given."""
    if _idle(report):
        return [_title(report)]
    lines = [
        StyledLine(),
        _title(report),
        *_stops(report),
        StyledLine(),
        *_facts(report),
        *_files(report),
    ]
    lines += _renditions(report)
    for outcome in _SECTIONS:
        lines += _section(report, outcome)
    lines += _next(report)
    return [part for line in lines for part in folded(line, width)]


def brief(report: RunReport) -> list[StyledLine]:
    """One line where all is well, the whole summary where somebody has to act."""
    if report.exit_code is not ExitCode.OK:
        return closing(report)
    title = _title(report)
    if _idle(report):
        return [title]
    left = f"; left out: {_left_out(report)}" if report.left_out else ""
    found = f"; {recovered}" if (recovered := _recovered(report)) else ""
    made = f"; {renditions}" if (renditions := _renditions_told(report)) else ""
    return [StyledLine(f"{title.text}{found}; {run_cost(report)}{left}{made}", Tone.GOOD)]


def _recovered(report: RunReport) -> str:
    """What was not bought because it was paid for before."""
    if not report.recovered:
        return ""
    day = report.recovered_since[:16].replace("T", " ")
    since = f" since {day} UTC" if day else " before"
    return f"{report.recovered:,} recovered, paid{since}"


def _idle(report: RunReport) -> bool:
    """Whether everything was done before, as far as verdicts let it be."""
    made, done = report.renditions, NOTHING_LEFT - {JobOutcome.SUCCEEDED}
    unchanged = all(line.outcome in done for line in report.lines)
    return unchanged and not (report.reasons or made.made or made.failed or made.left)


def _title(report: RunReport) -> StyledLine:
    counts = report.counts()
    total = report.total
    done = counts.get(JobOutcome.SUCCEEDED, 0) + counts.get(JobOutcome.UNCHANGED, 0)
    name = ", ".join(map(clean, report.batches)) or "kling-batch"
    if _idle(report):
        before = f", {count(done, 'job')} done before" if total else ", no job"
        if waiting := counts.get(JobOutcome.AWAITING, 0):
            before += f", {waiting:,} waiting for a verdict"
        if declined := counts.get(JobOutcome.DECLINED, 0):
            before += f", {declined:,} declined"
        where = f"; files in {clean(report.output)}" if total else ""
        left = f"; left out: {_left_out(report)}" if report.left_out else ""
        return StyledLine(f"{name}: nothing to do{before}{where}{left}", Tone.GOOD)
    took = duration(report.seconds)
    text = f"{name}: {done:,} of {count(total, 'job')} done in {took}"
    return StyledLine(text, Tone.GOOD if done == total else Tone.TITLE)


def _stops(report: RunReport) -> Iterator[StyledLine]:
    for reason in report.reasons:
        yield StyledLine(f"Stopped: {clean(reason)}", Tone.BAD)


def _facts(report: RunReport) -> Iterator[StyledLine]:
    parts = [f"{number:,} {word}" for word, number in report.status_counts().items()]
    yield StyledLine(f"  jobs   {', '.join(parts) or 'none'}", hang=9)
    yield StyledLine(f"  cost   {run_cost(report)}", hang=9)
    if recovered := _recovered(report):
        yield StyledLine(f"  found  {recovered}", hang=9)
    if report.left_out:
        yield StyledLine(f"  left   {_left_out(report)}", hang=9)


def _left_out(report: RunReport) -> str:
    return ", ".join(map(str, report.left_out))


def _files(report: RunReport) -> Iterator[StyledLine]:
    files = [file for line in report.lines for file in line.files]
    if not files:
        return
    yield StyledLine(f"  files  {count(len(files), 'file')} in {clean(report.output)}", hang=9)
    if report.total <= SMALL:
        # A path names its job: every path template must.
        yield from (StyledLine(f"         {clean(file)}", Tone.DIM, hang=11) for file in files)


def _renditions_told(report: RunReport) -> str:
    totals = report.renditions
    parts = [(totals.made, "made"), (len(totals.failed), "not made"), (totals.left, "left")]
    told = ", ".join(f"{number:,} {what}" for number, what in parts if number)
    return f"renditions: {told}" if told else ""


def _renditions(report: RunReport) -> Iterator[StyledLine]:
    totals = report.renditions
    if not (told := _renditions_told(report)):
        return
    yield StyledLine(f"         {told}; they cost nothing", hang=9)
    if totals.failed:
        yield StyledLine()
        files = "their files are safe"
        if totals.damaged:
            files = f"{count(totals.damaged, 'saved file')} not as saved any more"
        yield StyledLine(f"Renditions that are not made ({files}):", Tone.BAD)
        for sentence in totals.failed[:NAMED]:
            yield StyledLine(f"  {clean(sentence)}", hang=4)
        if len(totals.failed) > NAMED:
            yield StyledLine(f"  and {len(totals.failed) - NAMED:,} more", Tone.DIM)


def _section(report: RunReport, outcome: JobOutcome) -> Iterator[StyledLine]:
    lines = [line for line in report.lines if line.outcome is outcome]
    running = outcome is JobOutcome.RUNNING
    if not lines:
        return
    heading = _SECTIONS[outcome]
    if report.emulated:
        heading = _EMULATED.get(outcome, heading)
    yield StyledLine()
    # The cost of open requests is as uncertain as that of submissions in doubt.
    yield StyledLine(f"{heading}:", Tone.WARNING if running else outcome.status.tone)
    if running:
        names = ", ".join(_name(report, line) for line in lines[:NAMED])
        cost = format_usd(sum(line.cost for line in lines))
        yield StyledLine(f"  {names}{_more(lines)} ({cost})")
        return
    margin = min(28, max(len(_name(report, line)) for line in lines[:NAMED]))
    for line in lines[:NAMED]:
        text = f"  {_name(report, line):{margin}}  {_why(line)}".rstrip()
        yield StyledLine(text, hang=margin + 4)
    if len(lines) > NAMED:
        status = command_on(Path(report.ledger), "status")
        yield StyledLine(f"  and {len(lines) - NAMED:,} more; see: {status}", Tone.DIM)


def _more(lines: list[JobLine]) -> str:
    return f" and {len(lines) - NAMED:,} more" if len(lines) > NAMED else ""


def _why(line: JobLine) -> str:
    place = clean(str(line.place))
    return clean(line.message) + (
        f"  [{place}]" if place and line.outcome is JobOutcome.FAILED else ""
    )


def _next(report: RunReport) -> Iterator[StyledLine]:
    if report.next_steps:
        yield StyledLine()
        yield StyledLine("Next:", Tone.TITLE)
        for step in report.next_steps:
            yield StyledLine(f"  {_step(step)}", hang=None)
    if report.exit_code is not ExitCode.OK:
        yield StyledLine()
        yield StyledLine(f"exit code {report.exit_code.value}: {report.meaning}", Tone.DIM)


def _step(step: str) -> str:
    """A command and its remark, two spaces between them.

    The command is quoted so that it is one harmless line, and stays unchanged: one blank less in a
    prompt is another prompt.
    """
    command, gap, remark = step.rpartition("   (") if step.endswith(")") else (step, "", "")
    return f"{as_typed(command)}  ({clean(remark)}" if gap else as_typed(step)


def _name(report: RunReport, line: JobLine) -> str:
    return full_name(line.batch, line.job, several=len(report.batches) > 1)


def folded(line: StyledLine, width: int | None) -> Iterable[StyledLine]:
    """The line in parts no wider than the terminal."""
    if width is None or line.hang is None or len(line.text) <= width:
        return [line]
    parts = textwrap.wrap(
        line.text,
        width,
        subsequent_indent=" " * min(line.hang, width // 2),
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [StyledLine(part, line.tone) for part in parts]
