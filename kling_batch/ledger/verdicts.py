"""Verdicts of people in the ledger: an append-only history, of which the latest row counts.

Written by short transactions of their own connection, also beside a running batch, whose run lock
they neither need nor touch. Must not plan or pay: the next run reads what is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from kling_batch.core.jobs import JobKey
from kling_batch.core.quantities import format_time
from kling_batch.core.verdicts import TYPED_VERDICTS, Verdict, VerdictRow
from kling_batch.errors import UsageError
from kling_batch.ledger.database import connect_beside, explained, transaction
from kling_batch.ledger.reader import AMONG, Reader
from kling_batch.ledger.row_values import query_as

LONGEST_NOTE = 10_000

_COLUMNS = "v.id, v.job_key, v.attempt_id, v.verdict, v.note, v.author, v.at"
#: The latest verdict of each job. One on a render that was given up and made anew judges another
#: picture, so it counts no longer.
_LATEST = (
    f"select {_COLUMNS} from verdicts v"  # noqa: S608
    " where v.id = (select max(id) from verdicts where job_key = v.job_key)"
    " and (v.attempt_id is null or v.attempt_id ="
    "  (select max(id) from attempts where job_key = v.job_key))"
)


# -- writing ---------------------------------------------------------------------------------------


def record_verdict(
    path: Path,
    key: JobKey,
    verdict: Verdict,
    note: str = "",
    author: str = "",
    *,
    at: datetime,
) -> VerdictRow:
    """Append a verdict on the take `key`; also while a run holds the ledger.

    Of the takes of one job id at most one is picked: the take that was picked before goes back to
    the verdict that it had before its pick, in a row of its own.

    Raises:
        UsageError: the ledger knows no such job, it has no finished render, or the note is too
            long.
        LedgerError: no ledger, one that another program holds, or no right to write it.
    """
    if len(note) > LONGEST_NOTE:
        raise UsageError(f"the note has {len(note)} characters; at most {LONGEST_NOTE} are kept")
    stamp = format_time(at)
    with closing(connect_beside(path)) as db, transaction(db, path):
        row = VerdictRow(
            id=0,
            job_key=key,
            attempt_id=_judged_attempt(db, key, verdict),
            verdict=verdict,
            note=note,
            author=author,
            at=stamp,
        )
        if verdict is Verdict.PICKED:
            for other in _picked_siblings(db, key):
                before = _before_its_pick(db, other)
                _append(db, other._replace(verdict=before, author=author, at=stamp))
        return _append(db, row)


def _judged_attempt(db: Database, key: JobKey, verdict: Verdict) -> int | None:
    """The finished render that the verdict is about."""
    if not db.execute("select 1 from jobs where key = ?", [key]).fetchone():
        raise UsageError(f"the ledger knows no job {key}")
    sql = "select id from attempts where job_key = ? and state = 'succeeded'"
    if found := db.execute(sql, [key]).fetchone():
        return int(found[0])
    if verdict is not Verdict.NONE:
        raise UsageError(f"{key} has no finished render yet, so there is nothing to judge")
    return None


#: Takes of the same job id, under the names that the job has now (or had last, if it has none),
#: and those of the same render that its manifest may have again.
_SIBLINGS = (
    "select distinct s.job_key from names n join names s"
    " on s.batch = n.batch and s.job_id = n.job_id and s.job_key <> n.job_key"
    " join jobs jn on jn.key = n.job_key join jobs js on js.key = s.job_key"
    " and ((s.retired_at is null) = (n.retired_at is null)"
    "  or (js.endpoint, js.arguments) = (jn.endpoint, jn.arguments))"
    " where n.job_key = ? and (n.retired_at is null or not exists"
    "  (select 1 from names c where c.job_key = n.job_key and c.retired_at is null))"
)


def _picked_siblings(db: Database, key: JobKey) -> list[VerdictRow]:
    latest = "select max(id) from verdicts where job_key = v.job_key"
    sql = (
        f"select {_COLUMNS} from verdicts v where v.job_key in ({_SIBLINGS})"  # noqa: S608
        f" and v.id = ({latest}) and v.verdict = 'picked'"
    )
    return [_row(row) for row in db.query(sql, [key])]


def _before_its_pick(db: Database, picked: VerdictRow) -> Verdict:
    sql = (
        "select verdict from verdicts where job_key = ? and attempt_id is ?"
        " and verdict <> 'picked' order by id desc limit 1"
    )
    before = db.execute(sql, [picked.job_key, picked.attempt_id]).fetchone()
    return Verdict(before[0]) if before else Verdict.NONE


def _append(db: Database, row: VerdictRow) -> VerdictRow:
    """Store a verdict under the next number."""
    cursor = db.execute(
        "insert into verdicts (job_key, attempt_id, verdict, note, author, at)"
        " values (?, ?, ?, ?, ?, ?)",
        [row.job_key, row.attempt_id, row.verdict, row.note, row.author, row.at],
    )
    return row._replace(id=int(cursor.lastrowid or 0))


# -- reading ---------------------------------------------------------------------------------------


def latest_verdicts(
    reader: Reader, keys: Iterable[JobKey] | None = None
) -> Mapping[JobKey, VerdictRow]:
    """The verdict that counts for each judged take, also `none` with its note.

    `keys`: of these takes alone; other verdicts of the ledger are not read.
    """
    if not newest_verdict_id(reader):
        return {}
    sql, parameters = _LATEST, list[str]()
    if keys is not None:
        sql, parameters = f"{_LATEST} and v.{AMONG.removeprefix(' and ')}", [json.dumps([*keys])]
    rows = query_as(reader.db, reader.path, _row, sql, parameters)
    return {row.job_key: row for row in rows}


def verdict_history(reader: Reader, key: JobKey) -> list[VerdictRow]:
    """Every verdict on a take, oldest first."""
    if not _has_verdicts(reader):
        return []
    sql = f"select {_COLUMNS} from verdicts v where v.job_key = ? order by v.id"  # noqa: S608
    return list(query_as(reader.db, reader.path, _row, sql, [key]))


def newest_verdict_id(reader: Reader) -> int:
    """The number of the latest verdict, which tells whether there are new ones; 0: none."""
    if not _has_verdicts(reader):
        return 0
    with explained(reader.path):
        (newest,) = reader.db.execute("select coalesce(max(id), 0) from verdicts").fetchone()
    return int(newest)


def _has_verdicts(reader: Reader) -> bool:
    """Whether the ledger has the table: readers take ledgers that no writer has migrated yet."""
    with explained(reader.path):
        return "verdicts" in reader.db.table_names()


def _row(row: dict[str, Any]) -> VerdictRow:
    return VerdictRow(
        **row | {"job_key": JobKey(row["job_key"]), "verdict": Verdict(row["verdict"])}
    )


__all__ = [
    "TYPED_VERDICTS",
    "Verdict",
    "VerdictRow",
    "latest_verdicts",
    "newest_verdict_id",
    "record_verdict",
    "verdict_history",
]
