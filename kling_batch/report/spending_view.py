"""Costs of a ledger by any grouping, latencies, estimates against bills, for `report`.

Must not read the ledger, and must not add anything up that is not in a table it prints.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from kling_batch.core.jobs import JSON
from kling_batch.core.quantities import duration, format_usd, usd_number
from kling_batch.core.text import Tone, clean, count
from kling_batch.ledger.spending import Latency, Spending
from kling_batch.report.display.page import Cell, Column, Page, table

_NUMBERS = ("attempts", "renders", "failed", "billed")
#: Columns of a terminal from which on a title may be long; the line of the totals says the rest.
_ROOMY = 60
_AMOUNTS = ("charged", "exposed", "unknown", "estimated", "cost")


def as_data(rows: Sequence[Spending], by: Sequence[str]) -> list[dict[str, JSON]]:
    """A JSON object for each group."""
    return [
        {
            **dict(zip(by, row.group, strict=True)),
            **{name: getattr(row, name) for name in _NUMBERS},
            **{f"{name}_usd": usd_number(getattr(row, name)) for name in _AMOUNTS},
            "ratio": row.ratio,
        }
        for row in rows
    ]


def as_csv(rows: Sequence[Spending], by: Sequence[str]) -> Iterator[str]:
    """Lines of CSV with a header, the same fields as in JSON."""
    names = [*by, *_NUMBERS, *(f"{name}_usd" for name in _AMOUNTS), "ratio"]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_data(rows, by))
    yield from out.getvalue().splitlines()


def lines(
    rows: Sequence[Spending], by: Sequence[str], page: Page, *, emulated: bool
) -> Iterator[str]:
    """A line for each group, aligned; a sentence where there is none."""
    if not rows:
        failed = "no attempt has failed, and only failures have a reason"
        yield from page.folded(failed if "reason" in by else "nothing has been submitted yet")
        return
    roomy = page.width is None or page.width >= _ROOMY
    titles = ("would have cost", "perhaps more") if emulated else ("charged", "possibly owed")
    charged_title, exposed_title = titles if roomy else ("cost" if emulated else "paid", "more?")
    columns = [
        *(Column(name, least=14, middle=name == "endpoint", piped=10) for name in by),
        Column("attempts", right=True, spare=2, piped=14),
        Column("failed", right=True, spare=3, piped=10),
        Column(charged_title, right=True, piped=8),
        Column(exposed_title, right=True, piped=8),
        Column("cost of estimate", right=True, spare=4, piped=5),
    ]
    piped = page.width is None

    def cells(row: Spending) -> Iterator[Cell]:
        yield from (Cell(clean(word)) for word in row.group)
        yield Cell(count(row.attempts, "attempt") if piped else f"{row.attempts:,}")
        failed = f"{row.failed:,}" if row.failed else ""
        tone = Tone.BAD if row.failed else Tone.PLAIN
        yield Cell(f"{failed or 0} failed" if piped else failed, tone)
        charged, exposed = format_usd(row.charged), format_usd(row.exposed)
        if piped:
            charged = f"would have cost {charged}" if emulated else f"{charged} charged"
            exposed = f"perhaps {exposed} more" if emulated else f"{exposed} possibly owed"
        yield Cell(charged)
        yield Cell(exposed if row.exposed or piped else "")
        yield Cell("" if row.ratio is None else f"×{row.ratio:.2f}")

    yield from table(page, columns, ([*cells(row)] for row in rows))


def latency_lines(rows: Sequence[Latency], page: Page) -> Iterator[str]:
    """How long renders took, a line for each endpoint."""
    for row in rows:
        times = ", ".join(
            f"{name} {duration(seconds)}"
            for name, seconds in (
                ("half within", row.p50),
                ("90 % within", row.p90),
                ("99 % within", row.p99),
                ("the longest", row.longest),
            )
        )
        renders = count(row.renders, "render")
        yield from page.folded(f"{clean(row.endpoint)}: {renders} timed, {times}")
