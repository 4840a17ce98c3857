"""`kling-batch gallery`: write the static page of all takes."""

from __future__ import annotations

from pathlib import Path

import click

from kling_batch.cli.options import ledger_path, place_options
from kling_batch.errors import ExitCode
from kling_batch.report.gallery import write_gallery


@click.command(epilog="Example: kling-batch gallery --output outputs")
@place_options
def gallery(**places: Path | None) -> int:
    """Write gallery.html: every take on one page.

    It is written beside the outputs and shows each take with its prompt and price.
    """
    ledger = ledger_path(places)
    click.echo(write_gallery(ledger, places.get("output") or ledger.parent))
    return ExitCode.OK
