"""`kling-batch renditions`: posters, transcodes and the like of what is saved already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_of_manifests
from kling_batch.cli.manifests import load_manifests, selection_of, warn_of
from kling_batch.cli.options import PATH, job_options, ledger_options, scheduler_option
from kling_batch.core.events import EventKind, RunEvent
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import clean, count
from kling_batch.errors import UsageError


@click.command(epilog="Example: kling-batch renditions manifest.yaml")
@click.argument("manifests", nargs=-1, type=PATH, metavar="[MANIFEST]...")
@ledger_options
@job_options
@scheduler_option
@click.option("--workers", type=click.IntRange(1, 64), help="Processes at most")
@click.option("--json", "as_json", is_flag=True, help="What was made as one document")
def renditions(
    manifests: tuple[Path, ...],
    *,
    workers: int | None,
    scheduler: str | None,
    as_json: bool,
    **values: Any,
) -> int:
    """Make missing renditions of what is saved; needs no key.

    Nothing is sent or paid: posters, transcodes and whatever else MANIFEST has under `renditions:`
    are made of the files that lie in the output folder. Without a MANIFEST, what was made once and
    is missing now. A run does the same beside its work.
    """
    if not manifests and (values["only"] or values["exclude"] or values["tag"]):
        raise UsageError("--only, --exclude and --tag select jobs of a MANIFEST: name it, too")
    batches = load_manifests(manifests, values["variables"]) if manifests else ()
    warn_of(tuple(operations.lacking(batches)))
    made: list[Any] = []
    failed: list[Any] = []

    def notify(event: RunEvent) -> None:
        message = clean(event.message)
        if event.kind is EventKind.RENDITION:
            made.append(event.data)
            click.echo(message, err=as_json)
        elif event.kind is EventKind.RENDITION_FAILED:
            failed.append(event.data)
            of = event.job or event.data["of"]
            click.echo(f"not made: {clean(of)}, {message}", err=True)
        else:
            click.echo(message, err=True)

    totals, code = operations.make_renditions(
        ledger_of_manifests(manifests, values, batches),
        batches,
        notify=notify,
        command=click.get_current_context().command_path,
        select=selection_of(values),
        workers=workers,
        scheduler=scheduler,
    )
    if as_json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "made": made,
            "failed": failed,
            "left": totals.left,
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    left = f", {totals.left:,} left" if totals.left else ""
    not_made = f", {len(totals.failed):,} not made" if totals.failed else ""
    click.echo(f"{count(totals.made, 'rendition')} made{not_made}{left}", err=True)
    return code
