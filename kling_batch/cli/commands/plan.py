"""`kling-batch plan`: what a run would do with each job, why, and what it would cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kling_batch.cli.options import (
    PATH,
    limit_options,
    options_of,
    selection_options,
    service_options,
)
from kling_batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from kling_batch.planning.plan import Plan
    from kling_batch.settings import Settings


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=PATH, metavar="MANIFEST...")
@click.option(
    "--output", type=PATH, envvar="KLING_BATCH_OUTPUT", help="Folder of the outputs of the run"
)
@click.option("--ledger", type=PATH, envvar="KLING_BATCH_LEDGER", help="The ledger of the run")
@click.option("-o", "--out", type=PATH, help="Write the plan to FILE, for `run --plan FILE`")
@limit_options
@selection_options
@service_options
@click.option("--retry-failed", is_flag=True, help="Count failed jobs as to be tried again")
@click.option("--json", "as_json", is_flag=True, help="The plan as one JSON document")
@click.option("--markdown", is_flag=True, help="The plan as Markdown, for a pull request")
@click.option("--live-prices", is_flag=True, help="Ask fal's pricing API, too (needs a key)")
@click.option("--detailed-exitcode", is_flag=True, help="0: nothing to do, 2: changes")
def plan(manifests: tuple[Path, ...], **values: Any) -> int:
    """Show what `run` would do with MANIFEST; sends nothing and changes nothing."""
    from kling_batch.cli.manifests import chosen, load_all  # noqa: PLC0415
    from kling_batch.ledger.reader import Reader  # noqa: PLC0415
    from kling_batch.planning.builder import survey, wanted  # noqa: PLC0415
    from kling_batch.report.plan_view import as_json, as_markdown, as_text  # noqa: PLC0415
    from kling_batch.settings import resolve  # noqa: PLC0415

    batches = load_all(manifests, values["variables"])
    settings = resolve(batches, options_of(values))
    select = chosen(values)
    history: dict[str, float] = {}
    if settings.ledger.exists():
        with Reader.open(settings.ledger) as reader:
            whole = wanted(reader, batches)
            made = survey(reader, [select(batch) for batch in whole], settings, whole=whole)
            history = reader.typical_seconds()
    else:
        made = survey(None, [select(batch) for batch in batches], settings)
    if values["out"]:
        _write(values["out"], made, as_json(made, settings, history))
    if values["as_json"]:
        click.echo(json.dumps(as_json(made, settings, history), ensure_ascii=False, indent=2))
    elif values["markdown"]:
        click.echo(as_markdown(made, settings, history))
    else:
        click.echo(as_text(made, settings, history))
    if values["live_prices"]:
        _live_prices(made, settings)
    if values["detailed_exitcode"]:
        return 0 if made.idle else 2
    return ExitCode.OK


def _write(file: Path, made: Plan, document: Any) -> None:
    from kling_batch.planning.saved_plan import to_file  # noqa: PLC0415

    try:
        file.write_text(to_file(made, document), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    click.echo(f"{file}: hand it to a run with: run … --plan {file}", err=True)


def _live_prices(made: Plan, settings: Settings) -> None:
    """On standard error: it is about the prices, the plan is the data."""
    import anyio  # noqa: PLC0415 - the network stack loads late

    from kling_batch.fal.credentials import read_key_file  # noqa: PLC0415
    from kling_batch.operations import prices as live_prices  # noqa: PLC0415
    from kling_batch.operations.run import gateway_of  # noqa: PLC0415

    read_key_file()
    endpoints = sorted({item.job.endpoint for item in made.items})
    with gateway_of(settings) as gateway:
        live = anyio.run(live_prices.ask, endpoints, gateway)
    for line in live_prices.compare(endpoints, live):
        click.echo(line, err=True)
