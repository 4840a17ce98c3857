"""Comparison of a manifest on several model generations, as a table and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kling_batch.catalog.registry import by_id
from kling_batch.core.jobs import JSON
from kling_batch.core.quantities import duration, format_usd, usd_number
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import clean, count
from kling_batch.errors import Problem
from kling_batch.planning.plan import Action, Plan, is_paid
from kling_batch.report.plan_view import Paid, paid_by_words, paid_for, wall_time
from kling_batch.settings import Settings

#: Nothing is made of these, and nothing was.
_NOT_MADE = (Action.HOLD, Action.SETTLED, Action.BLOCKED, Action.DECLINED)

#: So many of the reasons are listed for each generation.
MOST_REASONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One generation: what it would make of the manifest, and what not."""

    model: str
    plan: Plan
    settings: Settings
    history: Mapping[str, float]
    problems: Sequence[Problem]
    left_out: Sequence[str]

    @property
    def seconds(self) -> float:
        """Seconds until the last render."""
        return wall_time(self.plan, self.settings, self.history)

    @property
    def paid(self) -> Paid:
        """All that it would pay for."""
        return paid_for("total", [item.job for item in self.plan.items if is_paid(item)])

    @property
    def paid_before(self) -> int:
        """How many jobs cost nothing, because they or others like them are paid for."""
        return len(self.plan.items) - self.paid.jobs - self.plan.count(*_NOT_MADE)

    @property
    def unmade(self) -> int:
        """How many jobs a run would leave unmade, whatever is decided about drafts."""
        return self.plan.count(*_NOT_MADE) - self.plan.count(Action.HOLD)

    def notes(self) -> list[str]:
        """Why its prices are not exact, each once."""
        paid = (item.job.estimate_note for item in self.plan.items if is_paid(item))
        return sorted({note for note in paid if note})

    def doubts(self) -> list[str]:
        """Why its endpoints are in doubt, each once."""
        used = {item.job.endpoint for item in self.plan.items if is_paid(item) and item.job.mode}
        return sorted({e.doubt for e in map(by_id, used) if e is not None and e.doubt})


def as_text(columns: Sequence[Column], width: int | None = None) -> str:
    """A row for each mode and tier, a column for each generation; then what each cannot do.

    Where the table is wider than the terminal, a paragraph for each generation.
    """
    lines = [*_table(_rows(columns))]
    if width is not None and max(map(len, lines)) > width:
        lines = [*_paragraphs([*_rows(columns)])]
    return "\n".join([*lines, *_reasons(columns)])


def _paragraphs(table: Sequence[Sequence[str]]) -> Iterator[str]:
    for number, model in enumerate(table[0][1:], start=1):
        yield model
        told = ((row[0], row[number]) for row in table[1:])
        yield from (f"  {name}: {value}" for name, value in told if value not in ("", "-"))


def _rows(columns: Sequence[Column]) -> Iterator[list[str]]:
    yield ["", *(column.model for column in columns)]
    kinds = [paid_by_words(column.plan) for column in columns]
    totals = [column.paid for column in columns]
    for kind in dict.fromkeys(kind for each in kinds for kind in each):
        yield [" ".join(filter(None, kind)), *(_cell(each.get(kind)) for each in kinds)]
    yield ["total", *map(_cell, totals)]
    times = zip(columns, totals, strict=True)
    yield ["time, about", *(duration(c.seconds) if total.jobs else "" for c, total in times)]
    if any(column.plan.count(Action.HOLD) for column in columns):
        yield ["awaiting verdicts", *(_waiting(column.plan) for column in columns)]
    if any(column.paid_before for column in columns):
        yield ["not paid again", *(str(column.paid_before) for column in columns)]
    if any(column.unmade for column in columns):
        yield ["not made", *(str(column.unmade) for column in columns)]
    if any(column.left_out for column in columns):
        yield ["cannot be made", *(str(len(column.left_out)) for column in columns)]


def _waiting(plan: Plan) -> str:
    """What is not paid before a person has judged its draft, and would cost then."""
    return f"{plan.count(Action.HOLD):,} for {format_usd(plan.awaiting_cost)}"


def _cell(paid: Paid | None) -> str:
    return "-" if paid is None else f"{paid.jobs:,} for {paid.most}"


def _table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    table = list(rows)
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
    for first, *others in table:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join([first.ljust(widths[0]), *cells]).rstrip()


def _reasons(columns: Sequence[Column]) -> Iterator[str]:
    for column in columns:
        if column.left_out:
            jobs = ", ".join(column.left_out[:MOST_REASONS])
            yield ""
            yield f"{column.model} cannot make {count(len(column.left_out), 'job')}: {clean(jobs)}"
        yield from (f"  {clean(str(problem))}" for problem in column.problems[:MOST_REASONS])
        if len(column.problems) > MOST_REASONS:
            yield f"  … and {len(column.problems) - MOST_REASONS} more (--json lists all)"
    noted = [(c.model, [*c.notes(), *c.doubts()]) for c in columns]
    if any(notes for _, notes in noted):
        yield ""
    for model, notes in noted:
        yield from (f"{model}: {clean(note)}" for note in notes)


def as_json(columns: Sequence[Column]) -> JSON:
    """The same as JSON values."""
    return {"schema_version": SCHEMA_VERSION, "models": [_as_json(column) for column in columns]}


def _as_json(column: Column) -> JSON:
    total = column.paid
    return {
        "model": column.model,
        "cost_usd": usd_number(column.plan.cost),
        "wall_time_seconds": round(column.seconds),
        "jobs_to_pay": total.jobs,
        "jobs_of_unknown_price": total.unknown,
        "jobs_awaiting_verdict": column.plan.count(Action.HOLD),
        "awaiting_verdicts_usd": usd_number(column.plan.awaiting_cost),
        "jobs_not_paid_again": column.paid_before,
        "rows": [
            {
                "mode": mode if tier else None,
                "tier": tier or None,
                "endpoint": None if tier else mode,
                "jobs": paid.jobs,
                "cost_usd": usd_number(paid.cost),
                "jobs_of_unknown_price": paid.unknown,
            }
            for (mode, tier), paid in paid_by_words(column.plan).items()
        ],
        "cannot": list(column.left_out),
        "problems": [
            {
                "file": problem.place.file,
                "line": problem.place.line,
                "column": problem.place.column,
                "cell": problem.place.cell or None,
                "code": problem.code,
                "message": problem.message,
                "hint": problem.hint or None,
            }
            for problem in column.problems
        ],
        "notes": [*column.notes(), *column.doubts()],
    }
