"""The ledger that `--ledger`, `--output` and `--emulator` name: to be read, or changed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.manifests import load_manifests
from kling_batch.cli.options import options_of
from kling_batch.core.jobs import Batch
from kling_batch.core.locations import Location
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.trial import or_trial
from kling_batch.settings import DEFAULT_OUTPUT, EMULATED_LEDGER, LEDGER_NAME, resolve


def ledger_path(places: Mapping[str, Any]) -> Path:
    """The ledger that `--ledger`, `--output` and `--emulator` name.

    Where none of them is given and only the emulator has been tried here, the emulator's.
    """
    ledger: Path | None = places.get("ledger")
    output: Location | None = places.get("output")
    if ledger is not None:
        return ledger
    if isinstance(output, Path):
        return output / LEDGER_NAME
    if places.get("emulator"):
        return EMULATED_LEDGER
    real = Path(DEFAULT_OUTPUT) / LEDGER_NAME
    return real if places.get("emulator_url") else or_trial(real)


def reader_of(places: Mapping[str, Any]) -> Reader:
    """That ledger, to be read."""
    return Reader.open(ledger_path(places))


def ledger_of_manifests(
    manifests: Sequence[Path], places: Mapping[str, Any], batches: Sequence[Batch] = ()
) -> Path:
    """The ledger of these manifests' run; without manifests, that of the options alone.

    `batches`: the manifests, where they are loaded already.
    """
    if not manifests:
        return ledger_path(places)
    batches = batches or load_manifests(manifests, (), warn=False)
    wanted = resolve(batches, options_of({**places})).ledger
    named = any(places.get(name) for name in ("output", "ledger", "emulator"))
    return wanted if named else or_trial(wanted)


def ledger_of(places: Mapping[str, Any]) -> AbstractContextManager[operations.LedgerEdit]:
    """That ledger, for a manual change, recorded under the name of the command; it must exist."""
    command = click.get_current_context().command_path
    return operations.edit_ledger(ledger_path(places), command)
