"""CI output after a run: JUnit XML, Markdown summary, GitHub annotations.

The formats are pure functions in `junit`, `markdown` and `github`. A file that cannot be written is
a warning; it must not change the run's exit code.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from kling_batch.core.text import clean
from kling_batch.output.files import replace_file, same_file
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.github import from_workspace, in_actions, run_annotations
from kling_batch.report.junit import junit
from kling_batch.report.markdown import markdown_summary
from kling_batch.report.run_report import RunReport


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
    err = err or SafeStream(sys.stderr)
    if junit_file is not None:
        _try(err, junit_file, lambda path: replace_file(path, junit(report)), refusal)
    step = environ.get("GITHUB_STEP_SUMMARY", "") if in_actions(environ) else ""
    if summary_file is not None and not _same(summary_file, step):
        _try(err, summary_file, lambda path: replace_file(path, markdown_summary(report)), refusal)
    if in_actions(environ):
        for line in run_annotations(report, from_workspace(environ)):
            err.line(line)
        if step:
            _try(err, Path(step), lambda path: _append(path, markdown_summary(report)))
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
