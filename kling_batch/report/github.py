"""GitHub Actions annotations of problems and failed jobs, with paths from the root. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from kling_batch.core.text import clean, full_name
from kling_batch.errors import Place, Problem
from kling_batch.output.files import relative_to
from kling_batch.report.run_report import JobOutcome, RunReport

#: GitHub shows this many of a step and drops the rest.
SHOWN_BY_GITHUB = 10


_LOUD = (JobOutcome.IN_DOUBT, JobOutcome.FAILED, JobOutcome.UNDELIVERED)


def run_annotations(report: RunReport, locate: Callable[[str], str] = str) -> list[str]:
    """An annotation for each stop reason and for each job that needs a person, at its place.

    `locate` turns a manifest's path into one from the root of the repository.
    """
    found = stop_annotations(report.reasons)
    lines = [line for outcome in _LOUD for line in report.lines if line.outcome is outcome]
    for line in lines:
        name = full_name(line.batch, line.job, several=len(report.batches) > 1)
        message = clean(line.message) or line.status.value
        title = f"{name}: {line.status}"
        found.append(_command("error", message, line.place, title=title, locate=locate))
    if len(found) > SHOWN_BY_GITHUB:
        rest = len(found) - SHOWN_BY_GITHUB + 1
        more = _command("error", f"and {rest:,} more; see the summary", title="kling-batch")
        found = [*found[: SHOWN_BY_GITHUB - 1], more]
    return found


def stop_annotations(reasons: Iterable[str]) -> list[str]:
    """An annotation for each reason why a run stopped, or did not begin."""
    return [_command("error", clean(reason), title="kling-batch stopped") for reason in reasons]


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
    """Whether this is a step of GitHub Actions, or of a compatible runner."""
    return environ.get("GITHUB_ACTIONS") == "true"


def from_workspace(environ: Mapping[str, str]) -> Callable[[str], str]:
    """A function that makes paths relative to the root of the checkout, as annotations need."""
    root = environ.get("GITHUB_WORKSPACE", "")

    def locate(file: str) -> str:
        inside = relative_to(Path(file).absolute(), root) if root else Path(file).as_posix()
        return file if inside.startswith("..") else inside

    return locate
