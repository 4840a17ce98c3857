"""`kling-batch export`: what a ledger has, for other people and programs."""

from __future__ import annotations

from typing import Any

import click

from kling_batch.cli.ledgers import reader_of
from kling_batch.cli.options import ledger_options
from kling_batch.errors import ExitCode, UsageError
from kling_batch.report import export_lines


@click.command(epilog="Example: kling-batch export --jsonl > ledger.jsonl")
@click.option("--jsonl", is_flag=True, help="Everything, as JSON lines on standard output")
@ledger_options
def export(*, jsonl: bool, **places: Any) -> int:
    """Export what the ledger has.

    Runs, jobs with their names, attempts with their costs, events and files, a line for each.
    """
    if not jsonl:
        raise UsageError("say what to export: --jsonl")
    with reader_of(places) as reader:
        for line in export_lines.lines(reader):
            click.echo(line)
    return ExitCode.OK
