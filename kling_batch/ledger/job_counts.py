"""Counts of jobs by mode, tier and status, reasons of failures, ages of requests, for `status`.

A ledger of a million jobs answers within a second. Must not write, and must not format anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kling_batch.core.lifecycle import OPEN, JobStatus, State, status_of
from kling_batch.ledger.database import query
from kling_batch.ledger.job_list import LATEST_TRY
from kling_batch.ledger.reader import Reader, placeholders


class Kind(NamedTuple):
    """Mode and tier of a job."""

    mode: str
    tier: str


def kinds(reader: Reader) -> list[Kind]:
    """Every mode and tier that a job of the ledger has or had."""
    rows = query(reader.db, reader.path, "select distinct mode, tier from jobs order by 1, 2")
    return [Kind(**row) for row in rows]


#: Current names by mode and tier; of all jobs, less those without a name, and the further names of
#: those with several: no row of `names` is read.
_ALL_NAMES = """
select mode, tier, sum(number) as number from (
  select mode, tier, count(*) as number from jobs group by mode, tier
  union all
  select j.mode, j.tier, -1 from (select distinct job_key from names where retired_at is not null) r
  cross join jobs j on j.key = r.job_key
  where not exists (select 1 from names c where c.job_key = r.job_key and c.retired_at is null)
  union all
  select j.mode, j.tier, c.number - 1 from (
    select job_key, count(*) as number from names where retired_at is null
    group by job_key having count(*) > 1) c
  cross join jobs j on j.key = c.job_key
) group by mode, tier
"""
_NAMES_OF_BATCHES = (
    "select j.mode, j.tier, count(*) as number from names n"
    " cross join jobs j on j.key = n.job_key where n.retired_at is null{batches}"
    " group by j.mode, j.tier"
)
#: Of all jobs: two indexes in the order of the keys are merged; the limit keeps SQLite from putting
#: the second one into a temporary table instead. In a ledger of a million jobs that are done it
#: takes 0.1 s, where one look for each name takes 0.26 s.
_ALL_WAITING = """
select j.mode, j.tier, count(*) as number from (
  select job_key from names where retired_at is null
  except select job_key from attempts order by job_key limit -1) w
cross join names n on n.job_key = w.job_key and n.retired_at is null
cross join jobs j on j.key = w.job_key
group by j.mode, j.tier
"""
_WAITING_OF_BATCHES = (
    "select j.mode, j.tier, count(*) as number from names n cross join jobs j on j.key = n.job_key"
    " where n.retired_at is null{batches}"
    " and not exists (select 1 from attempts a where a.job_key = n.job_key) group by j.mode, j.tier"
)
#: The plus signs have SQLite read the index of attempts by job instead of one row of `attempts` for
#: each that is not done; only of an open request fal's answer is read.
_NOT_DONE = (
    "select j.mode, j.tier, a.state, case a.state when 'submitted' then"  # noqa: S608
    " (select r.remote_status from attempts r where r.id = a.id) end as remote_status,"
    " count(*) as number"
    " from attempts a cross join names n on n.job_key = a.job_key and n.retired_at is null"
    " cross join jobs j on j.key = n.job_key"
    f" where +a.state in ({{states}}) and {LATEST_TRY}{{batches}}"
    " group by 1, 2, 3, 4"
)
_GONE_OPEN = (
    "select j.mode, j.tier, a.state, a.remote_status, count(*) as number from attempts a"
    " cross join names n on n.rowid = (select l.rowid from names l where l.job_key = a.job_key"
    " order by l.retired_at is not null, l.retired_at desc limit 1)"
    " cross join jobs j on j.key = n.job_key where n.retired_at is not null"
    " and a.state in ('submitting', 'in_doubt', 'submitted', 'rendered'){batches}"
    " group by j.mode, j.tier, a.state, a.remote_status"
)


def job_counts(reader: Reader, batches: Sequence[str] | None) -> dict[Kind, dict[JobStatus, int]]:
    """How many jobs of each mode and tier have each status; None: of all batches.

    What is done is the rest: counting it would read a row of three tables for each job.
    """
    among = "" if batches is None else f" and n.batch in ({placeholders(batches)})"
    which = list(batches or ())

    def rows(sql: str, *more: str) -> Iterator[tuple[Kind, dict[str, Any]]]:
        states = placeholders(more)
        statement = sql.replace("{batches}", among).replace("{states}", states)
        for row in query(reader.db, reader.path, statement, [*more, *which]):
            yield Kind(row["mode"], row["tier"]), row

    counts: dict[Kind, dict[JobStatus, int]] = {}

    def add(kind: Kind, status: JobStatus, number: int) -> None:
        known = counts.setdefault(kind, {})
        known[status] = known.get(status, 0) + number

    for kind, row in rows(_ALL_NAMES) if batches is None else rows(_NAMES_OF_BATCHES):
        add(kind, JobStatus.DONE, row["number"])
    for kind, row in rows(_ALL_WAITING) if batches is None else rows(_WAITING_OF_BATCHES):
        add(kind, JobStatus.WAITING, row["number"])
        add(kind, JobStatus.DONE, -row["number"])
    for kind, row in rows(_NOT_DONE, *(s for s in State if s is not State.SUCCEEDED)):
        add(kind, status_of(State(row["state"]), row["remote_status"]), row["number"])
        add(kind, JobStatus.DONE, -row["number"])
    for kind, row in rows(_GONE_OPEN):
        add(kind, status_of(State(row["state"]), row["remote_status"]), row["number"])
    filled = {kind: {s: n for s, n in known.items() if n} for kind, known in counts.items()}
    return {kind: known for kind, known in sorted(filled.items()) if known}


class FailureGroup(NamedTuple):
    """Jobs that failed, or were cancelled, for one reason."""

    kind: str
    message: str
    jobs: int
    #: One of them, for people to look at.
    example: str


def failure_groups(reader: Reader, batches: Sequence[str] | None) -> list[FailureGroup]:
    """Why jobs failed, the most frequent reason first."""
    among = "" if batches is None else f" and n.batch in ({placeholders(batches)})"
    sql = (
        "select a.failure_kind as kind, json_extract(a.failure, '$.message') as message,"  # noqa: S608
        " count(*) as jobs, min(n.job_id) as example"
        " from attempts a cross join names n on n.job_key = a.job_key and n.retired_at is null"
        f" where a.state in ('failed', 'cancelled') and {LATEST_TRY}{among}"
        " group by 1, 2 order by 3 desc, 1, 2"
    )
    return [FailureGroup(**row) for row in query(reader.db, reader.path, sql, list(batches or ()))]


def oldest_open(reader: Reader, batches: Sequence[str] | None) -> str | None:
    """When the oldest request that fal may be working on was intended; None: there is none."""
    among = "" if batches is None else f" and batch in ({placeholders(batches)})"
    sql = (
        f"select min(intended_at) as oldest from attempts where state in ({placeholders(OPEN)})"  # noqa: S608
        f"{among}"
    )
    (row,) = query(reader.db, reader.path, sql, [*OPEN, *(batches or ())])
    return None if row["oldest"] is None else str(row["oldest"])
