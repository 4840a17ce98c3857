"""Rows of renditions: what was made of paid files, and what is still to be made.

They hold nothing about money, and the file can be made again, so no commit of theirs is awaited.
Must not touch an attempt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from kling_batch.core.jobs import JobKey
from kling_batch.core.records import RenditionRow, SourceFile
from kling_batch.ledger.database import query
from kling_batch.ledger.durability import Durability
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader

_COLUMNS = ", ".join(RenditionRow._fields)
_WANTED = RenditionRow._fields[:6]


def rendition_rows(reader: Reader) -> dict[str, RenditionRow]:
    """Every rendition that the ledger knows, by stored name."""
    if not _known(reader):
        return {}
    sql = f"select {_COLUMNS} from renditions order by path"  # noqa: S608
    rows = query(reader.db, reader.path, sql, [])
    return {row["path"]: RenditionRow(**row) for row in rows}


def rendition_row(reader: Reader, path: str) -> RenditionRow | None:
    """The rendition of this stored name."""
    sql = f"select {_COLUMNS} from renditions where path = ?"  # noqa: S608
    for row in query(reader.db, reader.path, sql, [path]):
        return RenditionRow(**row)
    return None


def _known(reader: Reader) -> bool:
    """Whether the ledger has the table: one of an older version has none until its next run."""
    sql = "select 1 from sqlite_master where type = 'table' and name = 'renditions'"
    return any(query(reader.db, reader.path, sql, []))


def source_files(reader: Reader, keys: Iterable[JobKey]) -> list[SourceFile]:
    """The files of these jobs that are in place, under all their names."""
    sql = (
        "select a.job_key, x.output_index, x.ext, f.path, x.sha256, x.size,"
        " x.content_type from attempts a join artifacts x on x.attempt_id = a.id"
        " join files f on f.artifact_id = x.id where +a.state = 'succeeded'"
        " and f.superseded_at is null and a.job_key in (select value from json_each(?))"
    )
    rows = query(reader.db, reader.path, sql, [json.dumps([*keys])])
    return [SourceFile(**row) for row in rows]


def begin_rendition(ledger: Ledger, wanted: RenditionRow) -> None:
    """Record what is about to be made: whatever lies under its name afterwards is ours."""
    marks = ", ".join("?" * (len(_WANTED) + 1))
    _write(
        ledger,
        f"insert or replace into renditions ({', '.join(_WANTED)}, begun_at) values ({marks})",  # noqa: S608
        [*wanted[: len(_WANTED)], ledger.stamp()],
    )


def end_rendition(
    ledger: Ledger,
    path: str,
    *,
    sha256: str | None = None,
    size: int | None = None,
    content_type: str | None = None,
    failure: str | None = None,
) -> RenditionRow:
    """Record what was made, or why nothing was; the row."""
    made_at = None if sha256 is None else ledger.stamp()
    _write(
        ledger,
        "update renditions set sha256 = ?, size = ?, content_type = ?, made_at = ?, failure = ?"
        " where path = ?",
        [sha256, size, content_type, made_at, failure, path],
    )
    row = rendition_row(ledger, path)
    assert row is not None
    return row


def _write(ledger: Ledger, sql: str, parameters: Sequence[Any]) -> None:
    with ledger.transaction(Durability.LATER) as db:
        db.execute(sql, parameters)
