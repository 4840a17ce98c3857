"""The table of commands agrees with the commands, and `--help` imports none of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import kling_batch.cli.commands
from kling_batch.cli.commands import COMMANDS
from kling_batch.cli.main import cli


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_the_first_sentence_of_the_commands_own_help(name: str) -> None:
    command = command_of(name)

    assert command.name == name
    first_line = (command.help or "").splitlines()[0]
    assert first_line.partition(". ")[0].removesuffix(".") == COMMANDS[name].summary
    assert f"Example: kling-batch {name} " in f"{command.epilog} "


def test_every_command_is_in_the_table() -> None:
    folder = Path(kling_batch.cli.commands.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    defined = {
        (module, attribute)
        for module in modules
        for attribute, value in vars(
            __import__(f"kling_batch.cli.commands.{module}", fromlist=["x"])
        ).items()
        if isinstance(value, click.Command)
    }

    assert {(entry.module, entry.attribute) for entry in COMMANDS.values()} == defined


def test_help_lists_every_command_on_a_line_of_its_own_at_80_columns() -> None:
    text = CliRunner().invoke(cli, ["--help"], terminal_width=80).output
    lines = [line.split() for line in text.splitlines()]

    for name, entry in COMMANDS.items():
        assert [name, *entry.summary.split()] in lines
    assert "…" not in text
    assert "..." not in text.replace("[ARGS]...", "")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_no_help_shows_a_mark_for_the_formatter(name: str) -> None:
    text = CliRunner().invoke(cli, [*([name] if name else []), "--help"]).output

    assert "\\b" not in text
    assert "\b" not in text


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"], ["plan", "-h"]])
def test_help_imports_no_network_stack(words: list[str]) -> None:
    script = (
        "import sys\n"
        "from kling_batch.cli.main import cli\n"
        f"cli.main({words!r}, standalone_mode=False)\n"
        "heavy = {'aiohttp', 'httpx', 'fal_client', 'anyio', 'pydantic', 'sqlite_utils'}\n"
        "heavy |= {'starlette'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stderr.strip() == "[]"


def test_an_unknown_command_is_a_usage_error() -> None:
    done = CliRunner().invoke(cli, ["runn"])

    assert done.exit_code == 2
    assert "No such command 'runn'" in done.output


def test_the_network_stack_loads_only_where_something_is_sent() -> None:
    """Every command's work is imported, as a run with nothing to do imports its own."""
    script = (
        "import importlib, pkgutil, sys\n"
        "import kling_batch.operations\n"
        "for each in pkgutil.iter_modules(kling_batch.operations.__path__):\n"
        "    importlib.import_module(f'kling_batch.operations.{each.name}')\n"
        "network = {'aiohttp', 'httpx', 'fal_client', 'yarl', 'uvicorn'}\n"
        "print(sorted(network & {name.split('.')[0] for name in sys.modules}))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.stdout == "[]\n", done.stderr
