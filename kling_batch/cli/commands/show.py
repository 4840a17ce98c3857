"""`kling-batch show` and `why`: one job of the ledger as text or JSON, also during a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from kling_batch.cli.current import current_of, new_job
from kling_batch.cli.ledgers import ledger_of_manifests
from kling_batch.cli.options import JOB, PATH, ledger_options
from kling_batch.errors import ExitCode, KlingBatchError, UsageError
from kling_batch.ledger.names import find
from kling_batch.ledger.reader import Reader
from kling_batch.report.display.page import Page
from kling_batch.report.history import as_data, history, why_new
from kling_batch.report.history import why as explain

_MANIFESTS = click.argument("manifests", nargs=-1, type=PATH, metavar="[MANIFEST...]")


@click.command(epilog="Example: kling-batch show hero-clip")
@JOB
@_MANIFESTS
@ledger_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document")
def show(job: str, manifests: tuple[Path, ...], *, as_json: bool, **places: Any) -> int:
    """Show the history of a job: attempts, costs, files.

    What comes next is said of MANIFEST as it stands now; without one, of that of the last run.
    """
    ledger = ledger_of_manifests(manifests, places)
    try:
        with Reader.open(ledger) as reader:
            named = find(reader, job)
            current = current_of(reader, named, manifests, places)
            if as_json:
                document = as_data(reader, named, current)
                click.echo(json.dumps(document, ensure_ascii=False, indent=2))
            else:
                _write(history(reader, named, current))
    except KlingBatchError as error:
        if not manifests:
            raise
        label = new_job(job, manifests, places, ledger).job.label
        raise UsageError(f"{label} has no history yet: no run has submitted it") from error
    return ExitCode.OK


@click.command(epilog="Example: kling-batch why hero-clip")
@JOB
@_MANIFESTS
@ledger_options
def why(job: str, manifests: tuple[Path, ...], **places: Any) -> int:
    """Explain what the next run would do with a job.

    Also why, and what has changed about it, of MANIFEST as it stands now; without one, of that of
    the last run.
    """
    ledger = ledger_of_manifests(manifests, places)
    try:
        with Reader.open(ledger) as reader:
            named = find(reader, job)
            lines = explain(reader, named, current_of(reader, named, manifests, places))
    except KlingBatchError:
        if not manifests:
            raise
        lines = why_new(new_job(job, manifests, places, ledger))
    _write(lines)
    return ExitCode.OK


def _write(lines: Iterable[str]) -> None:
    """Lines folded to the terminal, continuation lines below what they belong to."""
    page = Page.standard()
    for line in lines:
        hang = len(line) - len(line.lstrip()) + 2
        page.write(page.folded(line, hang=hang))
