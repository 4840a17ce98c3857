"""`kling-batch doctor`: checks what a run needs. Sends nothing paid."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from kling_batch import __version__, operations
from kling_batch.cli.ledgers import ledger_path
from kling_batch.cli.options import options_of, place_options, service_options
from kling_batch.core.text import count
from kling_batch.errors import EXIT_PRIORITY, ExitCode, KlingBatchError
from kling_batch.ledger.database import is_there, sqlite_version
from kling_batch.ledger.queries import attempt_count, service_of
from kling_batch.ledger.reader import Reader
from kling_batch.settings import resolve

Line = tuple[str, bool, str, int]


@click.command(epilog="Example: kling-batch doctor")
@place_options
@service_options
def doctor(**values: Any) -> int:
    """Check program, key, ledger, folder and connection to fal.

    Nothing is paid.
    """
    Path.cwd()  # raises where the working folder is gone: no check would say anything true
    held: set[int] = set()
    for name, passed, message, code in _checks(values):
        # A failed check that prevents no run is a warning, and does not change the exit code.
        mark = "ok" if passed else "PROBLEM" if code else "warning"
        click.echo(f"{mark:>7}  {name}: {message}")
        if not passed:
            held.add(code)
    return next((code for code in (*EXIT_PRIORITY, ExitCode.USAGE) if code in held), ExitCode.OK)


def _checks(values: dict[str, Any]) -> Iterator[Line]:
    system = f"Python {platform.python_version()}, SQLite {sqlite_version()}"
    yield "program", True, f"kling-batch {__version__}, {system}, {sys.platform}", 0
    path, ledger = _ledger(values)
    yield ledger
    folder = values["output"] or (None if path is None else path.parent)
    if folder is not None:
        yield operations.check_folder(folder)
    yield from operations.check_key_file()
    yield from operations.check_service(resolve((), options_of(values)))


def _ledger(values: dict[str, Any]) -> tuple[Path | None, Line]:
    """The ledger's path, where it can be told which one it is, and what is to say about it."""
    path = None
    try:
        path = ledger_path(values)
        if not is_there(path):
            return path, ("ledger", True, f"{path} will be made by the first run", 0)
        with Reader.open(path) as reader:
            attempts, service = count(attempt_count(reader), "attempt"), service_of(reader)
    except KlingBatchError as error:
        return path, ("ledger", False, str(error), error.exit_code)
    return path, ("ledger", True, f"{path}: {attempts} on {service}", 0)
