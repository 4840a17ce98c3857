"""Rows of renditions: what was made of paid files, and what is still to be made.

They hold nothing about money, and each file can be made again, so no commit of theirs is awaited.
Must not touch an attempt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from kling_batch.core.jobs import JobKey
from kling_batch.core.records import RenditionRow, SourceFile
from kling_batch.ledger.database import explained, query
from kling_batch.ledger.durability import Durability
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader

_COLUMNS = ", ".join(f"r.{name}" for name in RenditionRow._fields)
_WANTED = RenditionRow._fields[:6]
#: Renditions of files that are in place as they were when it was made.
_CURRENT = (
    f"select {_COLUMNS}, a.job_key from renditions r join files f on f.path = r.source_path"  # noqa: S608
    " join artifacts x on x.id = f.artifact_id join attempts a on a.id = x.attempt_id"
    " where f.superseded_at is null and x.sha256 = r.source_sha256"
)


# -- reading ---------------------------------------------------------------------------------------


def has_renditions(reader: Reader) -> bool:
    """Whether the ledger has any; one of an older version has none until its next run."""
    with explained(reader.path):
        if "renditions" not in reader.db.table_names():
            return False
        first = "select 1 from renditions where path > '' limit 1"  # by its key: no scan
        return reader.db.execute(first).fetchone() is not None


def current_renditions(
    reader: Reader, keys: Iterable[JobKey] | None = None
) -> Iterator[tuple[JobKey, RenditionRow]]:
    """The renditions of the files that are in place, with the job; `keys`: of these jobs."""
    if not has_renditions(reader):
        return
    sql, parameters = f"{_CURRENT} order by r.path", list[str]()
    if keys is not None:
        among = "and a.job_key in (select value from json_each(?))"
        sql, parameters = f"{_CURRENT} {among} order by r.path", [json.dumps([*keys])]
    for row in query(reader.db, reader.path, sql, parameters):
        key = JobKey(row.pop("job_key"))
        yield key, RenditionRow(**row)


def renditions_of(reader: Reader, sources: Iterable[str]) -> dict[str, RenditionRow]:
    """What the ledger has of renditions of these stored names, by the rendition's own."""
    if not has_renditions(reader):
        return {}
    sql = (
        f"select {_COLUMNS} from renditions r"  # noqa: S608
        " where r.source_path in (select value from json_each(?))"
    )
    rows = query(reader.db, reader.path, sql, [json.dumps([*sources])])
    return {row["path"]: RenditionRow(**row) for row in rows}


def same_renditions(reader: Reader, wanted: RenditionRow) -> list[RenditionRow]:
    """What was made of the same content by the same recipe, under other names."""
    sql = (
        f"select {_COLUMNS} from renditions r where r.source_sha256 = ?"  # noqa: S608
        " and r.recipe_digest = ? and r.sha256 is not null and r.path <> ? order by r.path"
    )
    parameters = [wanted.source_sha256, wanted.recipe_digest, wanted.path]
    return [RenditionRow(**row) for row in query(reader.db, reader.path, sql, parameters)]


def source_files(reader: Reader, keys: Iterable[JobKey]) -> list[SourceFile]:
    """The files of these jobs that are in place, under all their names."""
    sql = (
        "select a.job_key, x.output_index, x.ext, f.path, x.sha256, x.size,"
        " x.content_type from attempts a join artifacts x on x.attempt_id = a.id"
        " join files f on f.artifact_id = x.id where +a.state = 'succeeded'"
        " and f.superseded_at is null and a.job_key in (select value from json_each(?))"
        " order by f.path"
    )
    rows = query(reader.db, reader.path, sql, [json.dumps([*keys])])
    return [SourceFile(**row) for row in rows]


def source_of(reader: Reader, path: str) -> SourceFile | None:
    """The file that lies in place under a stored name."""
    sql = (
        "select a.job_key, x.output_index, x.ext, f.path, x.sha256, x.size, x.content_type"
        " from files f join artifacts x on x.id = f.artifact_id"
        " join attempts a on a.id = x.attempt_id where f.superseded_at is null and f.path = ?"
    )
    for row in query(reader.db, reader.path, sql, [path]):
        return SourceFile(**row)
    return None


# -- writing ---------------------------------------------------------------------------------------


def begin_rendition(ledger: Ledger, wanted: RenditionRow) -> None:
    """Record what is about to be made: whatever lies under its name afterwards is ours."""
    marks = ", ".join("?" * (len(_WANTED) + 1))
    columns = f"{', '.join(_WANTED)}, begun_at"
    sql = f"insert or replace into renditions ({columns}) values ({marks})"  # noqa: S608
    _write(ledger, sql, [*wanted[: len(_WANTED)], ledger.stamp()])


def end_rendition(
    ledger: Ledger,
    path: str,
    *,
    sha256: str | None = None,
    size: int | None = None,
    content_type: str | None = None,
    failure: str | None = None,
) -> None:
    """Record what was made, or why nothing was."""
    made_at = None if sha256 is None else ledger.stamp()
    _write(
        ledger,
        "update renditions set sha256 = ?, size = ?, content_type = ?, made_at = ?, failure = ?"
        " where path = ?",
        [sha256, size, content_type, made_at, failure, path],
    )


def forget_renditions(ledger: Ledger, paths: Iterable[str]) -> None:
    """Remove rows of files that nobody wants any more and that are not there."""
    sql = "delete from renditions where path in (select value from json_each(?))"
    _write(ledger, sql, [json.dumps([*paths])])


def _write(ledger: Ledger, sql: str, parameters: list[Any]) -> None:
    with ledger.transaction(Durability.LATER) as db:
        db.execute(sql, parameters)
