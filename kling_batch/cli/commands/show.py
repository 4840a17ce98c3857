"""`kling-batch show`, `why` and `list`: jobs of the ledger as text or JSON, also during a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kling_batch.cli.current import current_of, new_job
from kling_batch.cli.ledgers import ledger_of_manifests, reader_of
from kling_batch.cli.options import JOB, PATH, ledger_options
from kling_batch.core.quantities import format_usd, micro_usd
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.errors import ExitCode, KlingBatchError, UsageError
from kling_batch.ledger.names import find
from kling_batch.ledger.queries import job_status, service_of
from kling_batch.ledger.reader import Reader
from kling_batch.report.history import as_data, history, why_new
from kling_batch.report.history import why as explain
from kling_batch.settings import EMULATOR

_MANIFESTS = click.argument("manifests", nargs=-1, type=PATH, metavar="[MANIFEST...]")


@click.command(epilog="Example: kling-batch show hero-clip")
@JOB
@_MANIFESTS
@ledger_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document")
def show(job: str, manifests: tuple[Path, ...], *, as_json: bool, **places: Any) -> int:
    """Show the history of a job: attempts, costs, files.

    What comes next is said of MANIFEST as it stands now; without one, of that of the last run.
    """
    ledger = ledger_of_manifests(manifests, places)
    try:
        with Reader.open(ledger) as reader:
            named = find(reader, job)
            current = current_of(reader, named, manifests, places)
            if as_json:
                document = as_data(reader, named, current)
                click.echo(json.dumps(document, ensure_ascii=False, indent=2))
            else:
                click.echo("\n".join(history(reader, named, current)))
    except KlingBatchError as error:
        if not manifests:
            raise
        label = new_job(job, manifests, places, ledger).job.label
        raise UsageError(f"{label} has no history yet: no run has submitted it") from error
    return ExitCode.OK


@click.command(epilog="Example: kling-batch why hero-clip")
@JOB
@_MANIFESTS
@ledger_options
def why(job: str, manifests: tuple[Path, ...], **places: Any) -> int:
    """Explain what the next run would do with a job.

    Also why, and what has changed about it, of MANIFEST as it stands now; without one, of that of
    the last run.
    """
    ledger = ledger_of_manifests(manifests, places)
    try:
        with Reader.open(ledger) as reader:
            named = find(reader, job)
            lines = explain(reader, named, current_of(reader, named, manifests, places))
    except KlingBatchError:
        if not manifests:
            raise
        lines = why_new(new_job(job, manifests, places, ledger))
    click.echo("\n".join(lines))
    return ExitCode.OK


@click.command("list", epilog="Example: kling-batch list --state failed")
@click.option("--state", multiple=True, help="Only jobs in this state (failed, in doubt, …)")
@ledger_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line")
def list_(state: tuple[str, ...], *, as_json: bool, **places: Any) -> int:
    """List the jobs: state, price, name, prompt."""
    with reader_of(places) as reader:
        emulated = service_of(reader) == EMULATOR
        for row in job_status(reader):
            if state and row.state not in state and row.status not in state:
                continue
            if as_json:
                document = {"schema_version": SCHEMA_VERSION, **row._asdict(), "emulated": emulated}
                click.echo(json.dumps(document, ensure_ascii=False))
                continue
            prompt = " ".join((row.prompt or "").split())[:60]
            price = row.estimate_usd if row.cost_usd is None else row.cost_usd
            cost = ("would have cost " if emulated else "") + format_usd(micro_usd(price))
            click.echo(f"{row.status:>11}  {cost:<8} {row.batch}/{row.label}  {prompt}")
    return ExitCode.OK
