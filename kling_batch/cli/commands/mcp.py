"""`kling-batch mcp`: the program for assistants, over the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path

import click

from kling_batch.cli.options import PATH, usd
from kling_batch.core.memory import gc_spared
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import ExitCode, UsageError


@click.command(epilog="Example: kling-batch mcp --max-cost 20")
@click.option(
    "--folder", type=PATH, default=".", show_default=True, help="Folder with the manifests"
)
@click.option(
    "--max-cost", type=usd, metavar="USD", help="All runs of this server together cost at most this"
)
def mcp(folder: Path, max_cost: MicroUSD | None) -> int:
    """Serve assistants: plan freely, pay only for a reviewed plan.

    The server speaks the Model Context Protocol on standard input and output. A run needs the hash
    of a plan that the server made before, and a cap. With --max-cost no cap may be above what its
    runs have left of it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    try:
        from kling_batch.mcp.server import serve  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise UsageError("this command needs: pip install 'kling-batch[mcp]'") from None
    with gc_spared():
        serve(folder, max_cost)
    return ExitCode.OK
