"""`kling-batch show`, `why` and `list`: jobs of the ledger as text or JSON, also during a run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kling_batch.cli.ledgers import reader_of
from kling_batch.cli.options import JOB, place_options
from kling_batch.core.quantities import format_usd, micro_usd
from kling_batch.errors import ExitCode
from kling_batch.ledger.names import find
from kling_batch.ledger.queries import job_status, service_of
from kling_batch.report.history import as_data, history
from kling_batch.report.history import why as explain
from kling_batch.settings import EMULATOR


@click.command(epilog="Example: kling-batch show hero-clip")
@JOB
@place_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document")
def show(job: str, *, as_json: bool, **places: Path | None) -> int:
    """Show the history of a job: attempts, costs, files."""
    with reader_of(places) as reader:
        named = find(reader, job)
        if as_json:
            click.echo(json.dumps(as_data(reader, named), ensure_ascii=False, indent=2))
        else:
            click.echo("\n".join(history(reader, named)))
    return ExitCode.OK


@click.command(epilog="Example: kling-batch why hero-clip")
@JOB
@place_options
def why(job: str, **places: Path | None) -> int:
    """Explain what the next run would do with a job.

    Says why, and what has changed about it.
    """
    with reader_of(places) as reader:
        click.echo("\n".join(explain(reader, find(reader, job))))
    return ExitCode.OK


@click.command("list", epilog="Example: kling-batch list --state failed")
@click.option("--state", multiple=True, help="Only jobs in this state (failed, in doubt, …)")
@place_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line")
def list_(state: tuple[str, ...], *, as_json: bool, **places: Path | None) -> int:
    """List the jobs: state, price, name, prompt."""
    with reader_of(places) as reader:
        emulated = service_of(reader) == EMULATOR
        for row in job_status(reader):
            if state and row.state not in state and row.status not in state:
                continue
            if as_json:
                click.echo(json.dumps({**row._asdict(), "emulated": emulated}, ensure_ascii=False))
                continue
            prompt = " ".join((row.prompt or "").split())[:60]
            price = row.estimate_usd if row.cost_usd is None else row.cost_usd
            cost = ("would have cost " if emulated else "") + format_usd(micro_usd(price))
            click.echo(f"{row.status:>11}  {cost:<8} {row.batch}/{row.label}  {prompt}")
    return ExitCode.OK
