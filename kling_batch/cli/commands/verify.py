"""`kling-batch verify`: keys, histories, sums and files, derived again and compared."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_path, reader_of
from kling_batch.cli.options import options_of, place_options, scheduler_option, service_options
from kling_batch.core.events import EventKind, RunEvent
from kling_batch.core.text import count
from kling_batch.errors import ExitCode
from kling_batch.ledger.queries import batch_names
from kling_batch.output.store import OutputStore
from kling_batch.report.display.choose import choose


@click.command(epilog="Example: kling-batch verify --repair")
@place_options
@service_options
@scheduler_option
@click.option(
    "--repair", is_flag=True, help="Fetch or make what is missing or changed; costs nothing"
)
def verify(*, repair: bool, **values: Any) -> int:
    """Check the ledger against itself and the files on disk."""
    path = ledger_path(values)
    with reader_of(values) as reader:
        verdict = operations.verify_ledger(reader, OutputStore({}, path.parent))
    for finding in verdict.findings:
        click.echo(f"{finding.subject}: {finding.message}")
    found = len(verdict.findings)
    jobs, attempts = count(verdict.jobs, "job"), count(verdict.attempts, "attempt")
    files = count(verdict.files, "file")
    if verdict.renditions:
        files += f", {count(verdict.renditions, 'rendition')}"
    click.echo(
        f"{jobs}, {attempts}, {files}: "
        + (count(found, "finding") if found else "everything fits"),
        err=True,
    )
    wanted = {f.repairable for f in verdict.findings if f.repairable is not None}
    again = {finding.subject for finding in verdict.findings if finding.rendition}
    if not repair or not (wanted or again):
        return ExitCode.SOME_FAILED if found else ExitCode.OK
    code = _repair(wanted, path, values) if wanted else ExitCode.OK
    if again:
        command = click.get_current_context().command_path
        operations.make_renditions(
            path,
            (),
            again=again,
            notify=_tell,
            command=command,
            scheduler=values["scheduler"],
        )
    with reader_of(values) as reader:
        left = operations.verify_ledger(reader, OutputStore({}, path.parent)).findings
    for finding in left:
        click.echo(f"still: {finding.subject}: {finding.message}")
    return ExitCode.SOME_FAILED if left and code == ExitCode.OK else code


def _tell(event: RunEvent) -> None:
    of = f"{event.data['of']}, " if "of" in event.data else ""
    made = event.kind is EventKind.RENDITION
    click.echo(event.message if made else f"not made: {of}{event.message}", err=True)


def _repair(wanted: set[int], path: Path, values: Mapping[str, Any]) -> int:
    with reader_of(values) as reader:
        names = batch_names(reader)
    display = choose(
        json=False, quiet=False, stream_is_terminal=sys.stderr.isatty(), environ=os.environ
    )
    output = values["output"] or path.parent
    options = options_of({**values, "output": output, "ledger": path})
    try:
        return operations.repair_files(path, wanted, names, options, display)
    finally:
        display.close()
