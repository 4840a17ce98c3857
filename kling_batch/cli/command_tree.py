"""The whole command tree as JSON: commands, options, types, defaults, choices, exit codes.

For programs and assistants: `kling-batch --help --json`, or `kling-batch run --help --json` for one
command. Imports every command; must not run one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from inspect import cleandoc
from pathlib import Path

import click

from kling_batch import __version__
from kling_batch.cli.commands import COMMANDS
from kling_batch.cli.program import NAME
from kling_batch.core.jobs import JSON
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.exit_codes import EXIT_MEANINGS

_DEFAULT = re.compile(r"\s*\[default: ([^\]]+)\]")


def command_tree(group: click.Group, names: Iterable[str] = COMMANDS) -> JSON:
    """The commands of these names as JSON values."""
    context = click.Context(group, info_name=NAME)
    return {
        "schema_version": SCHEMA_VERSION,
        "program": NAME,
        "version": __version__,
        "exit_codes": [
            {"code": code.value, "meaning": meaning} for code, meaning in EXIT_MEANINGS.items()
        ],
        "commands": [_command(context, group, name) for name in names],
    }


def _command(parent: click.Context, group: click.Group, name: str) -> JSON:
    command = group.get_command(parent, name)
    assert command is not None
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    text = cleandoc(command.help or "").replace("\b\n", "")
    examples = [
        line.partition("Example: ")[2] or line.strip()
        for line in (command.epilog or "").replace("\b", "").splitlines()
        if "kling-batch" in line
    ]
    return {
        "command": name,
        "group": COMMANDS[name].group,
        "summary": COMMANDS[name].summary,
        "help": text,
        "examples": examples,
        "parameters": [_parameter(each) for each in shown],
    }


def _parameter(parameter: click.Parameter) -> JSON:
    option = isinstance(parameter, click.Option)
    text = (parameter.help or "") if isinstance(parameter, click.Option) else ""
    told = _DEFAULT.search(text)
    default = _plain(parameter.default)
    variable = parameter.envvar
    return {
        "name": parameter.name,
        "kind": "option" if option else "argument",
        "spellings": [*parameter.opts, *parameter.secondary_opts] if option else [],
        "type": parameter.type.name.lower(),
        "choices": _choices(parameter.type),
        "default": told[1] if told and default is None else default,
        "required": parameter.required,
        "multiple": parameter.multiple or parameter.nargs != 1,
        "flag": isinstance(parameter, click.Option) and parameter.is_flag,
        "environment": variable if isinstance(variable, str) else None,
        "metavar": parameter.metavar,
        "help": _DEFAULT.sub("", text) or None,
    }


def _choices(kind: object) -> list[str] | None:
    return [str(each) for each in kind.choices] if isinstance(kind, click.Choice) else None


def _plain(value: object) -> JSON:
    """A default as a JSON value; None where there is none, or where it is not plain."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum) or not isinstance(value, bool | int | float | str):
        return None
    return value
