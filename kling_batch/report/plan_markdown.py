"""Plan as a comment on a pull request: totals by kind, folded rows, and a marker. Pure.

The first line is a comment that names the batches, and nothing else: a bot that finds it in an
earlier comment replaces that one instead of adding another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kling_batch.core.text import clean, count
from kling_batch.planning.account import AccountUse
from kling_batch.planning.coverage import Coverage
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.report.markdown import escaped
from kling_batch.report.plan_view import (
    LABELS,
    MANY,
    History,
    footnotes,
    left_out_lines,
    paid_by_kind,
    price_text,
    totals_line,
)
from kling_batch.report.request_view import as_lines
from kling_batch.settings import Settings

#: So many rows stand open; more are folded away, so that the totals stay in sight.
OPEN_ROWS = 12

#: Characters of one cell.
LENGTH = 400

#: Characters of all folded requests: GitHub refuses a comment of more than 65,536.
REQUESTS = 30_000


def as_markdown(
    plan: Plan,
    settings: Settings,
    history: History,
    coverage: Coverage | None = None,
    account: AccountUse | None = None,
) -> str:
    """The page, in GitHub's and GitLab's Markdown."""
    moving = [item for item in plan.items if item.action is not Action.KEEP]
    notes = [*left_out_lines(plan, coverage, account), *footnotes(plan, settings, history)]
    lines = [
        marker(item.job.batch for item in plan.items),
        f"**kling-batch plan:** {totals_line(plan, settings)}",
        *_by_kind(plan),
        *_rows(moving),
        *(line for note in notes for line in ("", escaped(note))),
        *_requests(moving[:MANY]),
    ]
    return "\n".join(lines).rstrip()


def marker(batches: Iterable[str]) -> str:
    """The invisible first line by which a bot knows its own comment on these batches."""
    names = ", ".join(sorted({clean(name) for name in batches}))
    # Two hyphens would end an HTML comment.
    return f"<!-- kling-batch plan: {names.replace('--', '- -').replace('>', '')} -->"


def _by_kind(plan: Plan) -> Iterator[str]:
    """A row for each mode and tier that is paid for."""
    if not (paid := paid_by_kind(plan)):
        return
    yield from ("", "| to pay for | jobs | up to |", "|---|---:|---:|")
    for each in paid:
        yield f"| {_cell(each.kind)} | {each.jobs:,} | {each.most} |"


def _rows(moving: list[PlannedJob]) -> Iterator[str]:
    if not moving:
        return
    folded = len(moving) > OPEN_ROWS
    if folded:
        yield from ("", f"<details><summary>all {count(len(moving), 'job')}</summary>")
    yield from ("", "| | job | why | cost |", "|---|---|---|---:|")
    for item in moving[:MANY]:
        cells = (LABELS[item.action], _cell(item.job.label), _cell(item.reason), price_text(item))
        yield f"| {' | '.join(cells)} |"
    if len(moving) > MANY:
        yield f"| | … and {len(moving) - MANY:,} more | | |"
    if folded:
        yield from ("", "</details>")


def _requests(items: list[PlannedJob]) -> Iterator[str]:
    """Prompt and arguments of each job, folded away; as many as fit into a comment."""
    if not items:
        return
    yield from ("", "<details><summary>prompts and arguments</summary>", "")
    room = REQUESTS
    for shown, item in enumerate(items):
        lines = [f"- **{escaped(item.job.label)}** {escaped(item.job.endpoint)}"]
        lines += [f"  - {escaped(line)}" for line in as_lines(item.job)]
        room -= sum(map(len, lines))
        if room < 0:
            yield f"- … and {len(items) - shown:,} more (`plan --json` lists all)"
            break
        yield from lines
    yield from ("", "</details>")


def _cell(text: str) -> str:
    safe = clean(text[:LENGTH]).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return safe.replace("`", "\\`")
