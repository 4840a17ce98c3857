"""Text of `kling-batch --help`, made from tables alone.

`__main__` prints it before click is imported, which takes longer than an empty interpreter and all
of this; the command group prints the same. Must not import click or a command.
"""

from __future__ import annotations

import os
import sys
from textwrap import TextWrapper

from kling_batch.cli.commands import COMMANDS
from kling_batch.exit_codes import EXIT_MEANINGS

_SUMMARY = "Run batches of paid Kling generations on fal.ai, and pay for nothing twice."

_FIRST_STEPS = """
kling-batch run manifest.yaml --emulator  try it, nothing is paid
kling-batch plan manifest.yaml            what it would do, and the costs
kling-batch run manifest.yaml             do it; once more resumes
kling-batch --help --json                 all of it, for programs
"""

#: The options of the group itself: how each is written, and what it does.
OPTIONS = {
    "--version": "Show the version and exit.",
    "-h, --help": "Show this message and exit.",
}

#: Columns that are used at most, however wide the terminal is.
MOST_COLUMNS = 100
_FEWEST_COLUMNS = 50


def overview(width: int) -> str:
    """What `--help` prints: options, commands by group, exit codes."""
    codes = "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in EXIT_MEANINGS.items())
    commands = max(map(len, COMMANDS))
    groups: dict[str, dict[str, str]] = {"Options": OPTIONS}
    for name, entry in COMMANDS.items():
        groups.setdefault(entry.group, {})[name.ljust(commands)] = entry.summary
    parts = [
        "Usage: kling-batch [OPTIONS] COMMAND [ARGS]...\n",
        f"{_filled(_SUMMARY, width, '  ')}\n\n{_indented(_FIRST_STEPS)}\n",
        *(f"{group}:\n{_rows(rows, width)}" for group, rows in groups.items()),
        f"{_indented(f'Exit codes:{chr(10)}{codes}')}\n",
    ]
    return "\n".join(parts)


def terminal_width() -> int:
    """The columns to fill: those of the terminal, within limits and without a margin of two."""
    try:
        columns = int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
        except (AttributeError, ValueError, OSError):
            columns = 0
    return max(min(columns or 80, MOST_COLUMNS) - 2, _FEWEST_COLUMNS)


def _rows(rows: dict[str, str], width: int) -> str:
    """Two columns: a name, and the text about it."""
    first = max(map(len, rows)) + 2
    lines = []
    for name, text in rows.items():
        wrapped = _filled(text, max(width - first - 2, 10)).replace("\n", "\n" + " " * (first + 2))
        lines.append(f"  {name.ljust(first)}{wrapped}\n")
    return "".join(lines)


def _filled(text: str, width: int, indent: str = "") -> str:
    return TextWrapper(width, initial_indent=indent, subsequent_indent=indent).fill(text)


def _indented(lines: str) -> str:
    return "\n".join(f"  {line}" for line in lines.strip().splitlines())
