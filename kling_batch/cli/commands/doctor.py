"""`kling-batch doctor`: is everything here that a run needs? Sends nothing that costs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from kling_batch import __version__
from kling_batch.cli.options import ledger_path, options_of, place_options, service_options
from kling_batch.errors import ExitCode, KlingBatchError


@click.command()
@place_options
@service_options
def doctor(**values: Any) -> int:
    """Check program, key, ledger, folder and fal's answers; nothing is paid."""
    worst: int = ExitCode.OK
    for name, fine, told, code in _checks(values):
        # What no run is kept from by is told, and is no reason to fail.
        mark = "ok" if fine else "PROBLEM" if code else "warning"
        click.echo(f"{mark:>7}  {name}: {told}")
        if not fine and worst == ExitCode.OK:
            worst = code
    return worst


def _checks(values: dict[str, Any]) -> Iterator[tuple[str, bool, str, int]]:
    from kling_batch.ledger.database import sqlite_version  # noqa: PLC0415

    system = f"Python {platform.python_version()}, SQLite {sqlite_version()}"
    yield "program", True, f"kling-batch {__version__}, {system}, {sys.platform}", 0
    yield _ledger(values)
    yield _folder(values)
    yield from _key_file()
    yield from _fal(values)


def _ledger(values: dict[str, Any]) -> tuple[str, bool, str, int]:
    from kling_batch.ledger.queries import attempt_count, service_of  # noqa: PLC0415
    from kling_batch.ledger.reader import Reader  # noqa: PLC0415

    path = ledger_path(values)
    if not path.exists():
        return "ledger", True, f"{path} will be made by the first run", 0
    try:
        with Reader.open(path) as reader:
            count, service = attempt_count(reader), service_of(reader)
    except KlingBatchError as error:
        return "ledger", False, str(error), error.exit_code
    return "ledger", True, f"{path}: {count} attempts on {service}", 0


def _folder(values: dict[str, Any]) -> tuple[str, bool, str, int]:
    folder: Path = values["output"] or ledger_path(values).parent
    there = folder
    while not there.exists():
        there = there.parent
    if not (there.is_dir() and os.access(there, os.W_OK)):
        return "output", False, f"{folder}: cannot write below {there}", ExitCode.USAGE
    return "output", True, f"{folder} can be written", 0


def _key_file() -> Iterator[tuple[str, bool, str, int]]:
    from kling_batch.fal.credentials import told_of_others  # noqa: PLC0415

    if told := told_of_others():
        yield "key file", False, told, ExitCode.OK


def _fal(values: dict[str, Any]) -> Iterator[tuple[str, bool, str, int]]:
    """The key, and whether it may read prices and the request list that finds lost submissions."""
    import anyio  # noqa: PLC0415 - the network stack loads late

    from kling_batch.fal.credentials import read_key_file  # noqa: PLC0415
    from kling_batch.operations import doctor as checkup  # noqa: PLC0415
    from kling_batch.operations.run import gateway_of  # noqa: PLC0415
    from kling_batch.settings import resolve  # noqa: PLC0415

    read_key_file()
    try:
        with gateway_of(resolve((), options_of(values))) as gateway:
            yield from anyio.run(checkup.look, gateway)
    except KlingBatchError as error:
        yield "key", False, str(error), error.exit_code
