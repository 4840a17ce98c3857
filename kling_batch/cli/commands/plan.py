"""`kling-batch plan`: what a run would do with each job, why, and what it would cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.grouped import GroupedCommand
from kling_batch.cli.manifests import load_manifests, selection_of
from kling_batch.cli.named_files import check_named_files
from kling_batch.cli.options import (
    PATH,
    limit_options,
    options_of,
    place_options,
    scheduler_option,
    schema_option,
    selection_options,
    service_options,
)
from kling_batch.cli.retype import typed
from kling_batch.cli.texts import echo_text
from kling_batch.core.text import count
from kling_batch.errors import ExitCode, UsageError
from kling_batch.planning.saved_plan import hint, to_file
from kling_batch.report.plan_view import as_json, as_text


@click.command(cls=GroupedCommand, epilog="Example: kling-batch plan manifest.yaml")
@click.argument("manifests", nargs=-1, required=True, type=PATH, metavar="MANIFEST...")
@place_options
@scheduler_option
@click.option(
    "--save", type=PATH, metavar="FILE", help="Write the plan to FILE, for `run --plan FILE`"
)
@click.option("--out", "save", type=PATH, hidden=True, help="The former name of --save")
@limit_options
@selection_options
@service_options
@schema_option
@click.option("--retry-failed", is_flag=True, help="Count failed jobs as to be tried again")
@click.option(
    "--show",
    type=click.Choice(["prompts"]),
    help="Also list what will be sent: prompt and arguments (JSON and Markdown always do)",
)
@click.option("--collect", is_flag=True, help="Without what would be paid for")
@click.option("--json", "as_json", is_flag=True, help="The plan as one JSON document")
@click.option("--markdown", is_flag=True, help="The plan as Markdown, for a pull request")
@click.option("--live-prices", is_flag=True, help="Ask fal's pricing API, too (needs a key)")
@click.option("--offline", is_flag=True, help="Ask nobody: ledger and files alone")
@click.option("--detailed-exitcode", is_flag=True, help="0: nothing to do, 2: changes")
def plan(manifests: tuple[Path, ...], **values: Any) -> int:
    """Show what `run` would do, why, and what it would cost.

    Pays nothing and changes nothing. With a key, fal's request list is asked for what is paid for.
    """
    batches = load_manifests(manifests, values["variables"])
    options = options_of(values)
    check_named_files({"--save": values["save"]}, batches, options)
    planned = operations.plan_run(batches, options, select=selection_of(values))
    view = (
        planned.plan,
        planned.settings,
        planned.typical_seconds,
        planned.coverage,
        planned.account,
    )
    for warning in planned.warnings:
        click.echo(f"warning: {warning}", err=True)
    if values["save"]:
        _write(values["save"], to_file(planned.plan, as_json(*view), options.service))
    if values["as_json"]:
        click.echo(json.dumps(as_json(*view), ensure_ascii=False, indent=2))
    elif values["markdown"]:
        from kling_batch.report.plan_markdown import as_markdown  # noqa: PLC0415 - with HTML

        click.echo(as_markdown(*view))
    else:
        echo_text(as_text(*view, prompts=values["show"] == "prompts"), hang=6)
    if planned.renditions:
        made = count(planned.renditions, "rendition")
        click.echo(f"{made} of saved files to be made by a run; they cost nothing", err=True)
    if values["live_prices"]:
        endpoints = sorted({item.job.endpoint for item in planned.plan.items})
        for line in operations.live_price_changes(endpoints, planned.settings):
            click.echo(line, err=True)  # about the prices; the plan is the data
    if values["detailed_exitcode"]:
        return 0 if planned.plan.idle and not planned.renditions else 2
    return ExitCode.OK


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    click.echo(hint(typed(str(file))), err=True)
