"""Entry point of the command line: the group of commands, its streams, and its exit code.

The commands are modules of `commands/`, imported when they are used; errors are explained by
`failures.py`. Must not know what a command does.
"""

from __future__ import annotations

import json
import os
import sys

import click

from kling_batch import __version__
from kling_batch.cli.commands import COMMANDS
from kling_batch.cli.failures import report_error
from kling_batch.cli.group import LazyGroup
from kling_batch.cli.overview import MOST_COLUMNS
from kling_batch.cli.program import HELP_NAMES, NAME
from kling_batch.cli.version import version
from kling_batch.errors import ExitCode
from kling_batch.report.display.stream import guard


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": [*HELP_NAMES], "max_content_width": MOST_COLUMNS},
)
@click.version_option(__version__, message=version())
def cli() -> None:
    """Group of all commands; its help is the overview."""


def main() -> None:
    """Run the command line; errors become one message and an exit code."""
    _complete_streams()
    guard(sys.stdout, "standard output")
    guard(sys.stderr, "standard error")
    try:
        code = _invoke()
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except BrokenPipeError:
        # The reader of standard output left (`| head`): that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    except BaseException as error:  # noqa: BLE001 - what is no error of a command is raised again
        code = report_error(error)
    sys.exit(int(code) if isinstance(code, int) else 0)


def _invoke() -> object:
    """Exit code of the command; a closed reader of standard output is no error."""
    before = sys.stdout
    if (names := _tree_wanted(sys.argv[1:])) is not None:
        return _print_tree(names)
    try:
        return cli.main(prog_name=NAME, standalone_mode=False)
    except SystemExit as leaving:  # click replaces a broken standard output and exits with 1
        return leaving.code if sys.stdout is before else ExitCode.OK


def _tree_wanted(words: list[str]) -> list[str] | None:
    """The commands that `--help --json` is about; None where it was not typed."""
    helps = {"--help", "-h"}
    rest = [word for word in words if word not in helps | {"--json"}]
    if "--json" not in words or not helps & {*words} or not {*rest} <= {*COMMANDS}:
        return None
    return rest or [*COMMANDS]


def _print_tree(names: list[str]) -> int:
    from kling_batch.cli.command_tree import command_tree  # noqa: PLC0415 - imports every command

    click.echo(json.dumps(command_tree(cli, names), indent=2))
    return ExitCode.OK


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
