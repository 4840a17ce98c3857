"""`kling-batch gallery`: write the static page of all takes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kling_batch.cli.ledgers import ledger_of_manifests
from kling_batch.cli.manifests import load_manifests
from kling_batch.cli.options import PATH, duration, ledger_options
from kling_batch.cli.retype import typed
from kling_batch.core.jobs import JobKey
from kling_batch.errors import ExitCode, UsageError
from kling_batch.report.gallery import LINKS_LAST, write_gallery
from kling_batch.shown_location import shown


@click.command(epilog="Example: kling-batch gallery --output outputs")
@click.argument("manifests", nargs=-1, type=PATH, metavar="[MANIFEST]...")
@click.option(
    "--expires",
    type=duration,
    metavar="DURATION",
    help="How long links into an object store are valid [default: 7d]",
)
@ledger_options
def gallery(manifests: tuple[Path, ...], *, expires: float | None, **places: Any) -> int:
    """Write gallery.html: every take on one page.

    It is written beside the outputs, with small images of them in .posters, and shows each take
    with its prompt and price. Tags are those of the last run, or of a manifest that is given. To
    judge takes, see: kling-batch review. With an address as --output, it is put into that object
    store.
    """
    ledger, tags = tagged_ledger(manifests, places)
    folder = places.get("output") or ledger.parent
    lasting = LINKS_LAST if expires is None else max(1, int(expires))
    try:
        page = write_gallery(ledger, folder, expires=lasting, tags=tags, on_progress=_show_progress)
    except OSError as error:
        raise UsageError(
            f"the page cannot be written into {shown(folder)}: {error.strerror or error}; "
            f"elsewhere: kling-batch gallery --ledger {typed(shown(ledger))} --output FOLDER"
        ) from error
    click.echo(page)
    return ExitCode.OK


def tagged_ledger(
    manifests: tuple[Path, ...], places: Mapping[str, Any]
) -> tuple[Path, dict[JobKey, tuple[str, ...]]]:
    """The ledger of the options, or of these manifests; and the tags of their jobs."""
    batches = load_manifests(manifests, (), warn=False) if manifests else []
    ledger = ledger_of_manifests(manifests, places, batches)
    return ledger, {job.key: job.tags for batch in batches for job in batch.jobs}


def _show_progress(done: int, of: int) -> None:
    """A line that counts, on a terminal: the first page of a long batch takes a minute."""
    if of >= 20 and sys.stderr.isatty():
        click.echo(f"\rposters: {done:,} of {of:,}", nl=done == of, err=True)
