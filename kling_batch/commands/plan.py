"""`kling-batch plan`: what a run would do with each job, why, and what it would cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kling_batch.commands.options import (
    PATH,
    limit_options,
    options_of,
    place_options,
    selection_options,
)
from kling_batch.errors import ExitCode


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=PATH, metavar="MANIFEST...")
@place_options
@limit_options
@selection_options
@click.option("--retry-failed", is_flag=True, help="Count failed jobs as to be tried again")
@click.option("--json", "as_json", is_flag=True, help="The plan as one JSON document")
@click.option("--detailed-exitcode", is_flag=True, help="0: nothing to do, 2: changes")
def plan(manifests: tuple[Path, ...], **values: Any) -> int:
    """Show what `run` would do with MANIFEST; asks nobody, sends nothing, writes nothing."""
    from kling_batch.commands.loading import chosen, load_all  # noqa: PLC0415
    from kling_batch.plan_text import as_json, as_text  # noqa: PLC0415
    from kling_batch.records import Reader  # noqa: PLC0415
    from kling_batch.settings import resolve  # noqa: PLC0415
    from kling_batch.survey import survey, wanted  # noqa: PLC0415

    batches = load_all(manifests, values["variables"])
    settings = resolve(batches, options_of(values))
    select = chosen(values)
    if settings.ledger.exists():
        with Reader.open(settings.ledger) as reader:
            made = survey(reader, [select(b) for b in wanted(reader, batches)], settings)
    else:
        made = survey(None, [select(batch) for batch in batches], settings)
    if values["as_json"]:
        click.echo(json.dumps(as_json(made, settings), ensure_ascii=False, indent=2))
    else:
        click.echo(as_text(made, settings))
    if values["detailed_exitcode"]:
        return 0 if made.idle else 2
    return ExitCode.OK
