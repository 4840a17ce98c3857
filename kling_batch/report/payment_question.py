"""What a person at a terminal is told before the question whether to pay. Pure.

Split by mode and tier, time, and caps; the question itself is the approval's. Must not ask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kling_batch.core.quantities import format_usd
from kling_batch.core.records import Cap
from kling_batch.core.text import Tone, count
from kling_batch.planning.account import AccountUse
from kling_batch.planning.coverage import Coverage
from kling_batch.planning.plan import Plan
from kling_batch.report.display.page import Cell, Column, Page, table
from kling_batch.report.plan_view import (
    History,
    left_out_lines,
    paid_by_kind,
    time_line,
)
from kling_batch.settings import ACCOUNT_PER_DAY, PER_DAY, Settings

_COLUMNS = (
    Column("to pay for", least=6, middle=True),
    Column("jobs", right=True, spare=1),
    Column("up to", right=True),
)


def before_paying(
    page: Page,
    plan: Plan,
    settings: Settings,
    history: History,
    *,
    coverage: Coverage | None = None,
    account: AccountUse | None = None,
    warnings: Sequence[str] = (),
) -> Iterator[str]:
    """Finished lines for the page: warnings, what is left out, the split, the time and the caps."""
    for warning in warnings:
        yield from page.folded(f"warning: {warning}", Tone.WARNING)
    for note in left_out_lines(plan, coverage, account):
        yield from page.folded(note)
    paid = paid_by_kind(plan)
    rows = [[Cell(each.kind), Cell(f"{each.jobs:,}"), Cell(each.most)] for each in paid]
    yield from table(page, _COLUMNS, rows)
    if unknown := sum(each.unknown for each in paid):
        yield from page.folded(f"{count(unknown, 'job')} of unknown price beside", Tone.WARNING)
    yield from page.folded(f"{time_line(plan, settings, history)}; {_caps(settings)}")


def _caps(settings: Settings) -> str:
    """The caps in force, each with what it covers."""
    if settings.max_cost is not None:
        return f"cap {format_usd(settings.max_cost)}"
    return ", ".join(map(_cap, settings.budget.every_cap)) or "no cap (--max-cost USD sets one)"


def _cap(cap: Cap) -> str:
    limit = f"cap {format_usd(cap.limit)}"
    if cap.name == PER_DAY:
        return f"{limit} a day"
    if cap.name == ACCOUNT_PER_DAY:
        return f"{limit} a day over all hosts"
    return f"{limit} for {', '.join(cap.batches)}" if cap.batches else limit
