"""Next command about a ledger, with the option that names this ledger and no other.

Whatever tells a person what to type takes the command from here: without the option it would be
about another ledger, and `retry` or `run` would pay there. Must not read the ledger.
"""

from __future__ import annotations

from pathlib import Path

from kling_batch.core.command_line import Command, path_argument
from kling_batch.settings import DEFAULT_OUTPUT, EMULATED_LEDGER, LEDGER_NAME
from kling_batch.shown_location import shown


def command_on(ledger: Path, *words: str) -> Command:
    """`kling-batch` with these words, about this ledger.

    Args:
        ledger: its path.
        words: the command's name, its arguments, and options without a value.
    """
    return with_ledger(Command(("kling-batch", *words)), ledger)


def with_ledger(command: Command, ledger: Path) -> Command:
    """The command with what names this ledger; as it is where that is the default one."""
    place = shown(ledger)
    if place == str(Path(DEFAULT_OUTPUT, LEDGER_NAME)):
        return command
    if place == str(EMULATED_LEDGER):
        return command.having("--emulator")
    return command.having("--ledger", path_argument(place))
