"""A run in the words of CI systems: JUnit XML, a Markdown summary, GitHub annotations.

The three formats are pure functions of the report; `write_ci` puts them where they belong, and a
place that cannot be written costs a warning, never the run's exit code. Must not decide anything.
"""

import html
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from kling_batch.catalog.pricing import format_usd
from kling_batch.core.text import as_typed, clean, count, duration, full_name
from kling_batch.errors import ExitCode, Place, Problem
from kling_batch.report.display.stream import Writer, replace_file
from kling_batch.report.run_report import Ending, JobLine, RunReport

# -- JUnit -------------------------------------------------------------------------------------

#: What an ending is to a test runner; passed where it is not named here.
_VERDICTS: dict[Ending, str] = {
    Ending.FAILED: "failure",
    Ending.UNDELIVERED: "error",
    Ending.IN_DOUBT: "error",
    Ending.BLOCKED: "skipped",
    Ending.RUNNING: "skipped",
    Ending.NOT_STARTED: "skipped",
}
_COUNTED = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def junit(report: RunReport) -> str:
    """A test suite for each batch, a test case for each job, one more for a run that stopped."""
    root = ET.Element("testsuites", {"name": "kling-batch", "time": _seconds(report.seconds)})
    for batch in report.batches:
        suite = _suite(root, report, clean(batch))
        for line in report.lines:
            if line.batch == batch:
                _case(suite, line)
        _total(suite)
    if report.reasons and report.exit_code is not ExitCode.OK:
        # Jobs that never started are no failures, yet a stopped run must not look green.
        suite = _suite(root, report, "kling-batch")
        case = ET.SubElement(suite, "testcase", {"classname": "kling-batch", "name": "run"})
        kind = {"message": report.meaning, "type": _word(report.exit_code.name)}
        ET.SubElement(case, "error", kind).text = "\n".join(map(clean, report.reasons))
        _total(suite)
    for name in ("tests", *_COUNTED.values()):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, report: RunReport, name: str) -> ET.Element:
    attributes = {
        "name": name,
        "time": _seconds(report.seconds),
        "timestamp": report.started_at[:19],
    }
    return ET.SubElement(root, "testsuite", attributes)


def _case(suite: ET.Element, line: JobLine) -> None:
    attributes = {"classname": clean(line.batch), "name": clean(line.job)}
    attributes["time"] = _seconds(line.seconds or 0)
    if line.place.file:
        attributes["file"] = clean(line.place.file)
    if line.place.line:
        attributes["line"] = str(line.place.line)
    case = ET.SubElement(suite, "testcase", attributes)
    facts = {"ending": line.ending.value, "cost_usd": f"{line.cost / 1e6:.3f}"}
    facts |= {"mode": line.mode, "tier": line.tier, "request_id": line.request_id}
    properties = ET.SubElement(case, "properties")
    for name, value in facts.items():
        if value:
            ET.SubElement(properties, "property", {"name": name, "value": clean(value)})
    if (verdict := _VERDICTS.get(line.ending)) is not None:
        message = clean(line.message) or line.ending.value
        found = ET.SubElement(case, verdict, {"message": message, "type": _word(line.ending.name)})
        if verdict != "skipped":
            found.text = _story(line)
    if line.files:
        ET.SubElement(case, "system-out").text = "\n".join(map(clean, line.files))


def _story(line: JobLine) -> str:
    """What a person who opens the failure wants to see."""
    prompt = clean(line.prompt)
    facts = [
        f"{line.ending}: {clean(line.message)}",
        f"at {clean(str(line.place))}" if line.place.file else "",
        f"request {clean(line.request_id)}" if line.request_id else "",
        f"prompt: {prompt}" if prompt else "",
    ]
    return "\n".join(fact for fact in facts if fact)


def _total(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite)))
    for verdict, name in _COUNTED.items():
        suite.set(name, str(len(suite.findall(f"testcase/{verdict}"))))


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"


def _word(name: str) -> str:
    return name.lower().replace("_", "-")


# -- Markdown ----------------------------------------------------------------------------------

#: Rows of one table; GitHub throws away a summary of more than a megabyte.
ROWS = 100
#: Characters of one reason.
LENGTH = 400

_SHOWN = (Ending.IN_DOUBT, Ending.FAILED, Ending.UNDELIVERED, Ending.BLOCKED, Ending.RUNNING)
_SPECIAL = re.compile(r"[\\`*_{}\[\]|~#]")


def markdown_summary(report: RunReport) -> str:
    """A page for people who look at the pipeline, in GitHub's and GitLab's Markdown."""
    return "\n".join(_page(report)).strip() + "\n"


def _page(report: RunReport) -> Iterator[str]:
    counts = report.counts()
    done = counts.get(Ending.SUCCEEDED, 0) + counts.get(Ending.UNCHANGED, 0)
    name = ", ".join(map(escaped, report.batches)) or "kling-batch"
    jobs = count(report.total, "job")
    yield f"### {name}: {done:,} of {jobs} done in {duration(report.seconds)}"
    yield ""
    for reason in report.reasons:
        yield f"**Stopped:** {escaped(reason)}"
        yield ""
    parts = [f"{number:,} {ending}" for ending, number in counts.items()]
    yield f"- Jobs: {', '.join(parts) or 'none'}"
    yield f"- Cost: {_cost(report)}"
    files = sum(len(line.files) for line in report.lines)
    if files:
        yield f"- Files: {files:,} in {code(report.output)}"
    if report.exit_code is not ExitCode.OK:
        yield f"- Exit code {report.exit_code.value}: {report.meaning}"
    yield from _open_jobs(report)
    yield from _done_jobs(report)
    if report.next_steps:
        yield from ("", "Next:", "", "````sh", *map(as_typed, report.next_steps), "````")


def _cost(report: RunReport) -> str:
    now, total = _usd(report.spent_now), _usd(report.charged + report.exposed)
    if report.emulated:
        return f"would have been {now} on fal; the emulator charges nothing"
    parts = [f"{now} this run", f"{total} in all"]
    if report.exposed:
        parts.append(f"{_usd(report.exposed)} of it not certain yet")
    if report.cap is not None:
        parts.append(f"cap {_usd(report.cap)}")
    return ", ".join(parts)


def _open_jobs(report: RunReport) -> Iterator[str]:
    lines = [line for ending in _SHOWN for line in report.lines if line.ending is ending]
    if not lines:
        return
    yield from ("", "| job | ended | why | where |", "| --- | --- | --- | --- |")
    for line in lines[:ROWS]:
        why = escaped(line.message[:LENGTH])
        where = escaped(str(line.place))
        yield f"| {_name(report, line)} | {line.ending} | {why} | {where} |"
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


# -- GitHub annotations ------------------------------------------------------------------------

#: GitHub shows this many of a step and drops the rest.
SHOWN_BY_GITHUB = 10

_LOUD = (Ending.IN_DOUBT, Ending.FAILED, Ending.UNDELIVERED)


def annotations(report: RunReport, locate: Callable[[str], str] = str) -> list[str]:
    """A line for what stopped the run and for each job that needs a person, at its place.

    `locate` turns a manifest's path into one from the root of the repository.
    """
    found = [_command("error", clean(r), title="kling-batch stopped") for r in report.reasons]
    lines = [line for ending in _LOUD for line in report.lines if line.ending is ending]
    for line in lines:
        name = full_name(line.batch, line.job, several=len(report.batches) > 1)
        message = clean(line.message) or line.ending.value
        title = f"{name}: {line.ending}"
        found.append(_command("error", message, line.place, title=title, locate=locate))
    if len(found) > SHOWN_BY_GITHUB:
        rest = len(found) - SHOWN_BY_GITHUB + 1
        more = _command("error", f"and {rest:,} more; see the summary", title="kling-batch")
        found = [*found[: SHOWN_BY_GITHUB - 1], more]
    return found


def problem_annotations(
    problems: Iterable[Problem], *, level: str = "error", locate: Callable[[str], str] = str
) -> list[str]:
    """A line for each problem of a manifest (`level`: error or warning)."""
    return [
        _command(
            level,
            clean(problem.message + (f" ({problem.hint})" if problem.hint else "")),
            problem.place,
            title=f"kling-batch: {problem.code}",
            locate=locate,
        )
        for problem in problems
    ]


def _command(
    level: str,
    message: str,
    place: Place | None = None,
    *,
    title: str,
    locate: Callable[[str], str] = str,
) -> str:
    properties: dict[str, str] = {}
    if place is not None and place.file:
        properties["file"] = locate(clean(place.file))
        if place.line:
            properties["line"] = str(place.line)
        if place.line and place.column:
            properties["col"] = str(place.column)
    properties["title"] = title
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{level} {listed}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def in_actions(environ: Mapping[str, str]) -> bool:
    """Whether this is a step of GitHub Actions, or of what imitates it."""
    return environ.get("GITHUB_ACTIONS") == "true"


def from_workspace(environ: Mapping[str, str]) -> Callable[[str], str]:
    """Paths as the annotations of this pipeline need them: from the checkout's root."""
    root = environ.get("GITHUB_WORKSPACE", "")

    def locate(file: str) -> str:
        inside = os.path.relpath(Path(file).absolute(), root) if root else file
        return file if inside.startswith("..") else Path(inside).as_posix()

    return locate


# -- writing -----------------------------------------------------------------------------------


def write_ci(
    report: RunReport,
    junit_file: Path | None,
    summary_file: Path | None,
    environ: Mapping[str, str],
    *,
    err: Writer | None = None,
) -> None:
    """Put everything that was asked for, and what GitHub Actions shows by itself, in its place."""
    err = err or Writer(sys.stderr)
    if junit_file is not None:
        _try(err, junit_file, lambda path: replace_file(path, junit(report)))
    if summary_file is not None:
        _try(err, summary_file, lambda path: replace_file(path, markdown_summary(report)))
    if in_actions(environ):
        for line in annotations(report, from_workspace(environ)):
            err.line(line)
        if step := environ.get("GITHUB_STEP_SUMMARY"):
            _try(err, Path(step), lambda path: _append(path, markdown_summary(report)))
    err.drain()


def _try(err: Writer, path: Path, write: Callable[[Path], None]) -> None:
    try:
        write(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        err.line(f"warning: {clean(str(path))} cannot be written: {clean(str(reason))}")


def _append(path: Path, text: str) -> None:
    """Other steps and tools write into the same file."""
    with path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(f"\n{text}")
