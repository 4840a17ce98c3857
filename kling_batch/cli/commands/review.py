"""`kling-batch review`: serve the gallery on loopback, and take verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kling_batch.cli.commands.gallery import tagged_ledger
from kling_batch.cli.options import PATH, ledger_options, option
from kling_batch.core.memory import gc_spared
from kling_batch.errors import ExitCode


@click.command(epilog="Example: kling-batch review --output outputs")
@click.argument("manifests", nargs=-1, type=PATH, metavar="[MANIFEST]...")
@option("--port", type=click.IntRange(0, 65535), help="Port on loopback [default: 8766, or free]")
@click.option("--no-browser", is_flag=True, help="Only print the address")
@option("--author", metavar="NAME", help="Who judges [default: your user name]")
@ledger_options
def review(
    manifests: tuple[Path, ...],
    *,
    port: int | None,
    no_browser: bool,
    author: str | None,
    **places: Any,
) -> int:
    """Serve the gallery to approve, reject and pick takes.

    Verdicts go into the ledger, also beside a running batch. Tags are those of the last run, or
    of a manifest that is given. The address holds a token: who has it may judge. Ctrl-C ends the
    server.
    """
    # The help of the command does without a server.
    from kling_batch.operations.services import now  # noqa: PLC0415
    from kling_batch.operations.verdicts import author_of  # noqa: PLC0415
    from kling_batch.review.server import ReviewOptions, open_browser, serve  # noqa: PLC0415

    ledger, tags = tagged_ledger(manifests, places)
    options = ReviewOptions(
        ledger=ledger,
        output=output if isinstance(output := places.get("output"), Path) else ledger.parent,
        port=port,
        author=author_of(author),
        tags=tags,
    )

    def ready(address: str) -> None:
        click.echo(address)
        opened = not no_browser and open_browser(address)
        click.echo(
            f"{'Opened in your browser' if opened else 'Open it in a browser'}; Ctrl-C ends it.",
            err=True,
        )

    with gc_spared():
        serve(options, now, ready)
    click.echo("The review has ended; verdicts are in the ledger.", err=True)
    return ExitCode.OK
