"""From what was typed to the command that goes on with it: for the ledger and for "type this next".

Repeats everything that decides what is bought and under which limits, whether a flag or the
environment said it. An option that is new is repeated unless it is listed here as one invocation's
own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource

from kling_batch.report.command_line import Command, TypedOption

#: How one invocation is shown and ends, and the consents that were given to it alone: `--yes`,
#: and `--retry-failed`, which pays each time it is said.
ONCE = frozenset(
    {"yes", "retry_failed", "timeout", "detach", "as_json", "quiet", "junit", "summary"}
)


def typed() -> Command:
    """The command that is being run, as it can be typed again."""
    context = click.get_current_context()
    said = [param for param in context.command.params if _counts(context, param)]
    arguments = [
        _argument(str(value))
        for param in said
        if isinstance(param, click.Argument)
        for value in _each(context.params[param.name or ""])
    ]
    return Command(
        head=(*context.command_path.split(), *arguments),
        options=tuple(
            TypedOption(_flag(param), word)
            for param in said
            if isinstance(param, click.Option)
            for word in _words(param, context.params[param.name or ""])
        ),
        takes=frozenset(word for param in context.command.params for word in param.opts),
    )


def _counts(context: click.Context, param: click.Parameter) -> bool:
    """Whether somebody said it, and it is not this invocation's own."""
    name = param.name or ""
    unsaid = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    return name not in ONCE and context.get_parameter_source(name) not in unsaid


def _flag(option: click.Option) -> str:
    return next(word for word in option.opts if word.startswith("--"))


def _words(option: click.Option, value: Any) -> Iterator[str | None]:
    if option.is_flag:
        yield from [None] if value else []
        return
    for each in _each(value):
        yield _WORDS.get(option.name or "", str)(each)


def _each(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _argument(word: str) -> str:
    """An argument that no option parser takes for an option."""
    return f"./{word}" if word.startswith("-") else word


def _dollars(micro: int) -> str:
    from kling_batch.core.quantities import format_usd  # noqa: PLC0415

    return format_usd(micro).replace("$", "").replace(",", "")


def _rate(per_second: float) -> str:
    from kling_batch.core.quantities import rate_text  # noqa: PLC0415 - heavy parts load when needed

    return rate_text(per_second)


#: Values that are kept in other units than they are typed in.
_WORDS = {"max_cost": _dollars, "rate": _rate}
