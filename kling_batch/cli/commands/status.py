"""`kling-batch status`: the state of every job, from the ledger alone; also during a run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from kling_batch.cli.ledgers import ledger_of_manifests
from kling_batch.cli.manifests import load_manifests
from kling_batch.cli.options import PATH, ledger_options
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.quantities import usd_number
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.errors import ExitCode
from kling_batch.ledger.queries import job_status, service_of
from kling_batch.ledger.reader import Reader
from kling_batch.report.costs import totals
from kling_batch.settings import EMULATOR


@click.command(epilog="Example: kling-batch status manifest.yaml")
@click.argument("manifests", nargs=-1, type=PATH, metavar="[MANIFEST...]")
@ledger_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document")
def status(manifests: tuple[Path, ...], *, as_json: bool, **places: Any) -> int:
    """Show the state of every job, and the costs."""
    batches = load_manifests(manifests, ()) if manifests else ()
    names = tuple(batch.name for batch in batches)
    path = ledger_of_manifests(manifests, places, batches)
    with Reader.open(path) as reader:
        emulated = service_of(reader) == EMULATOR
        rows = [row for row in job_status(reader) if not names or row.batch in names]
        money = reader.money(names or None)
    if as_json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "ledger": str(path),
            "emulated": emulated,
            "charged_usd": usd_number(money.charged),
            "exposed_usd": usd_number(money.exposed),
            "unknown_usd": usd_number(money.unknown),
            "jobs": [row._asdict() for row in rows],
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return ExitCode.OK
    for row in rows:
        ended = row.status in (JobStatus.FAILED, JobStatus.CANCELLED)
        details = row.failure if ended else row.files
        click.echo(f"{row.status:>11}  {row.label}  {details or ''}".rstrip())
    counts = Counter(row.status for row in rows)
    summary = ", ".join(f"{counts[word]} {word}" for word in JobStatus if counts[word])
    click.echo(f"{summary or 'no jobs'}; {totals(money, emulated=emulated)}")
    return ExitCode.OK
