"""Options that several commands share, and how their text becomes values.

Environment variables come after flags and before the manifest: `KLING_BATCH_MAX_COST` for
`--max-cost`. Must not import what `--help` does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from kling_batch.core.locations import ObjectAddress, address_of, is_address
from kling_batch.core.quantities import (
    FailureLimit,
    MicroUSD,
    parse_duration,
    parse_failure_limit,
    parse_rate,
    parse_start_timeout,
    parse_usd,
    parse_window,
)
from kling_batch.core.urls import without_signatures
from kling_batch.settings import (
    RunOptions,
    emulator_address,
    scheduler_address,
    typed_path,
)

F = TypeVar("F", bound=Callable[..., Any])


class TypedPath(click.Path):
    """A path from the command line or the environment; `~` is a home folder also in `--x=~/y`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, its home folder filled in."""
        if value == "":  # as of "$FOLDER" where that is not set
            self.fail("the path is empty", param, ctx)
        if isinstance(value, str) and value.startswith("~"):
            value = str(typed_path(value))
        if isinstance(value, str) and is_address(value):
            address = without_signatures(value)
            self.fail(f"`{address}` is an address; here it is a path on this machine", param, ctx)
        return super().convert(value, param, ctx)


#: The same file type everywhere: existence is checked by whoever opens it, with a message.
PATH = TypedPath(path_type=Path)


class TypedOutput(TypedPath):
    """The folder of the outputs: a path, or an address in a store."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or the address."""
        if isinstance(value, ObjectAddress):
            return value
        if isinstance(value, str) and is_address(value):
            with _usage_errors():
                return address_of(value)
        return super().convert(value, param, ctx)


OUTPUT = TypedOutput(path_type=Path)

#: The job a command is about.
JOB = click.argument("job", metavar="JOB")


def usd(text: str) -> MicroUSD:
    """`12.50` → 12_500_000."""
    with _usage_errors():
        return parse_usd(text)


def duration(text: str) -> float:
    """`90s`, `3h`, `1h30m` → seconds."""
    with _usage_errors():
        return parse_duration(text)


def _window(text: str) -> float:
    """`7d`, `12h`, `0` → seconds."""
    with _usage_errors():
        return parse_window(text)


def _start_timeout(text: str) -> float:
    """`10m`, `1h` → seconds."""
    with _usage_errors():
        return parse_start_timeout(text)


def _rate(text: str) -> float:
    """`5/s`, `60/min`, `500/h` → per second."""
    with _usage_errors():
        return parse_rate(text)


def _scheduler(text: str) -> str:
    """`tcp://host:8786`, `local`."""
    with _usage_errors():
        return scheduler_address(text)


def _emulator(text: str) -> str:
    """`http://127.0.0.1:8765`; empty text is not an address."""
    with _usage_errors():
        return emulator_address(text) if text else text


def _failures(text: str) -> FailureLimit:
    """`5`, `20%`."""
    with _usage_errors():
        return parse_failure_limit(text)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn a parser's `ValueError` into a usage error of the option."""
    try:
        yield
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


class _FromEnvironment(click.Option):
    """An option that the environment can set; what is said of its value names the variable then."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """How a message names the option."""
        return super().get_error_hint(ctx) + (came_from(self.opts[0], ctx) if ctx else "")


def came_from(flag: str, context: click.Context | None = None) -> str:
    """` (from VARIABLE)` where nobody typed this option; else nothing."""
    context = context or click.get_current_context(silent=True)
    if context is not None:
        for each in context.command.params:
            source = context.get_parameter_source(each.name) if flag in each.opts else None
            if source is ParameterSource.ENVIRONMENT:
                return f" (from {each.envvar})"
    return ""


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """A click option that the environment can set as well."""
    flag = next(name for name in names if name.startswith("--"))
    variable = "KLING_BATCH_" + flag.partition("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=variable, cls=_FromEnvironment, **settings)


def place_options(command: F) -> F:
    """Where outputs and ledger are."""
    for decorate in reversed(
        (
            option("--output", "-o", type=OUTPUT, help="Folder of the outputs [default: outputs]"),
            option("--ledger", type=PATH, help="The ledger [default: ledger.db in the output]"),
        )
    ):
        command = decorate(command)
    return command


def ledger_options(command: F) -> F:
    """Which ledger a command that asks nobody is about."""
    trial = click.option("--emulator", is_flag=True, help="The trial in outputs-emulator")
    return place_options(trial(command))


def service_options(command: F) -> F:
    """fal, or an emulator of it."""
    for decorate in reversed(
        (
            click.option(
                "--emulator",
                is_flag=True,
                callback=_one_emulator,
                help="Use the built-in emulator: no key, no charge",
            ),
            option(
                "--emulator-url",
                metavar="URL",
                type=_emulator,
                callback=_one_emulator,
                help="Use an emulator on a port",
            ),
        )
    ):
        command = decorate(command)
    return command


def _one_emulator(context: click.Context, param: click.Parameter, value: Any) -> Any:
    """`--emulator` that was typed goes before an address from the environment.

    Click takes what was typed first, in its order, and then the environment.
    """
    typed = {
        each
        for each in ("emulator", "emulator_url")
        if context.get_parameter_source(each) is ParameterSource.COMMANDLINE
    }
    if len(typed) > 1:
        raise click.UsageError("--emulator and --emulator-url are two services: say one of them")
    return None if param.name == "emulator_url" and typed == {"emulator"} else value


def schema_option(command: F) -> F:
    """Whether `endpoint:` jobs are checked."""
    return option(
        "--no-schemas", is_flag=True, help="Do not hold `endpoint:` jobs against fal's own schemas"
    )(command)


scheduler_option = option(
    "--scheduler",
    type=_scheduler,
    metavar="ADDRESS",
    help="Dask workers move files, make renditions: tcp://host:8786, or local",
)


def limit_options(command: F) -> F:
    """How much, how fast, how long."""
    for decorate in reversed(
        (
            option(
                "--concurrency",
                "-j",
                type=click.IntRange(1),
                help="Open requests at most [default: 8]",
            ),
            option(
                "--rate",
                type=_rate,
                metavar="N/s|min|h",
                help="Submissions at most: 5/s, 60/min [default: -j a second, at least 10/s]",
            ),
            option(
                "--max-cost",
                type=usd,
                metavar="USD",
                help="Never spend more than this on the batch",
            ),
            option(
                "--max-failures",
                type=_failures,
                metavar="N|N%",
                help="End a run's buying after N failures of a kind in a row, or N% of its jobs",
            ),
            option(
                "--timeout",
                type=duration,
                metavar="DURATION",
                help="Leave after this long (exit 6 where requests are still open at fal)",
            ),
            option(
                "--start-timeout",
                type=_start_timeout,
                metavar="DURATION",
                help="Give up, unpaid, what fal has not begun after this long",
            ),
            option(
                "--reuse",
                type=_window,
                metavar="DURATION",
                help="Collect what was paid for so long ago, also by another ledger [default: 7d]",
            ),
            click.option("--no-reuse", is_flag=True, help="The same as --reuse 0: buy it anew"),
        )
    ):
        command = decorate(command)
    return command


def job_options(command: F) -> F:
    """Which jobs of the manifest, whatever is done with them."""
    return _decorated(command, _CHOICE, _VARIABLES)


def selection_options(command: F) -> F:
    """Which jobs of the manifest, and how many of them are submitted."""
    limit = click.option("--limit", type=click.IntRange(0), help="Submit at most this many jobs")
    return _decorated(command, _CHOICE, (limit,), _VARIABLES)


def _decorated(command: F, *groups: Sequence[Callable[[Any], Any]]) -> F:
    for decorate in reversed([each for group in groups for each in group]):
        command = decorate(command)
    return command


_CHOICE = (
    click.option("--only", multiple=True, metavar="GLOB", help="Only jobs whose id matches"),
    click.option("--exclude", multiple=True, metavar="GLOB", help="No jobs whose id matches"),
    click.option("--tag", multiple=True, help="Only jobs with this tag"),
)
_VARIABLES = (
    click.option("--set", "variables", multiple=True, metavar="KEY=VALUE", help="Set a variable"),
)


def options_of(values: dict[str, Any]) -> RunOptions:
    """The shared options as one value; the rest of `values` is left to the command."""
    address = values.get("emulator_url") or ("" if values.get("emulator") else None)
    return RunOptions(
        output=values.get("output"),
        ledger=values.get("ledger"),
        concurrency=values.get("concurrency"),
        rate=values.get("rate"),
        max_cost=values.get("max_cost"),
        timeout=values.get("timeout"),
        start_timeout=values.get("start_timeout"),
        limit=values.get("limit"),
        max_failures=values.get("max_failures"),
        retry_failed=bool(values.get("retry_failed")),
        yes=bool(values.get("yes")),
        detach=bool(values.get("detach")),
        collect=bool(values.get("collect")),
        emulator=address,
        reuse=0.0 if values.get("no_reuse") else values.get("reuse"),
        offline=bool(values.get("offline")),
        schemas=not values.get("no_schemas"),
        scheduler=values.get("scheduler"),
    )


def pairs(texts: tuple[str, ...], flag: str) -> dict[str, str]:
    """`key=value` arguments as a dictionary."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=flag)
        found[name.strip()] = value
    return found
