"""A run as a Markdown page, for pipeline summaries: a pure function of its report."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from kling_batch.core.quantities import duration, format_usd
from kling_batch.core.text import as_typed, clean, count, full_name
from kling_batch.errors import EXIT_MEANINGS, ExitCode
from kling_batch.report.costs import run_cost
from kling_batch.report.run_report import JobLine, JobOutcome, RunReport

#: Rows of one table; GitHub throws away a summary of more than a megabyte.
ROWS = 100


#: Characters of one reason.
LENGTH = 400


_SHOWN = (
    JobOutcome.IN_DOUBT,
    JobOutcome.FAILED,
    JobOutcome.UNDELIVERED,
    JobOutcome.BLOCKED,
    JobOutcome.RUNNING,
)


_SPECIAL = re.compile(r"[\\`*_{}\[\]|~#]")


def markdown_summary(report: RunReport) -> str:
    """A page for people who look at the pipeline, in GitHub's and GitLab's Markdown."""
    return "\n".join(_page(report)).strip() + "\n"


def markdown_of_stop(code: ExitCode, reasons: Sequence[str]) -> str:
    """The same of a run without a report; of jobs and costs the ledger has what there is."""
    told = "".join(f"**Stopped:** {escaped(reason)}\n\n" for reason in reasons)
    return f"### kling-batch: stopped\n\n{told}exit code {code.value}: {EXIT_MEANINGS[code]}\n"


def _page(report: RunReport) -> Iterator[str]:
    counts = report.counts()
    done = counts.get(JobOutcome.SUCCEEDED, 0) + counts.get(JobOutcome.UNCHANGED, 0)
    name = ", ".join(map(escaped, report.batches)) or "kling-batch"
    jobs = count(report.total, "job")
    yield f"### {name}: {done:,} of {jobs} done in {duration(report.seconds)}"
    yield ""
    for reason in report.reasons:
        yield f"**Stopped:** {escaped(reason)}"
        yield ""
    parts = [f"{number:,} {word}" for word, number in report.status_counts().items()]
    yield f"- Jobs: {', '.join(parts) or 'none'}"
    yield f"- Cost: {run_cost(report, _usd)}"
    if report.left_out:
        yield f"- Left out: {', '.join(map(str, report.left_out))}"
    files = sum(len(line.files) for line in report.lines)
    if files:
        yield f"- Files: {files:,} in {code(report.output)}"
    made = report.renditions
    if made.made or made.failed or made.left:
        became = {"made": made.made, "not made": len(made.failed), "left": made.left}
        yield f"- Renditions: {', '.join(f'{n:,} {word}' for word, n in became.items() if n)}"
        yield from (f"  - {escaped(sentence)}" for sentence in made.failed[:ROWS])
    if report.exit_code is not ExitCode.OK:
        yield f"- Exit code {report.exit_code.value}: {report.meaning}"
    yield from _open_jobs(report)
    yield from _done_jobs(report)
    if report.next_steps:
        yield from ("", "Next:", "", "````sh", *map(as_typed, report.next_steps), "````")


def _open_jobs(report: RunReport) -> Iterator[str]:
    lines = [line for outcome in _SHOWN for line in report.lines if line.outcome is outcome]
    if not lines:
        return
    yield from ("", "| job | ended | why | where |", "| --- | --- | --- | --- |")
    for line in lines[:ROWS]:
        why = escaped(line.message[:LENGTH])
        where = escaped(str(line.place))
        yield f"| {_name(report, line)} | {line.status} | {why} | {where} |"
    yield from _rest(lines)


def _done_jobs(report: RunReport) -> Iterator[str]:
    lines = [line for line in report.lines if line.files]
    if not lines:
        return
    yield from ("", f"<details><summary>{count(len(lines), 'job')} with files</summary>", "")
    yield from ("| job | cost | files |", "| --- | --: | --- |")
    for line in lines[:ROWS]:
        files = "<br>".join(map(code, line.files))
        yield f"| {_name(report, line)} | {_usd(line.cost)} | {files} |"
    yield from _rest(lines)
    yield from ("", "</details>")


def _rest(lines: list[JobLine]) -> Iterator[str]:
    if len(lines) > ROWS:
        yield from ("", f"… and {len(lines) - ROWS:,} more.")


def _name(report: RunReport, line: JobLine) -> str:
    return escaped(full_name(line.batch, line.job, several=len(report.batches) > 1))


def _usd(micro: int) -> str:
    # Two dollar signs in a line are a formula to GitHub.
    return f"USD {format_usd(micro).replace('$', '')}"


def escaped(text: str) -> str:
    """Foreign text as Markdown shows it: no table, code, HTML, link or formula comes of it."""
    shown = _SPECIAL.sub(r"\\\g<0>", html.escape(clean(text), quote=False))
    return shown.replace("$", "<span>$</span>")


def code(text: str) -> str:
    """Foreign text as a code span, also within a table."""
    shown = clean(text).replace("|", "\\|")
    ticks = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (ticks + 1)
    return f"{fence} {shown} {fence}" if ticks else f"`{shown}`"
