"""`kling-batch report`: costs by any grouping, latencies, estimates against bills."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_of, reader_of
from kling_batch.cli.options import options_of, place_options, service_options
from kling_batch.core.diagnostics import nearest
from kling_batch.core.quantities import format_usd, micro_usd, usd_number
from kling_batch.core.records import DriftRow, Money, SpendRow
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import count
from kling_batch.errors import ExitCode, UsageError
from kling_batch.ledger import queries
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.spending import GROUPS, Latency, Spending, latencies, spending
from kling_batch.report import costs, spending_view
from kling_batch.report.display.page import Page
from kling_batch.report.verdicts import Usage, usage
from kling_batch.settings import EMULATOR, resolve

#: How `report` groups where nothing else is asked for.
_USUAL = ("day", "batch")


def _by(context: click.Context, option: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001 - click's signature
    """Names of groupings; several in one word are separated by commas."""
    names = [name.strip().lower() for word in words for name in word.split(",") if name.strip()]
    for name in names:
        if name not in GROUPS:
            hint = nearest(name, GROUPS)
            raise click.BadParameter(
                f"{name!r} is not one of {', '.join(GROUPS)}" + (f"; {hint}" if hint else "")
            )
    return tuple(dict.fromkeys(names))


@click.command(epilog="Example: kling-batch report --by mode,tier --csv")
@place_options
@service_options
@click.option("--billing", is_flag=True, help="First ask fal for billed costs (admin key)")
@click.option(
    "--by",
    multiple=True,
    callback=_by,
    metavar="A,B,…",
    help=f"Group by: {', '.join(GROUPS)} [default: {','.join(_USUAL)}]",
)
@click.option("--csv", "as_csv", is_flag=True, help="The groups as CSV with a header")
@click.option("--json", "as_json", is_flag=True, help="One JSON document")
def report(
    *, billing: bool, by: tuple[str, ...], as_csv: bool, as_json: bool, **values: Any
) -> int:
    """Report costs by batch and day, and how good estimates were.

    Also how long renders took. Only failures have a reason: `--by reason` counts those.
    """
    if as_csv and as_json:
        raise UsageError("--csv or --json, not both")
    if billing:
        with ledger_of(values) as edit:
            bills = operations.learn_bills(edit.ledger, resolve((), options_of(values)))
        click.echo(bills, err=True)
    by = by or _USUAL
    with reader_of(values) as reader:
        rows = spending(reader, by)
        if as_csv:
            for line in spending_view.as_csv(rows, by):
                click.echo(line)
            return ExitCode.OK
        found = _Found.of(reader)
    if as_json:
        document = {**found.as_data(), "by": by, "groups": spending_view.as_data(rows, by)}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return ExitCode.OK
    page = Page.standard()
    page.write(found.lines(rows, by, page))
    return ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a report tells beside its groups."""

    money: Money
    emulated: bool
    spend: list[SpendRow]
    drift: list[DriftRow]
    latency: list[Latency]
    used: Usage | None

    @classmethod
    def of(cls, reader: Reader) -> _Found:
        return cls(
            money=reader.money(),
            emulated=queries.service_of(reader) == EMULATOR,
            spend=queries.spend(reader),
            drift=queries.drift(reader),
            latency=latencies(reader),
            used=usage(reader),
        )

    def as_data(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "emulated": self.emulated,
            "charged_usd": usd_number(self.money.charged),
            "exposed_usd": usd_number(self.money.exposed),
            "unknown_usd": usd_number(self.money.unknown),
            "spend": [row._asdict() for row in self.spend],
            "drift": [row._asdict() for row in self.drift],
            "latency": [row._asdict() for row in self.latency],
            "takes_used": self.used.as_json() if self.used else None,
        }

    def lines(self, rows: Sequence[Spending], by: Sequence[str], page: Page) -> Iterator[str]:
        yield from spending_view.lines(rows, by, page, emulated=self.emulated)
        yield from page.folded(f"in all  {costs.overall(self.money, emulated=self.emulated)}")
        if costs.is_rounded([n for row in rows for n in (row.charged, row.exposed)]):
            yield from page.folded(f"({costs.ROUNDED})")
        for entry in self.drift:
            yield from page.folded(_drift(entry, emulated=self.emulated))
        yield from spending_view.latency_lines(self.latency, page)
        if self.used:
            yield from page.folded(self.used.as_text(emulated=self.emulated))


def _drift(entry: DriftRow, *, emulated: bool) -> str:
    """What the renders of an endpoint cost, against their estimates."""
    ratio = "" if entry.ratio is None else f" (×{entry.ratio:.2f})"
    cost, estimate = (format_usd(micro_usd(usd)) for usd in (entry.cost_usd, entry.estimated_usd))
    verb = "would have cost" if emulated else "cost"
    renders = count(entry.renders, "render")
    return f"{entry.endpoint}: {renders} {verb} {cost}, estimated {estimate}{ratio}"
