"""Entry point of the command line: the group of commands, and how errors become exit codes.

The commands are modules of `commands/`, imported when they are used. Must not know what a command
does.
"""

from __future__ import annotations

import csv
import os
import re
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import click

from kling_batch import __version__
from kling_batch.cli.group import LazyGroup
from kling_batch.cli.overview import MOST_COLUMNS
from kling_batch.cli.version import version
from kling_batch.core.text import count
from kling_batch.errors import (
    ExitCode,
    KlingBatchError,
    ManifestError,
    Place,
    Problem,
)
from kling_batch.report.display.stream import guard
from kling_batch.report.github import from_workspace, problem_annotations


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": MOST_COLUMNS},
)
@click.version_option(__version__, message=version())
def cli() -> None:
    """Group of all commands; its help is the overview."""


def main() -> None:
    """Run the command line; errors become one message and an exit code."""
    _complete_streams()
    guard(sys.stdout)
    guard(sys.stderr)
    try:
        code = _invoke()
    except ManifestError as error:
        _print_problems(error)
        code = error.exit_code
    except KlingBatchError as error:
        _print_error(f"kling-batch: {error}")
        code = error.exit_code
    except click.exceptions.Abort:
        code = ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except KeyboardInterrupt:
        _print_error("kling-batch: interrupted")
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of standard output left (`| head`): that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    except OSError as error:
        _print_error(_system_error(error))
        code = ExitCode.SOME_FAILED
    except BaseExceptionGroup as group:
        code = _exit_code_of_group(group)
    sys.exit(int(code) if isinstance(code, int) else 0)


def _invoke() -> object:
    """Exit code of the command; a closed reader of standard output is no error."""
    before = sys.stdout
    try:
        return cli.main(prog_name="kling-batch", standalone_mode=False)
    except SystemExit as leaving:  # click replaces a broken standard output and exits with 1
        return leaving.code if sys.stdout is before else ExitCode.OK


def _complete_streams() -> None:
    """Open the null device for each standard stream that was closed before the start.

    Otherwise its file number would go to the next file that is opened, and that is the ledger.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


def _exit_code_of_group(group: BaseExceptionGroup[BaseException]) -> int:
    """Exit code of the error inside a task group, after its message was printed."""
    error: BaseException | None = group.subgroup(KlingBatchError)
    if error is None and group.split(OSError)[1] is None:
        error = group  # only errors of the operating system; a bug beside one must stay visible
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case KlingBatchError():
            _print_error(f"kling-batch: {error}")
            return error.exit_code
        case OSError():
            _print_error(_system_error(error))
            return ExitCode.SOME_FAILED
        case _:
            raise group


def _system_error(error: OSError) -> str:
    """Message for an error of the operating system that reaches the command line as it is."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = " → ".join(names)
    reason = error.strerror or str(error) or type(error).__name__
    return f"kling-batch: {where}: {reason}" if where else f"kling-batch: {reason}"


def _print_problems(error: ManifestError) -> None:
    """Print every problem with its place; on a terminal with the line and a caret."""
    for problem in error.problems:
        _print_error(_with_source(problem) if sys.stderr.isatty() else str(problem))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in problem_annotations(error.problems, locate=from_workspace(os.environ)):
            _print_error(line)
    _print_error(f"kling-batch: {count(len(error.problems), 'problem')}; nothing was sent")


def _with_source(problem: Problem) -> str:
    try:
        source = Path(problem.place.file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return str(problem)
    return explain(problem, source)


def _print_error(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone; the exit code remains
        click.echo(text, err=True)


_WIDTH = 100

_TOKEN = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'|[^\s,:{}\[\]]+")


def explain(problem: Problem, source_text: str) -> str:
    """The message, and under it the line of `source_text` that it is about."""
    place = problem.place
    # Not `splitlines`, which splits at characters that YAML and CSV do not count as line ends.
    lines = re.split(r"\r\n|\r|\n", source_text)
    if not 1 <= place.line <= len(lines):
        return str(problem)
    line = lines[place.line - 1]
    start, length = _span(place, line, lines[0].lstrip("\ufeff"))
    line, start, length = _window(line, start, length)
    gutter = f"{place.line:>5} | "
    caret = " " * _columns(line[:start]) + "^" * max(1, _columns(line[start : start + length]))
    shown = line.replace("\t", " ")
    return f"{problem}\n{gutter}{shown}\n{' ' * (len(gutter) - 2)}| {caret}"


def _span(place: Place, line: str, header: str) -> tuple[int, int]:
    """Where in the line, and how far, the caret goes."""
    if place.cell:
        return _cell(place.cell, line, header)
    start = min(max(place.column - 1, 0), len(line))
    if not place.column:
        return len(line) - len(line.lstrip()), len(line.strip())
    token = _TOKEN.match(line, start)
    return start, len(token[0]) if token else 1


def _cell(column: str, line: str, header: str) -> tuple[int, int]:
    """The cell of a row; the whole row where it is JSON or goes over several lines."""
    whole = len(line) - len(line.lstrip()), len(line.strip())
    delimiter = max(",;\t", key=header.count)
    try:
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return whole
    if column not in names or len(cells) != len(names) or line.startswith("{"):
        return whole
    index = names.index(column)
    start = line.find(cells[index]) if cells[index] else -1
    before = sum(len(cell) + 1 for cell in cells[:index])
    # Quotes shift what follows them; without any the sum is exact.
    return (before if '"' not in line else start, len(cells[index])) if start >= 0 else whole


def _window(line: str, start: int, length: int) -> tuple[str, int, int]:
    """A long line cut to what is around the caret."""
    if len(line) <= _WIDTH:
        return line, start, length
    left = max(0, min(start - 20, len(line) - _WIDTH))
    cut = line[left : left + _WIDTH]
    cut = ("…" if left else cut[:1]) + cut[1:-1] + ("…" if left + _WIDTH < len(line) else cut[-1:])
    return cut, start - left, min(length, _WIDTH - (start - left))


def _columns(text: str) -> int:
    """How many cells of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    combining = sum(unicodedata.combining(letter) > 0 for letter in text)
    return len(text) + wide - combining
