"""The command line: the group, how errors leave the program, and nothing else.

One module a command in `commands/`; they import the network stack, pydantic and the emulator only
when they run, so that `--help` and `--version` stay light.
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
from kling_batch.cli.commands import COMMANDS
from kling_batch.errors import (
    EXIT_MEANINGS,
    ExitCode,
    KlingBatchError,
    ManifestError,
    Place,
    Problem,
)

_EPILOG = "\b\nExit codes:\n" + "\n".join(
    f"  {code.value:>3}  {meaning}" for code, meaning in EXIT_MEANINGS.items()
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="kling-batch")
def cli() -> None:
    r"""Run batches of paid Kling O3 generations on fal.ai, and pay for nothing twice.

    \b
    kling-batch run manifest.yaml --emulator   try it, nothing is paid
    kling-batch plan manifest.yaml             what would happen, and what it would cost
    kling-batch run manifest.yaml              do it; the same command again resumes
    """


for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the command line and leave with the right code and one sentence."""
    _complete_streams()
    try:
        code = _invoke()
    except ManifestError as error:
        _problems(error)
        code = error.exit_code
    except KlingBatchError as error:
        _say(f"kling-batch: {error}")
        code = error.exit_code
    except click.exceptions.Abort:
        code = ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except KeyboardInterrupt:
        _say("kling-batch: interrupted")
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our data left (`| head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    except OSError as error:
        _say(_of_system(error))
        code = ExitCode.SOME_FAILED
    except BaseExceptionGroup as group:
        code = _first_known(group)
    sys.exit(int(code) if isinstance(code, int) else 0)


def _invoke() -> object:
    """The command's own code; where the reader of our data has left, that is no error of ours."""
    before = sys.stdout
    try:
        return cli.main(prog_name="kling-batch", standalone_mode=False)
    except SystemExit as leaving:  # click's way out: it has silenced the stream, and says 1
        return leaving.code if sys.stdout is before else ExitCode.OK


def _complete_streams() -> None:
    """A standard stream that was closed before the start leads nowhere, as cron would have it.

    Left closed, its number would go to the next file that is opened, and that is the ledger.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


def _first_known(group: BaseExceptionGroup[BaseException]) -> int:
    """A task group wraps what ended it; a sentence is a sentence all the same."""
    error: BaseException | None = group.subgroup(KlingBatchError)
    if error is None and group.split(OSError)[1] is None:
        error = group  # nothing but the system's; beside it, a bug of ours must stay seen
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case KlingBatchError():
            _say(f"kling-batch: {error}")
            return error.exit_code
        case OSError():
            _say(_of_system(error))
            return ExitCode.SOME_FAILED
        case _:
            raise group


def _of_system(error: OSError) -> str:
    """What a disk or a folder would not do, and which: nobody has said it better below."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = " → ".join(names)
    told = error.strerror or str(error) or type(error).__name__
    return f"kling-batch: {where}: {told}" if where else f"kling-batch: {told}"


def _problems(error: ManifestError) -> None:
    """Every problem with its place; on a terminal with the line and a caret."""
    for problem in error.problems:
        _say(_with_caret(problem) if sys.stderr.isatty() else str(problem))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from kling_batch.report.github import from_workspace, problem_annotations  # noqa: PLC0415

        for line in problem_annotations(error.problems, locate=from_workspace(os.environ)):
            _say(line)
    count = len(error.problems)
    _say(f"kling-batch: {count} problem{'s' * (count != 1)}; nothing was sent")


def _with_caret(problem: Problem) -> str:

    try:
        source = Path(problem.place.file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return str(problem)
    return explain(problem, source)


def _say(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone; the exit code remains
        click.echo(text, err=True)


_WIDTH = 100

_WORD = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'|[^\s,:{}\[\]]+")


def explain(problem: Problem, source_text: str) -> str:
    """The message, and under it the line of `source_text` that it is about."""
    place = problem.place
    # Not `splitlines`, which knows more ends of a line than YAML, CSV and the places.
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
    word = _WORD.match(line, start)
    return start, len(word[0]) if word else 1


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
