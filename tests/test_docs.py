"""What the documents say is what the program does. With `UPDATE_DOCS=1` this file writes it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from kling_batch.cli.commands import COMMANDS
from kling_batch.cli.main import cli
from kling_batch.core.lifecycle import NEXT, TRANSITIONS
from kling_batch.errors import EXIT_MEANINGS

ROOT = Path(__file__).parent.parent


def exit_codes() -> str:
    rows = [f"| {code.value} | {meaning} |" for code, meaning in EXIT_MEANINGS.items()]
    return "\n".join(["| exit | means |", "|---|---|", *rows])


def commands() -> str:
    rows = [f"| `{name}` | {entry.summary} |" for name, entry in sorted(COMMANDS.items())]
    return "\n".join(["| command | does |", "|---|---|", *rows])


def states() -> str:
    rows = [
        f"| `{state}` | {meaning} | {money} | {then} |"
        for state, (meaning, money, then) in NEXT.items()
    ]
    return "\n".join(["| state | meaning | money | the next run |", "|---|---|---|---|", *rows])


def transitions() -> str:
    rows = [
        f"| {f'`{before}`' if before else 'pending'} | `{event}` | `{after}` |"
        for (before, event), after in TRANSITIONS.items()
    ]
    return "\n".join(["| from | event | to |", "|---|---|---|", *rows])


def packages() -> str:
    """Every package of the program with its one job, as its own docstring has it."""
    rows = []
    for folder in sorted((ROOT / "kling_batch").iterdir()):
        if (face := folder / "__init__.py").exists():
            doc = ast.get_docstring(ast.parse(face.read_text())) or ""
            rows.append(f"| `{folder.name}/` | {doc.splitlines()[0]} |")
    return "\n".join(["| package | job |", "|---|---|", *rows])


BLOCKS: list[tuple[str, str, Callable[[], str]]] = [
    ("README.md", "exit-codes", exit_codes),
    ("README.md", "commands", commands),
    ("DESIGN.md", "packages", packages),
    ("DESIGN.md", "states", states),
    ("DESIGN.md", "transitions", transitions),
]


@pytest.mark.parametrize(("file", "name", "make"), BLOCKS, ids=[b[1] for b in BLOCKS])
def test_generated_tables_are_current(file: str, name: str, make: Callable[[], str]) -> None:
    path = ROOT / file
    text = path.read_text()
    pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    expected = pattern.sub(lambda m: f"{m[1]}{make()}\n{m[2]}", text)
    assert f"<!-- {name} -->" in text
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(expected)

    assert text == expected or os.environ.get("UPDATE_DOCS")


def test_every_command_explains_itself() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help or name == "emulator", f"{name} {parameter.name}"


def test_the_gate_runs_the_readmes_test_command() -> None:
    readme = (ROOT / "README.md").read_text()
    gate = (ROOT / ".ci/run").read_text()

    assert len(re.findall(r"^python3 -m venv .*pytest.*$", readme, re.MULTILINE)) == 1
    assert ".venv/bin/python -m pytest" in gate
