"""`kling-batch gallery`: write the static page of all takes."""

from __future__ import annotations

from typing import Any

import click

from kling_batch.cli.ledgers import ledger_path
from kling_batch.cli.options import ledger_options
from kling_batch.errors import ExitCode
from kling_batch.report.gallery import write_gallery


@click.command(epilog="Example: kling-batch gallery --output outputs")
@ledger_options
def gallery(**places: Any) -> int:
    """Write gallery.html: every take on one page.

    It is written beside the outputs and shows each take with its prompt and price.
    """
    ledger = ledger_path(places)
    click.echo(write_gallery(ledger, places.get("output") or ledger.parent))
    return ExitCode.OK
