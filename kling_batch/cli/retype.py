"""The current command as it can be typed again: for the ledger and for the next steps.

Repeats everything that decides what is bought and under which limits, whether it was given as
an option or by the environment. Every option is repeated unless it is listed in `ONCE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kling_batch.core.command_line import (
    Command,
    TypedOption,
    argument,
    path_argument,
    quoted,
)
from kling_batch.core.quantities import exact_usd, rate_text, seconds_text

#: Options of this invocation only: how it is shown and ends, and what it may pay for (`--yes`, and
#: `--retry-failed`, which pays each time it is given).
ONCE = frozenset(
    {
        *("yes", "retry_failed", "timeout", "detach"),
        *("as_json", "quiet", "verbose", "log_file", "junit", "summary"),
    }
)


def current_command() -> Command:
    """The command that is being run, as it can be typed again."""
    context = click.get_current_context()
    given = [param for param in context.command.params if _counts(context, param)]
    arguments = [
        _text(value, argument)
        for param in given
        if isinstance(param, click.Argument)
        for value in _each(context.params[param.name or ""])
    ]
    return Command(
        head=(*context.command_path.split(), *arguments),
        options=tuple(
            TypedOption(_flag(param), text)
            for param in given
            if isinstance(param, click.Option)
            for text in _texts(param, context.params[param.name or ""])
        ),
        takes=frozenset(name for param in context.command.params for name in param.opts),
    )


def _counts(context: click.Context, param: click.Parameter) -> bool:
    """Whether it was given, and not for this invocation alone."""
    name = param.name or ""
    defaults = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    return name not in ONCE and context.get_parameter_source(name) not in defaults


def _flag(option: click.Option) -> str:
    return next(name for name in option.opts if name.startswith("--"))


def _texts(option: click.Option, value: Any) -> Iterator[str | None]:
    if option.is_flag:
        yield from [None] if value else []
        return
    for each in _each(value):
        yield _text(each, _FORMATS.get(option.name or "", str))


def _text(value: Any, text: Callable[[Any], str]) -> str:
    return path_argument(value) if isinstance(value, Path) else text(value)


def _each(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def typed(path: str) -> str:
    """A path as a shell takes it, on one line."""
    return quoted(path_argument(path))


def _dollars(micro: int) -> str:
    return exact_usd(micro).replace("$", "").replace(",", "")


#: Formats of values that are kept in other units than they are typed in.
_FORMATS = {
    "max_cost": _dollars,
    "rate": rate_text,
    "reuse": seconds_text,
    "start_timeout": seconds_text,
}
