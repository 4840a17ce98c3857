"""Command group that imports a command's module when the command is used, not before.

Knows click and the table of commands; must not know what a command does.
"""

from __future__ import annotations

import os
from importlib import import_module

import click

from kling_batch.cli.commands import COMMANDS
from kling_batch.cli.overview import overview
from kling_batch.cli.program import COMPLETE, HELP_NAMES


class LazyGroup(click.Group):
    """The commands of the table, none of which is imported before it is used."""

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the help option, in whatever context."""
        return [*HELP_NAMES]

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names of all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, imported now; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        module = import_module(f"kling_batch.cli.commands.{entry.module}")
        command = getattr(module, entry.attribute)
        assert isinstance(command, click.Command)
        # click keeps the help option of the first context that asks for it, and a context that was
        # made without its parent does not know the names.
        command.get_help_option(click.Context(command, help_option_names=[*HELP_NAMES]))
        if COMPLETE in os.environ:
            from kling_batch.cli.completion import equip  # noqa: PLC0415 - only a shell needs it

            equip(command)
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write what `--help` says, which needs neither click nor a command."""
        formatter.write(overview(formatter.width))
