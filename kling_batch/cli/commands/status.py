"""`kling-batch status`: the state of every job, from the ledger alone; also during a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kling_batch.cli.ledgers import ledger_of_manifests
from kling_batch.cli.manifests import load_manifests
from kling_batch.cli.options import PATH, ledger_options
from kling_batch.errors import ExitCode, UsageError
from kling_batch.ledger.job_list import MOST_ROWS, JobFilter, job_status
from kling_batch.ledger.reader import Reader
from kling_batch.report import status_view
from kling_batch.report.display.page import Page, utc_now
from kling_batch.report.made_values import with_values


@click.command(epilog="Example: kling-batch status manifest.yaml --watch")
@click.argument("manifests", nargs=-1, type=PATH, metavar="[MANIFEST...]")
@ledger_options
@click.option("--watch", is_flag=True, help="Draw it again every two seconds, until Ctrl-C")
@click.option("--limit", type=click.IntRange(0, MOST_ROWS), help="Name at most this many jobs")
@click.option("--json", "as_json", is_flag=True, help="One JSON document")
def status(
    manifests: tuple[Path, ...], *, watch: bool, limit: int | None, as_json: bool, **places: Any
) -> int:
    """Show the state of every job, and the costs.

    Jobs that need a person come first. Beside a run, it waits for nothing and holds nothing up.
    """
    if watch and as_json:
        raise UsageError("--watch is for people: with --json, ask again when you like")
    batches = load_manifests(manifests, ()) if manifests else ()
    names = tuple(batch.name for batch in batches) or None
    path = ledger_of_manifests(manifests, places, batches)

    def lines_of(page: Page) -> list[str]:
        with Reader.open(path) as reader:
            found = status_view.overview(reader, names)
            return [*status_view.lines(reader, found, names, page, now=utc_now(), limit=limit)]

    if watch:
        from kling_batch.report.display import watch as watching  # noqa: PLC0415 - only here

        watching.watch(lines_of)
        return ExitCode.INTERRUPTED
    if as_json:
        with Reader.open(path) as reader:
            found = status_view.overview(reader, names)
            rows = job_status(reader, JobFilter(batches=names, limit=limit))
            document = status_view.as_data(found, with_values(reader, rows))
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return ExitCode.OK
    page = Page.standard()
    page.write(lines_of(page))
    return ExitCode.OK
