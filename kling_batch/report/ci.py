"""CI output after a run: JUnit XML, Markdown summary, GitHub annotations.

The formats are pure functions in `junit`, `markdown` and `github`. A file that cannot be written is
a warning; it must not change the run's exit code.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from kling_batch.core.text import clean
from kling_batch.errors import ExitCode
from kling_batch.output.files import replace_file, same_file
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.github import from_workspace, in_actions, run_annotations, stop_annotations
from kling_batch.report.junit import junit, junit_of_stop
from kling_batch.report.markdown import markdown_of_stop, markdown_summary
from kling_batch.report.run_report import RunReport


class Stop(NamedTuple):
    """Why a run has no report."""

    code: ExitCode
    reasons: tuple[str, ...]
    time: str
    #: Whether the annotations are written elsewhere, with places.
    annotated: bool


def write_ci(
    report: RunReport,
    junit_file: Path | None,
    summary_file: Path | None,
    environ: Mapping[str, str],
    *,
    err: SafeStream | None = None,
    refusal: Callable[[Path], str] = lambda _: "",
) -> None:
    """Write the files that were asked for, and in GitHub Actions annotations and step summary.

    `refusal`: why a file may not be written, else nothing; the run may have saved one of this name.
    """
    _write(
        _Texts(
            junit=lambda: junit(report),
            page=lambda: markdown_summary(report),
            annotations=lambda: run_annotations(report, from_workspace(environ)),
        ),
        (junit_file, summary_file),
        environ,
        err or SafeStream(sys.stderr),
        refusal,
    )


def write_ci_of_stop(
    stop: Stop,
    junit_file: Path | None,
    summary_file: Path | None,
    environ: Mapping[str, str],
    *,
    refusal: Callable[[Path], str] = lambda _: "",
) -> None:
    """The same of a run that has no report: what is left of an earlier one must not stay green."""
    _write(
        _Texts(
            junit=lambda: junit_of_stop(stop.code, stop.reasons, stop.time),
            page=lambda: markdown_of_stop(stop.code, stop.reasons),
            annotations=lambda: stop_annotations(() if stop.annotated else stop.reasons),
        ),
        (junit_file, summary_file),
        environ,
        SafeStream(sys.stderr),
        refusal,
    )


class _Texts(NamedTuple):
    """What is written, made where it is wanted."""

    junit: Callable[[], str]
    page: Callable[[], str]
    annotations: Callable[[], list[str]]


def _write(
    texts: _Texts,
    files: tuple[Path | None, Path | None],
    environ: Mapping[str, str],
    err: SafeStream,
    refusal: Callable[[Path], str],
) -> None:
    junit_file, summary_file = files
    if junit_file is not None:
        _try(err, junit_file, lambda path: replace_file(path, texts.junit()), refusal)
    step = environ.get("GITHUB_STEP_SUMMARY", "") if in_actions(environ) else ""
    if summary_file is not None and not _same(summary_file, step):
        _try(err, summary_file, lambda path: replace_file(path, texts.page()), refusal)
    if in_actions(environ):
        for line in texts.annotations():
            err.line(line)
        if step:
            _try(err, Path(step), lambda path: _append(path, texts.page()))
    err.drain()


def _same(file: Path, step: str) -> bool:
    """Whether `--summary` names the step's own summary, which gets the page anyway."""
    return bool(step) and same_file(file, Path(step))


def _try(
    err: SafeStream,
    path: Path,
    write: Callable[[Path], None],
    refusal: Callable[[Path], str] = lambda _: "",
) -> None:
    reason: object = refusal(path)
    if reason:
        err.line(f"warning: {clean(str(path))} {reason}, and is not overwritten")
        return
    try:
        write(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        err.line(f"warning: {clean(str(path))} cannot be written: {clean(str(reason))}")


def _append(path: Path, text: str) -> None:
    """Other steps and tools write into the same file."""
    with path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(f"\n{text}")
