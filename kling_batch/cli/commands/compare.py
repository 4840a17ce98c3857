"""`kling-batch compare`: a manifest's cost and time on several model generations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.options import (
    PATH,
    limit_options,
    options_of,
    pairs,
    place_options,
    service_options,
)
from kling_batch.cli.texts import columns_of_terminal, echo_text
from kling_batch.errors import ExitCode
from kling_batch.report.compare_view import Column, as_json, as_text


@click.command(epilog="Example: kling-batch compare manifest.yaml")
@click.argument("manifest", type=PATH, metavar="MANIFEST")
@click.option(
    "--models", default="", metavar="NAME,NAME", help="Which models [default: all that fit]"
)
@click.option("--set", "variables", multiple=True, metavar="KEY=VALUE", help="Set a variable")
@place_options
@limit_options
@service_options
@click.option("--json", "as_json_", is_flag=True, help="The comparison as one JSON document")
def compare(manifest: Path, models: str, variables: tuple[str, ...], **values: Any) -> int:
    """Show what a manifest would cost on other models, side by side.

    Each column is the plan of MANIFEST as if all its jobs named that model: what would be paid,
    and how long it would take. What a model cannot make is listed with the reasons. Pays nothing
    and asks nobody; what is paid already costs nothing more.
    """
    names = [name.strip().lower() for name in models.split(",") if name.strip()]
    made = operations.compare_models(
        manifest, names, options_of(values), variables=pairs(variables, "--set")
    )
    columns = [
        Column(
            model=each.model,
            plan=each.planned.plan,
            settings=each.planned.settings,
            history=each.planned.typical_seconds,
            problems=each.problems,
            left_out=each.left_out,
        )
        for each in made
    ]
    if values["as_json_"]:
        click.echo(json.dumps(as_json(columns), ensure_ascii=False, indent=2))
    else:
        echo_text(as_text(columns, columns_of_terminal()))
    return ExitCode.OK
