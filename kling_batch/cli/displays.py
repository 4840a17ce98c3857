"""The displays of a command that runs jobs: what its options and the terminal ask for.

Must not decide what is shown of an event: that is for the displays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from kling_batch.cli.options import PATH, came_from, option
from kling_batch.core.text import clean
from kling_batch.errors import KlingBatchError, UsageError
from kling_batch.report.display.base import Display
from kling_batch.report.display.choose import Both, choose
from kling_batch.report.display.log import LogDisplay
from kling_batch.report.display.stream import SafeStream

F = TypeVar("F", bound=Callable[..., Any])


class Shown(NamedTuple):
    """The display of a run, and who is told of every HTTP request."""

    display: Display
    trace: Callable[[str], None] | None


def log_options(command: F) -> F:
    """How much is logged, and where."""
    for decorate in reversed(
        (
            click.option(
                "--verbose",
                "-v",
                is_flag=True,
                help="Log every event and HTTP request, instead of the live table",
            ),
            option("--log-file", type=PATH, help="Append that log to a file"),
        )
    ):
        command = decorate(command)
    return command


@contextmanager
def displays_of(values: Mapping[str, Any], *, as_json: bool = False) -> Iterator[Shown]:
    """The display for these options; it is closed at the end, and so is the log file.

    Raises:
        UsageError: the log file cannot be written.
    """
    verbose, file = bool(values["verbose"]), values["log_file"]
    logs: list[LogDisplay] = []
    if verbose:
        logs.append(LogDisplay(SafeStream(sys.stderr), now=_now))
    written = {"standard output": SafeStream(sys.stdout)}
    opened = None if file is None else _opened(file)
    if opened is not None:
        written[str(file)] = SafeStream(opened)
        logs.append(LogDisplay(written[str(file)], now=_now))
    shown: list[Display] = [*logs]
    if as_json or not verbose:
        shown.insert(
            0,
            choose(
                json=as_json,
                quiet=values["quiet"] or verbose,
                stream_is_terminal=sys.stderr.isatty(),
                environ=os.environ,
                out=written["standard output"],
            ),
        )
    display = shown[0]
    for more in shown[1:]:
        display = Both(display, more)

    def trace(text: str) -> None:
        for log in logs:
            log.trace(text)

    try:
        yield Shown(display, trace if logs else None)
    except KlingBatchError as error:
        # People are told on standard error anyway.
        for log in logs[verbose:]:
            log.failed(str(error))
        raise
    finally:
        display.close()
        if opened is not None:
            opened.close()
        _tell_what_is_cut_off(written)


def _tell_what_is_cut_off(written: Mapping[str, SafeStream]) -> None:
    """Say which of these has not everything: nobody chose that, unlike a reader that leaves."""
    told = SafeStream(sys.stderr)
    for name, stream in written.items():
        if stream.cut_off:
            told.line(f"warning: {clean(name)} is cut off: {stream.cut_off}; the ledger has all")
    told.drain()


def _opened(file: Path) -> Any:
    try:
        return file.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        named = f"{file}{came_from('--log-file')}"
        raise UsageError(f"{named}: the log cannot be written: {reason}") from error


def _now() -> datetime:
    return datetime.now(UTC)
