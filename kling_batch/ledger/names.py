"""Names of jobs: lookup by `hero`, `hero#2`, `campaign/hero` or the key, and their registration.

A job that left its manifest with an open or undelivered request is found as `hero@1a2b3c4d`, with
the first digits of its key. Must not change an attempt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from difflib import get_close_matches
from sqlite3 import Connection
from typing import Any, NamedTuple
from unicodedata import normalize

from kling_batch.core.jobs import JSON, Batch, Job, JobKey, job_label, unpicked_key
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import UsageError
from kling_batch.ledger.database import query
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.row_values import understood
from kling_batch.ledger.rows import job_row, name_row, names_digest, object_in

#: Digits of the key after the `@` of a job that left its manifest; `job_status` has as many.
MARK = 8


class LedgerJob(NamedTuple):
    """A job of the ledger under its current name, or under its last one with a mark."""

    key: JobKey
    batch: str
    id: str
    take: int
    endpoint: str
    mode: str
    tier: str
    arguments: str
    estimate: int
    path: str
    place: str
    #: Keys that had this name before, newest first, with when they lost it.
    earlier: tuple[tuple[JobKey, str], ...]
    #: Whether no manifest has it any more: it is collected, and never bought again.
    gone: bool = False

    @property
    def label(self) -> str:
        """As `Job.label`."""
        return job_label(self.id, self.take)


_SQL = (
    "select n.batch, n.job_id, n.take, n.job_key, n.path, n.estimate_micro_usd, n.place,"
    " n.retired_at, j.endpoint, j.mode, j.tier, j.arguments"
    " from names n join jobs j on j.key = n.job_key where"
)
_CURRENT = f"{_SQL} n.retired_at is null"
#: Its current name, else the one that was retired last.
_LAST = "order by n.retired_at is not null, n.retired_at desc limit 1"


def _rows(reader: Reader, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    return list(query(reader.db, reader.path, sql, parameters))


def all_named(reader: Reader) -> list[LedgerJob]:
    """Every job under its current name."""
    return [_named(reader, row) for row in _rows(reader, f"{_CURRENT} order by 1, 2, 3")]


def by_key(reader: Reader, key: JobKey) -> LedgerJob:
    """The job of this key; its name carries a mark where it is no longer current."""
    (row,) = _rows(reader, f"{_SQL} n.job_key = ? {_LAST}", [key])
    return _named(reader, row)


def sharing(reader: Reader, key: JobKey) -> list[Job]:
    """The jobs that have this key under their current names: the same request, paid for once."""
    rows = _rows(reader, f"{_CURRENT} and n.job_key = ? order by 1, 2, 3", [key])
    return [_as_job(reader, row) for row in rows]


def find(reader: Reader, word: str) -> LedgerJob:
    """The job that `word` names.

    Raises:
        UsageError: none, or several; with what to type instead.
    """
    word = word.encode(errors="replace").decode()  # bytes that are no text are no name either
    batch, _, rest = word.rpartition("/")
    name, numbered, number = rest.partition("#")
    take = _take(number) if numbered else 1
    if word.startswith("k1:"):
        rows = _rows(reader, f"{_SQL} n.job_key = ? {_LAST}", [word])
    else:
        # A terminal may write é as two characters; ids are stored with one, but once were not.
        sql, forms = f"{_CURRENT} and n.job_id = ? and n.take = ?", {name, normalize("NFC", name)}
        rows = [row for form in forms for row in _rows(reader, sql, [form, take])]
        rows = [row for row in rows or _marked(reader, name) if batch in ("", row["batch"])]
    if not rows:
        raise UsageError(f"no job {word!r} in {reader.path}{_nearest(reader, name)}")
    if len(rows) > 1:
        raise of_several(word, [f"{row['batch']}/{word}" for row in rows])
    return _named(reader, rows[0])


def of_several(word: str, names: Iterable[str]) -> UsageError:
    """That a name is one in several batches; `names`: what to type instead."""
    return UsageError(f"several batches have a job {word!r}: {', '.join(names)}")


def _take(number: str) -> int:
    """The number behind `#`; 0, which no job has, where it is not one."""
    # SQLite integers have 64 bits; a longer number would raise.
    return int(number) if number.isdecimal() and len(number) <= 9 else 0


def _marked(reader: Reader, name: str) -> list[dict[str, Any]]:
    """The job that `hero@1a2b3c4d` names."""
    base, _, mark = name.rpartition("@")
    sql = f"{_SQL} n.job_id = ? and substr(n.job_key, 4, {MARK}) = ? {_LAST}"
    return _rows(reader, sql, [base, mark]) if base else []


def _named(reader: Reader, row: dict[str, Any]) -> LedgerJob:
    earlier: list[dict[str, Any]] = []
    name = row["job_id"]
    if row["retired_at"]:
        name = orphan_name(name, row["job_key"])
    else:
        sql = (
            "select job_key, retired_at from names where batch = ? and job_id = ? and take = ?"
            " and retired_at is not null order by retired_at desc"
        )
        earlier = _rows(reader, sql, [row["batch"], row["job_id"], row["take"]])
    with understood(reader.path, key=row["job_key"]):
        object_in(row["arguments"])
    return LedgerJob(
        key=JobKey(row["job_key"]),
        batch=row["batch"],
        id=name,
        take=row["take"],
        endpoint=row["endpoint"],
        mode=row["mode"],
        tier=row["tier"],
        arguments=row["arguments"],
        estimate=row["estimate_micro_usd"],
        path=row["path"],
        place=row["place"],
        earlier=tuple((JobKey(e["job_key"]), e["retired_at"]) for e in earlier),
        gone=row["retired_at"] is not None,
    )


def orphan_name(name: str, key: JobKey) -> str:
    """The name of a job that left its manifest: another job may have its former name now."""
    return f"{name}@{key[3 : 3 + MARK]}"


def job_of(named: LedgerJob) -> Job:
    """The job, as far as its files need it; references in its arguments stay unresolved."""
    return Job(
        key=named.key,
        endpoint=named.endpoint,
        arguments=json.loads(named.arguments),
        take=named.take,
        id=named.id,
        batch=named.batch,
        mode=named.mode,
        tier=named.tier,
        path=named.path,
        estimate=MicroUSD(named.estimate),
    )


#: Arguments are read where they refer to other jobs; those of the rest would only take time.
_BESIDE = (
    "select n.batch, n.job_id, n.take, n.job_key, n.path, n.estimate_micro_usd,"
    " j.endpoint, j.mode, j.tier,"
    " case when instr(j.arguments, '\"$output\"') then j.arguments else '{}' end as arguments"
    " from names n cross join jobs j on j.key = n.job_key"
    " where n.retired_at is null and n.batch in (select batch from names"
    " where retired_at is null and job_key in (select value from json_each(?))) order by 1, 2, 3"
)


def jobs_beside(reader: Reader, keys: Iterable[JobKey]) -> list[Job]:
    """Every job of the batches that have these renders now, with references as they are stored."""
    return [_as_job(reader, row) for row in _rows(reader, _BESIDE, [json.dumps([*keys])])]


_AWAITED = (
    "select n.batch, n.job_id, n.take, j.endpoint, j.arguments from names n"
    " join jobs j on j.key = n.job_key where n.retired_at is not null and n.batch = ?"
    " and instr(j.arguments, ?)"
)


def awaiting_picks(reader: Reader, batch: str) -> dict[tuple[str, int], list[tuple[str, str]]]:
    """(id, take) → endpoints and arguments that it had as long as nobody had picked its source."""
    found: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for row in _rows(reader, _AWAITED, [batch, f'"{unpicked_key(batch, "")}']):
        found.setdefault((row["job_id"], row["take"]), []).append(
            (row["endpoint"], row["arguments"])
        )
    return found


def _as_job(reader: Reader, row: dict[str, Any]) -> Job:
    arguments: JSON = {}
    if row["arguments"] != "{}":
        with understood(reader.path, key=row["job_key"]):
            arguments = object_in(row["arguments"])
    return Job(
        key=JobKey(row["job_key"]),
        endpoint=row["endpoint"],
        arguments=arguments,
        take=row["take"],
        id=row["job_id"],
        batch=row["batch"],
        mode=row["mode"],
        tier=row["tier"],
        path=row["path"],
        estimate=MicroUSD(row["estimate_micro_usd"]),
    )


def _nearest(reader: Reader, name: str) -> str:
    known = {row["job_id"] for row in _rows(reader, "select distinct job_id from names")}
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


_DIGEST = (
    "insert into registered (batch, digest) values (?, ?)"
    " on conflict (batch) do update set digest = excluded.digest"
)

_JOB = (
    "insert into jobs (key, endpoint, mode, tier, take, arguments, first_seen_at)"
    " values (?, ?, ?, ?, ?, ?, ?) on conflict (key) do nothing"
)

_RETIRE = (
    "update names set retired_at = ? where batch = ? and job_id = ? and take = ?"
    " and retired_at is null"
)

_NAME = (
    "insert into names (batch, job_id, take, job_key, path, estimate_micro_usd, place, named_at)"
    " values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set retired_at = null,"
    " path = excluded.path, named_at = excluded.named_at, place = excluded.place,"
    " estimate_micro_usd = excluded.estimate_micro_usd"
)


_TAG = "insert or ignore into tags (batch, job_id, tag) values (?, ?, ?)"


def write_names(
    reader: Reader,
    batch: Batch,
    *,
    whole: bool,
    at: str,
    transaction: Callable[[], AbstractContextManager[Connection]],
) -> None:
    """Register every job of the batch under its name; writes only what is new or has changed.

    Tags are written anew: nobody has a history of them.
    """
    digest = names_digest(batch.jobs) if whole else ""
    if digest and digest == reader.registered(batch.name):
        return
    current = reader.current_names(batch.name)
    wanted = {(job.id, job.take): job for job in batch.jobs}
    fresh = [j for name, j in wanted.items() if current.get(name) != (j.key, j.path, j.estimate)]
    gone = [name for name in current if whole and name not in wanted]
    retired = [*gone, *((job.id, job.take) for job in fresh)]
    with transaction() as db:
        db.execute(_DIGEST, [batch.name, digest])
        db.executemany(_JOB, (job_row(job, at) for job in fresh))
        db.executemany(_RETIRE, ([at, batch.name, *name] for name in retired))
        db.executemany(_NAME, (name_row(batch.name, job, at) for job in fresh))
        _write_tags(db, batch, whole=whole)


def _write_tags(db: Connection, batch: Batch, *, whole: bool) -> None:
    """The tags of the batch's jobs; where it is not whole, those of its other jobs stay."""
    if whole:
        db.execute("delete from tags where batch = ?", [batch.name])
    else:
        ids = {job.id for job in batch.jobs}
        sql = "delete from tags where batch = ? and job_id = ?"
        db.executemany(sql, ((batch.name, job_id) for job_id in ids))
    rows = ((batch.name, job.id, tag) for job in batch.jobs for tag in job.tags)
    db.executemany(_TAG, rows)
