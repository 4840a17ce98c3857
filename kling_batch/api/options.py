"""`Options`: the options of one run in public types, checked on construction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from kling_batch.core.command_line import Command
from kling_batch.core.diagnostics import show
from kling_batch.core.quantities import (
    MicroUSD,
    exact_usd,
    parse_duration,
    parse_failure_limit,
    parse_rate,
    parse_start_timeout,
    parse_usd,
    parse_window,
    rate_text,
    seconds_text,
)
from kling_batch.errors import UsageError
from kling_batch.settings import (
    RunOptions,
    emulator_address,
    scheduler_address,
    typed_location,
    typed_path,
)

StrPath: TypeAlias = str | PathLike[str]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of `plan` and `run`, as on the command line; what is not set, the manifest decides.

    Args:
        output: folder of the outputs, or an address as `s3://bucket/folder`; default: the
            manifest's, else `outputs`.
        ledger: the ledger file; default: `ledger.db` in the output folder.
        max_cost: US dollars that the batches may cost at most, over all runs.
        concurrency: open requests at most; by default eight.
        rate: submissions at most: `"60/min"`, or a number per second; by default as many a second
            as may be open at once, and at least ten.
        timeout: leave after this long: `"90m"`, seconds, or a `timedelta`.
        start_timeout: give up, unpaid, what fal has not begun after this long.
        limit: submit at most so many jobs.
        max_failures: buy nothing more in this run after so many failures in a row of the same
            kind, or after that share of its jobs: `"20%"`. The next run counts anew.
        only: run only jobs whose id fits one of these globs.
        exclude: leave out jobs whose id fits one of these globs.
        tags: run only jobs with one of these tags.
        retry_failed: try failed and cancelled jobs again.
        yes: pay without a cap and without asking.
        detach: submit everything, then leave; a later run collects.
        collect: collect what is open, buy nothing.
        reuse: collect what was paid for so long ago, also by another ledger: `"7d"`, seconds, 0
            to buy it anew; default: the manifest's, else seven days.
        offline: `plan` asks nobody, not even fal's request list.
        schemas: hold the inputs of `endpoint:` jobs against fal's own schemas.
        scheduler: Dask workers move files and make renditions: `"tcp://host:8786"`, or
            `"local"`.
        emulator: `True` for the emulator inside this process, or the address of one.

    Raises:
        UsageError: a value makes no sense.
    """

    output: StrPath | None = None
    ledger: StrPath | None = None
    max_cost: str | int | float | Decimal | None = None
    concurrency: int | None = None
    rate: str | float | None = None
    timeout: str | float | timedelta | None = None
    start_timeout: str | float | timedelta | None = None
    limit: int | None = None
    max_failures: int | str | None = None
    only: str | Sequence[str] = ()
    exclude: str | Sequence[str] = ()
    tags: str | Sequence[str] = ()
    retry_failed: bool = False
    yes: bool = False
    detach: bool = False
    collect: bool = False
    emulator: bool | str = False
    reuse: str | float | timedelta | None = None
    offline: bool = False
    schemas: bool = True
    scheduler: str | None = None

    def __post_init__(self) -> None:
        run_options(self)


def run_options(options: Options) -> RunOptions:
    """The same options, parsed.

    Raises:
        UsageError: a value makes no sense.
    """
    return RunOptions(
        output=None if options.output is None else typed_location(options.output),
        ledger=_path(options.ledger),
        max_cost=_parsed("max_cost", _usd, options.max_cost),
        concurrency=_at_least("concurrency", 1, options.concurrency),
        rate=_parsed("rate", _rate, options.rate),
        timeout=_parsed("timeout", _seconds, options.timeout),
        start_timeout=_parsed("start_timeout", _start_timeout, options.start_timeout),
        limit=_at_least("limit", 0, options.limit),
        max_failures=_parsed("max_failures", parse_failure_limit, options.max_failures),
        retry_failed=_flag("retry_failed", options.retry_failed),
        yes=_flag("yes", options.yes),
        detach=_flag("detach", options.detach),
        collect=_flag("collect", options.collect),
        reuse=_parsed("reuse", _window, options.reuse),
        offline=_flag("offline", options.offline),
        schemas=_flag("schemas", options.schemas),
        scheduler=_parsed("scheduler", scheduler_address, options.scheduler),
        emulator=_emulator(options.emulator),
    )


def names_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """One text or several, as several."""
    return (given,) if isinstance(given, str) else tuple(given)


def command_of(sources: Sequence[str], options: Options) -> Command:
    """The command line that goes on with such a run: for the ledger and the next steps."""
    parsed = run_options(options)
    values = {
        "--output": parsed.output,
        "--ledger": parsed.ledger,
        "--max-cost": None if parsed.max_cost is None else _plain_usd(parsed.max_cost),
        "--concurrency": parsed.concurrency,
        "--rate": None if parsed.rate is None else rate_text(parsed.rate),
        "--start-timeout": _plain_seconds(parsed.start_timeout),
        "--limit": parsed.limit,
        "--reuse": _plain_seconds(parsed.reuse),
        "--max-failures": parsed.max_failures,
        "--scheduler": parsed.scheduler,
        "--emulator-url": parsed.emulator or None,
    }
    command = Command(("kling-batch", "run", *sources))
    for name, value in values.items():
        if value is not None:
            command = command.having(name, str(value))
    flags = {
        "--collect": parsed.collect,
        "--no-schemas": not parsed.schemas,
        "--emulator": parsed.emulator == "",
    }
    for name in (name for name, given in flags.items() if given):
        command = command.having(name)
    return command


def _plain_usd(micro: MicroUSD) -> str:
    return exact_usd(micro).replace("$", "").replace(",", "")


def _plain_seconds(seconds: float | None) -> str | None:
    return None if seconds is None else seconds_text(seconds)


def _path(path: StrPath | None) -> Path | None:
    return None if path is None else typed_path(path)


def _parsed(name: str, parse: Callable[[Any], Value], value: object) -> Value | None:
    try:
        return None if value is None else parse(value)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _emulator(wanted: bool | str) -> str | None:
    """As `RunOptions` has it: None for fal, no text for the emulator inside this process."""
    if isinstance(wanted, str) and wanted:
        return _parsed("emulator", emulator_address, wanted)
    return "" if wanted or isinstance(wanted, str) else None


def _usd(amount: str | float | Decimal) -> MicroUSD:
    return parse_usd(str(amount))


def _rate(rate: str | float) -> float:
    return parse_rate(rate if isinstance(rate, str) else f"{Decimal(repr(rate)):f}/s")


def _seconds(length: str | float | timedelta) -> float:
    return parse_duration(length.total_seconds() if isinstance(length, timedelta) else length)


def _start_timeout(length: str | float | timedelta) -> float:
    return parse_start_timeout(length.total_seconds() if isinstance(length, timedelta) else length)


def _window(length: str | float | timedelta) -> float:
    return parse_window(length.total_seconds() if isinstance(length, timedelta) else length)


def _flag(name: str, value: object) -> bool:
    """A flag; any other value, such as the text "no", would count as yes."""
    if not isinstance(value, bool):
        raise UsageError(f"{name}: {show(value)} is neither True nor False")
    return value


def _at_least(name: str, least: int, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{name}: {show(value)} is no whole number")
    if value < least:
        raise UsageError(f"{name}: {value} is less than {least}")
    return value
