"""The ledger that `--ledger` and `--output` name: opened to be read, or for a manual change."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import click

from kling_batch import operations
from kling_batch.cli.options import ledger_path
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader


def reader_of(places: Mapping[str, Path | None]) -> Reader:
    """That ledger, to be read."""
    return Reader.open(ledger_path(places))


def ledger_of(places: Mapping[str, Path | None]) -> AbstractContextManager[Ledger]:
    """That ledger, for a manual change, recorded under the name of the command; it must exist."""
    command = click.get_current_context().command_path
    return operations.edit_ledger(ledger_path(places), command)
