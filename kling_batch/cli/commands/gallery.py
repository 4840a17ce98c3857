"""`gallery`: write the static page of all takes."""

from __future__ import annotations

from pathlib import Path

import click

from kling_batch.cli.options import ledger_path, place_options
from kling_batch.errors import ExitCode


@click.command()
@place_options
def gallery(**places: Path | None) -> int:
    """Write gallery.html beside the outputs: every take with prompt and price, in one page."""
    from kling_batch.report.gallery import write_gallery  # noqa: PLC0415 - jinja2 loads late

    ledger = ledger_path(places)
    click.echo(write_gallery(ledger, places.get("output") or ledger.parent))
    return ExitCode.OK
