"""`Options`: the options of one run in public types, checked on construction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from kling_batch.api.checks import (
    AMOUNT,
    LENGTH,
    NUMBER,
    TEXT,
    Check,
    StrPath,
    flag,
    location_of,
    names_of,
    path_of,
    shown,
    whole_number,
)
from kling_batch.core.command_line import NO_COMMAND, Command, TypedOption, path_argument
from kling_batch.core.jobs import Batch
from kling_batch.core.locations import Location
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
    resolve,
    scheduler_address,
)


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
    if not isinstance(options, Options):
        raise UsageError(f"options: {shown(options)} is no Options(…)")
    for name in _CHOICES:
        names_of(name, getattr(options, name))
    return RunOptions(
        output=None if options.output is None else location_of("output", options.output),
        ledger=None if options.ledger is None else path_of("ledger", options.ledger),
        **{name: check(name, getattr(options, name)) for name, check in _CHECKS.items()},
    )


#: The options of `run` that next steps may add to those of a run from Python.
_ADDABLE = frozenset({"--max-cost", "--retry-failed"})

#: Variables of the command line that name another ledger.
_ELSEWHERE = frozenset({"KLING_BATCH_OUTPUT", "KLING_BATCH_LEDGER"})


def command_of(batches: Sequence[Batch], options: Options) -> Command:
    """The command line that goes on with such a run: for the ledger and the next steps.

    It chooses the same jobs with the same variables. `NO_COMMAND` where manifests were loaded with
    different values of one variable, which a command gives to all of them.
    """
    variables = _variables(batches)
    if variables is None:
        return NO_COMMAND
    parsed = run_options(options)
    if not _ELSEWHERE.isdisjoint(os.environ):
        # Unlike this run, the command would obey them, and pay by another ledger.
        parsed = parsed._replace(ledger=resolve(batches, parsed).ledger)
    values = {
        "--output": _place(parsed.output),
        "--ledger": _place(parsed.ledger),
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
    sources = dict.fromkeys(path_argument(batch.source) for batch in batches)
    command = Command(("kling-batch", "run", *sources), takes=_ADDABLE)
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
    several = {
        "--only": names_of("only", options.only),
        "--exclude": names_of("exclude", options.exclude),
        "--tag": names_of("tags", options.tags),
        "--set": [f"{name}={value}" for name, value in variables.items()],
    }
    repeated = (TypedOption(name, each) for name, values in several.items() for each in values)
    return replace(command, options=(*command.options, *repeated))


def _variables(batches: Sequence[Batch]) -> dict[str, str] | None:
    """The variables that were given; None where they differ between manifests that have them."""
    found: dict[str, str | None] = {}
    for batch in batches:
        for name, value in batch.variables.items():
            if found.setdefault(name, value) != value:
                return None
    return {name: value for name, value in found.items() if value is not None}


def _place(location: Location | None) -> str | None:
    if location is None:
        return None
    return path_argument(location) if isinstance(location, Path) else str(location)


def _plain_usd(micro: MicroUSD) -> str:
    return exact_usd(micro).replace("$", "").replace(",", "")


def _plain_seconds(seconds: float | None) -> str | None:
    return None if seconds is None else seconds_text(seconds)


def _usd(amount: str | float | Decimal) -> MicroUSD:
    return parse_usd(str(amount))


def _rate(rate: Any) -> float:
    if isinstance(rate, str):
        return parse_rate(rate)
    number = Decimal(float.__repr__(rate) if isinstance(rate, float) else rate)
    return parse_rate(f"{number:f}/s")


def _seconds(length: str | float | timedelta) -> float:
    return parse_duration(length.total_seconds() if isinstance(length, timedelta) else length)


def _start_timeout(length: str | float | timedelta) -> float:
    return parse_start_timeout(length.total_seconds() if isinstance(length, timedelta) else length)


def _window(length: str | float | timedelta) -> float:
    return parse_window(length.total_seconds() if isinstance(length, timedelta) else length)


def _emulator(wanted: bool | str) -> str | None:
    """As `RunOptions` has it: None for fal, no text for the emulator inside this process."""
    if isinstance(wanted, str) and wanted:
        return emulator_address(wanted)
    return "" if wanted or isinstance(wanted, str) else None


#: Options that choose jobs.
_CHOICES = ("only", "exclude", "tags")
_LENGTH = "is no length of time"

#: Every other option but the two places.
_CHECKS: dict[str, Check] = {
    "max_cost": Check(AMOUNT, "is not an amount in dollars, such as 40.00", _usd),
    "concurrency": whole_number(1),
    "rate": Check(NUMBER, "is no rate; write 60/min, or a number per second", _rate),
    "timeout": Check(LENGTH, _LENGTH, _seconds),
    "start_timeout": Check(LENGTH, _LENGTH, _start_timeout),
    "limit": whole_number(0),
    "max_failures": Check(
        NUMBER, "is no number of failures; write 5, or 20% of the jobs", parse_failure_limit
    ),
    **dict.fromkeys(("retry_failed", "yes", "detach", "collect", "offline", "schemas"), flag()),
    "reuse": Check((*LENGTH, bool), _LENGTH, _window),
    "scheduler": Check(TEXT, "is no address of a scheduler", scheduler_address),
    "emulator": Check(
        (bool, str), "is neither True nor False nor an address", _emulator, optional=False
    ),
}
