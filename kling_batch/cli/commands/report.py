"""`kling-batch report`: costs by batch and day, and how good the estimates were."""

from __future__ import annotations

import json
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_of, reader_of
from kling_batch.cli.options import options_of, place_options, service_options
from kling_batch.core.quantities import format_usd, micro_usd, usd_number
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import count
from kling_batch.errors import ExitCode
from kling_batch.ledger import queries
from kling_batch.report import costs
from kling_batch.settings import EMULATOR, resolve


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
        emulated = queries.service_of(reader) == EMULATOR
    if as_json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "emulated": emulated,
            "charged_usd": usd_number(money.charged),
            "exposed_usd": usd_number(money.exposed),
            "unknown_usd": usd_number(money.unknown),
            "spend": [row._asdict() for row in spend],
            "drift": [row._asdict() for row in drift],
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return ExitCode.OK
    amounts = [micro_usd(usd) for row in spend for usd in (row.charged_usd, row.exposed_usd)]
    for row, charged, exposed in zip(spend, amounts[::2], amounts[1::2], strict=True):
        attempts = count(row.attempts, "attempt")
        cost = costs.parts(charged, exposed, emulated=emulated)
        click.echo(f"{row.day}  {row.batch:<24} {attempts:>14}  {cost}")
    click.echo(f"in all  {costs.overall(money, emulated=emulated)}")
    if costs.is_rounded(amounts):
        click.echo(f"({costs.ROUNDED})")
    for entry in drift:
        ratio = "" if entry.ratio is None else f" (×{entry.ratio})"
        cost, estimate = (
            format_usd(micro_usd(usd)) for usd in (entry.cost_usd, entry.estimated_usd)
        )
        verb = "would have cost" if emulated else "cost"
        renders = count(entry.renders, "render")
        click.echo(f"{entry.endpoint}: {renders} {verb} {cost}, estimated {estimate}{ratio}")
    return ExitCode.OK
