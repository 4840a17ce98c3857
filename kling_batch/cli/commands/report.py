"""`kling-batch report`: costs by batch and day, and how good the estimates were."""

from __future__ import annotations

import json
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_of, reader_of
from kling_batch.cli.options import options_of, place_options, service_options
from kling_batch.core.quantities import usd_number
from kling_batch.errors import ExitCode
from kling_batch.ledger import queries
from kling_batch.settings import resolve


@click.command(epilog="Example: kling-batch report --json")
@place_options
@service_options
@click.option("--billing", is_flag=True, help="First ask fal for billed costs (admin key)")
@click.option("--json", "as_json", is_flag=True, help="One JSON document")
def report(*, billing: bool, as_json: bool, **values: Any) -> int:
    """Report costs by batch and day, and how good estimates were."""
    if billing:
        with ledger_of(values) as ledger:
            bills = operations.learn_bills(ledger, resolve((), options_of(values)))
        click.echo(bills, err=True)
    with reader_of(values) as reader:
        spend, drift = queries.spend(reader), queries.drift(reader)
        money = reader.money()
    if as_json:
        document = {
            "schema_version": 1,
            "charged_usd": usd_number(money.charged),
            "exposed_usd": usd_number(money.exposed),
            "unknown_usd": usd_number(money.unknown),
            "spend": [row._asdict() for row in spend],
            "drift": [row._asdict() for row in drift],
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return ExitCode.OK
    for row in spend:
        click.echo(
            f"{row.day}  {row.batch:<24} {row.attempts:>5} attempts"
            f"  ${row.charged_usd:.3f} charged  ${row.exposed_usd:.3f} possibly owed"
        )
    click.echo(
        f"in all  ${usd_number(money.charged):.3f} charged,"
        f" ${usd_number(money.exposed - money.unknown):.3f} open,"
        f" ${usd_number(money.unknown):.3f} over and perhaps billed (--billing may tell)"
    )
    for entry in drift:
        ratio = "" if entry.ratio is None else f" (×{entry.ratio})"
        click.echo(
            f"{entry.endpoint}: {entry.renders} renders cost ${entry.cost_usd:.3f},"
            f" estimated ${entry.estimated_usd:.3f}{ratio}"
        )
    return ExitCode.OK
