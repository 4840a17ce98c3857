"""Jobs of a ledger as a table, CSV or JSON lines, with the columns that were asked for.

Must not choose the jobs: that is `ledger/job_list.py`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kling_batch.core.jobs import JobKey
from kling_batch.core.outcomes import Charged
from kling_batch.core.quantities import format_usd, micro_usd
from kling_batch.core.records import RenditionRow, StatusRow
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import Tone, clean
from kling_batch.core.verdicts import VerdictRow
from kling_batch.report.display.page import Cell, Column, Page, table
from kling_batch.report.status_view import row_data
from kling_batch.report.verdicts import verdict_of


class ListColumn(NamedTuple):
    """A column of `list`: how it is laid out, and its text."""

    layout: Column
    text: Callable[[StatusRow], str]


def _cost(row: StatusRow) -> str:
    """What the latest attempt cost, or may cost."""
    if row.charged == Charged.NO or row.origin == "adopted":
        return format_usd(0)
    return format_usd(micro_usd(row.estimate_usd if row.cost_usd is None else row.cost_usd))


def _one_line(text: str | None) -> str:
    return clean(text or "")


COLUMNS: dict[str, ListColumn] = {
    "state": ListColumn(Column("state", least=9, piped=11), lambda row: row.status.value),
    "cost": ListColumn(Column("cost", right=True, piped=8), _cost),
    "estimate": ListColumn(
        Column("estimate", right=True, spare=2, piped=8),
        lambda row: format_usd(micro_usd(row.estimate_usd)),
    ),
    "job": ListColumn(
        Column("job", least=20, middle=True, piped=1),
        lambda row: _one_line(f"{row.batch}/{row.label}"),
    ),
    "mode": ListColumn(
        Column("mode", least=13, spare=5, piped=14), lambda row: _one_line(row.mode)
    ),
    "tier": ListColumn(Column("tier", spare=6, piped=8), lambda row: _one_line(row.tier)),
    "prompt": ListColumn(
        Column("prompt", least=12, spare=9, piped=1), lambda row: _one_line(row.prompt)
    ),
    "failure": ListColumn(
        Column("failure", least=12, spare=7, piped=1), lambda row: _one_line(row.failure)
    ),
    "files": ListColumn(
        Column("files", least=12, middle=True, spare=8, piped=1), lambda row: _one_line(row.files)
    ),
    "value": ListColumn(
        Column("value", least=12, middle=True, spare=7, piped=1), lambda row: _one_line(row.value)
    ),
    "time": ListColumn(
        Column("time", spare=4, piped=20),
        lambda row: f"{row.tried_at[:19]}Z" if row.tried_at else "",
    ),
    "endpoint": ListColumn(
        Column("endpoint", least=8, middle=True, spare=9, piped=1),
        lambda row: _one_line(row.endpoint),
    ),
    "request": ListColumn(
        Column("request", least=8, middle=True, spare=8, piped=1),
        lambda row: _one_line(row.request_id),
    ),
    "key": ListColumn(Column("key", spare=9, piped=1), lambda row: row.job_key),
}

#: The columns of a table where none are asked for.
USUAL = ("state", "cost", "job", "mode", "tier", "prompt")

#: Columns of a terminal from which on a title may be long.
_ROOMY = 60


def as_table(
    rows: Iterable[StatusRow], names: Sequence[str], page: Page, *, emulated: bool, several: bool
) -> Iterator[str]:
    """Aligned lines; on a terminal with titles, each line cut to its width.

    `several`: the ledger has several batches, so that a name needs its batch.
    """
    chosen = [COLUMNS[name] for name in names]
    layouts = [column.layout for column in chosen]
    narrow = page.width is not None and page.width < _ROOMY
    if emulated and not narrow:
        layouts = [
            layout._replace(title="would have cost") if layout.title == "cost" else layout
            for layout in layouts
        ]
    words = emulated and page.width is None  # a table on a pipe has no titles that could say so

    def cells(row: StatusRow) -> Iterator[Cell]:
        for name, column in zip(names, chosen, strict=True):
            text = column.text(row)
            if name == "state":
                yield Cell(text, row.status.tone)
            elif name == "job" and page.width is not None and not several:
                yield Cell(_one_line(row.label))
            elif name == "cost" and words:
                yield Cell(f"would have cost {text}")
            else:
                yield Cell(text, Tone.BAD if name == "failure" else Tone.PLAIN)

    yield from table(page, layouts, ([*cells(row)] for row in rows))
    if emulated and narrow and "cost" in names:
        yield from page.folded("Costs are what it would have cost on fal.", Tone.DIM)


def as_csv(rows: Iterable[StatusRow], names: Sequence[str]) -> Iterator[str]:
    """Lines of CSV with a header; amounts are plain numbers of US dollars."""
    yield _csv_line(names)
    for row in rows:
        texts = (COLUMNS[name].text(row) for name in names)
        yield _csv_line(
            text.removeprefix("$").replace(",", "") if name in ("cost", "estimate") else text
            for name, text in zip(names, texts, strict=True)
        )


def _csv_line(values: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def by_job(
    renditions: Iterable[tuple[JobKey, RenditionRow]],
) -> dict[JobKey, list[RenditionRow]]:
    """The renditions of each job."""
    found: dict[JobKey, list[RenditionRow]] = {}
    for key, row in renditions:
        found.setdefault(key, []).append(row)
    return found


def as_json_lines(
    rows: Iterable[StatusRow],
    verdicts: Mapping[JobKey, VerdictRow],
    renditions: Mapping[JobKey, Sequence[RenditionRow]],
    *,
    emulated: bool,
) -> Iterator[str]:
    """A JSON object for each job, with everything that the ledger has of it."""
    for row in rows:
        document = {
            "schema_version": SCHEMA_VERSION,
            **row_data(row),
            "emulated": emulated,
            "verdict": verdict_of(row, verdicts),
            "renditions": [_rendition(each) for each in renditions.get(JobKey(row.job_key), ())],
        }
        yield json.dumps(document, ensure_ascii=False)


def _rendition(row: RenditionRow) -> dict[str, str | int | None]:
    """A rendition, its paths as those of the job's files."""
    return {
        "rendition": row.name,
        "of": row.source_path,
        "path": row.path,
        "sha256": row.sha256,
        "size": row.size,
        "content_type": row.content_type,
        "failure": row.failure,
    }
