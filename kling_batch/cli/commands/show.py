"""`show`, `why` and `list`: what the ledger knows of jobs, in words or JSON; during a run, too."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kling_batch.cli.options import place_options, reader_of
from kling_batch.errors import ExitCode


@click.command()
@click.argument("job")
@place_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document")
def show(job: str, *, as_json: bool, **places: Path | None) -> int:
    """Tell the story of JOB: every attempt, what happened, what it cost, its files."""
    from kling_batch.ledger.names import find  # noqa: PLC0415
    from kling_batch.report.history import as_data, story  # noqa: PLC0415

    with reader_of(places) as reader:
        named = find(reader, job)
        if as_json:
            click.echo(json.dumps(as_data(reader, named), ensure_ascii=False, indent=2))
        else:
            click.echo("\n".join(story(reader, named)))
    return ExitCode.OK


@click.command()
@click.argument("job")
@place_options
def why(job: str, **places: Path | None) -> int:
    """Say what the next run would do with JOB, why, and what has changed about it."""
    from kling_batch.ledger.names import find  # noqa: PLC0415
    from kling_batch.report.history import why as explain  # noqa: PLC0415

    with reader_of(places) as reader:
        click.echo("\n".join(explain(reader, find(reader, job))))
    return ExitCode.OK


@click.command("list")
@click.option("--state", multiple=True, help="Only jobs in this state (failed, in_doubt, …)")
@place_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line")
def list_(state: tuple[str, ...], *, as_json: bool, **places: Path | None) -> int:
    """List the ledger's jobs, one a line: state, name, price, prompt."""
    with reader_of(places) as reader:
        for row in reader.rows("select * from job_status order by batch, job_id, take"):
            if state and row["state"] not in state:
                continue
            if as_json:
                click.echo(json.dumps(row, ensure_ascii=False))
                continue
            label = row["job_id"] + (f"#{row['take']}" if row["take"] > 1 else "")
            prompt = " ".join((row["prompt"] or "").split())[:60]
            price = row["cost_usd"] if row["cost_usd"] is not None else row["estimate_usd"]
            click.echo(f"{row['state']:>10}  ${price:<7.3f} {row['batch']}/{label}  {prompt}")
    return ExitCode.OK
