"""`kling-batch catalog`: the endpoints, their parameters and prices, with source and date."""

from __future__ import annotations

import json

import click

from kling_batch.errors import ExitCode, UsageError


@click.command()
@click.argument("mode", required=False)
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON document")
def catalog(mode: str | None, *, as_json: bool) -> int:
    """List modes, tiers and prices; with MODE also its parameters and their limits."""
    from kling_batch.catalog.registry import CATALOG, MODES  # noqa: PLC0415
    from kling_batch.cli.catalog_text import as_data, details, overview  # noqa: PLC0415

    chosen = [e for e in CATALOG if mode in (None, e.mode, e.id)]
    if not chosen:
        raise UsageError(f"no mode or endpoint {mode!r}; there are: {', '.join(MODES)}")
    if as_json:
        click.echo(json.dumps(as_data(chosen), ensure_ascii=False, indent=2))
    elif mode is None:
        click.echo(overview(chosen))
    else:
        click.echo(details(chosen))
    return ExitCode.OK
