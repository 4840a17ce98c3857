"""The ledger that `--ledger` and `--output` name: opened to be read, or for a manual change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import click

from kling_batch import operations
from kling_batch.cli.manifests import load_manifests
from kling_batch.cli.options import ledger_path
from kling_batch.core.jobs import Batch
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader
from kling_batch.settings import RunOptions, or_emulated, resolve


def reader_of(places: Mapping[str, Path | None]) -> Reader:
    """That ledger, to be read."""
    return Reader.open(ledger_path(places))


def ledger_of_manifests(
    manifests: Sequence[Path], places: Mapping[str, Path | None], batches: Sequence[Batch] = ()
) -> Path:
    """The ledger of these manifests' run; without manifests, that of the options alone.

    `batches`: the manifests, where they are loaded already.
    """
    if not manifests:
        return ledger_path(places)
    output, ledger = places.get("output"), places.get("ledger")
    batches = batches or load_manifests(manifests, (), warn=False)
    wanted = resolve(batches, RunOptions(output=output, ledger=ledger)).ledger
    return or_emulated(wanted) if output is None and ledger is None else wanted


def ledger_of(places: Mapping[str, Path | None]) -> AbstractContextManager[Ledger]:
    """That ledger, for a manual change, recorded under the name of the command; it must exist."""
    command = click.get_current_context().command_path
    return operations.edit_ledger(ledger_path(places), command)
