"""Errors of a command: messages for people, one JSON object for programs, and the exit code.

With `--json`, standard output gets one line with a stable code; people are told on standard error
all the same. Must not know commands, and must not raise.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from itertools import takewhile

import click

from kling_batch.cli.explain import with_source
from kling_batch.core.jobs import JSON
from kling_batch.core.quantities import format_time
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import count
from kling_batch.errors import (
    ExitCode,
    KlingBatchError,
    ManifestError,
    Place,
    Problem,
    Terminated,
    exit_code_of,
)
from kling_batch.report.display.stream import CutOffError
from kling_batch.report.github import from_workspace, problem_annotations


def report_error(error: BaseException) -> int:
    """Print what went wrong; the exit code.

    Raises:
        BaseException: the same error, where it is a defect of the program.
    """
    while isinstance(error, BaseExceptionGroup):
        error = _inner(error)
    if isinstance(error.__cause__, Terminated):  # inside click's Abort
        error = error.__cause__
    match error:
        case KlingBatchError():
            return _report_own(error)
        case click.ClickException():
            with suppress(OSError):
                error.show()
            context = error.ctx if isinstance(error, click.UsageError) else None
            hint = f"{context.command_path if context else 'kling-batch'} --help"
            return _ended(ExitCode.USAGE, "usage", error.format_message(), hint)
        case click.exceptions.Abort():
            return _ended(ExitCode.INTERRUPTED, "interrupted", "interrupted")
        case KeyboardInterrupt():
            code = exit_code_of(error)
            return _explained(code, code.name.lower(), code.name.lower())
        case OSError():
            code, message = _system_error(error)
            return _explained(code, "usage" if code is ExitCode.USAGE else "system", message)
        case _:
            raise error


def reasons_of(error: BaseException) -> tuple[ExitCode, tuple[str, ...]]:
    """Exit code and sentences of an error, for what is written instead of a report."""
    match error:
        case ManifestError():
            return error.exit_code, tuple(map(str, error.problems))
        case click.ClickException():
            return ExitCode.USAGE, (error.format_message(),)
        case click.exceptions.Abort():
            return ExitCode.INTERRUPTED, ("interrupted",)
        case OSError():
            code, message = _system_error(error)
            return code, (message,)
        case _:
            code = exit_code_of(error)
            return code, (str(error) or code.name.lower(),)


def _report_own(error: KlingBatchError) -> int:
    if isinstance(error, ManifestError):
        _print_problems(error)
        return _ended(error.exit_code, error.code, str(error), error.hint, error.problems)
    return _explained(error.exit_code, error.code, str(error), error.hint)


def _explained(code: ExitCode, name: str, message: str, hint: str = "") -> int:
    print_error(f"kling-batch: {message}")
    return _ended(code, name, message, hint)


def _inner(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error inside a task group that is to be reported."""
    error: BaseException | None = group.subgroup(KlingBatchError)
    if error is None and group.split(OSError)[1] is not None:
        raise group  # not only errors of the operating system: a bug beside one must stay visible
    error = error or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _system_error(error: OSError) -> tuple[ExitCode, str]:
    """What an error of the operating system means that reaches the command line as it is."""
    if isinstance(error, CutOffError):
        more = f"; {error.kept}" if error.kept else ""
        return ExitCode.SOME_FAILED, f"{error.filename} is cut off: {error.strerror}{more}"
    if isinstance(error, FileNotFoundError) and error.filename is None and _folder_is_gone():
        return ExitCode.USAGE, "the working folder is gone; cd to another one and run again"
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = " → ".join(names)
    reason = error.strerror or str(error) or type(error).__name__
    return ExitCode.SOME_FAILED, f"{where}: {reason}" if where else reason


def _folder_is_gone() -> bool:
    """Whether the folder in which the command was typed was deleted: no name leads anywhere."""
    try:
        os.getcwd()  # noqa: PTH109 - the question itself, which `Path` answers with an error too
    except OSError:
        return True
    return False


def _print_problems(error: ManifestError) -> None:
    """Print every problem with its place; on a terminal with the line and a caret."""
    for problem in error.problems:
        print_error(with_source(problem) if sys.stderr.isatty() else str(problem))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in problem_annotations(error.problems, locate=from_workspace(os.environ)):
            print_error(line)
    print_error(f"kling-batch: {count(len(error.problems), 'problem')}; nothing was sent")


def print_error(text: str) -> None:
    """Print for people; the terminal may be gone, the exit code remains."""
    with suppress(OSError):
        click.echo(text, err=True)


# -- for programs --------------------------------------------------------------------------------


def _ended(
    code: ExitCode, name: str, message: str, hint: str = "", problems: tuple[Problem, ...] = ()
) -> int:
    """The exit code, after the JSON object where `--json` was typed."""
    if json_wanted(sys.argv[1:]):
        record = error_record(code, name, message, hint, problems)
        with suppress(OSError, ValueError):
            # ASCII only: the line survives every encoding.
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
    return code


def json_wanted(words: list[str]) -> bool:
    """Whether the command line asks for JSON; known before, and without, its parsing."""
    return "--json" in takewhile(lambda word: word != "--", words)


def error_record(
    code: ExitCode, name: str, message: str, hint: str, problems: tuple[Problem, ...] = ()
) -> dict[str, JSON]:
    """An error as JSON, in the stream of a run and instead of any other document."""
    first = problems[0] if problems else None
    return {
        "schema_version": SCHEMA_VERSION,
        "event": "error",
        "time": format_time(datetime.now(UTC)),
        "exit_code": code.value,
        "error": {
            "code": name,
            "message": first.message if first else message,
            "hint": (first.hint if first else "") or hint or None,
            "place": place_data(first.place) if first else None,
            "problems": [problem_data(problem, "error") for problem in problems],
        },
    }


def problem_data(problem: Problem, severity: str) -> dict[str, JSON]:
    """A problem of a manifest as JSON."""
    return {
        "severity": severity,
        **place_data(problem.place),
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint or None,
    }


def place_data(place: Place) -> dict[str, JSON]:
    """A place in a file as JSON."""
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "cell": place.cell or None,
    }
