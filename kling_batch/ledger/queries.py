"""Queries for reports, the gallery and `verify`: rows of tables and views as typed values.

What planning and the engine ask is in `reader.py`. Must not write, and must not decide anything.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from kling_batch.core.jobs import JobKey, Render
from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import (
    AttemptCheck,
    DriftRow,
    EventCheck,
    JobSource,
    JobTotals,
    LoggedEvent,
    NamedRender,
    SpendRow,
)
from kling_batch.ledger.database import query
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.row_values import query_as
from kling_batch.ledger.rows import object_in, time_in

T = TypeVar("T")


def _rows(reader: Reader, sql: str, parameters: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
    return query(reader.db, reader.path, sql, parameters)


def _made(
    reader: Reader, make: Callable[[dict[str, Any]], T], sql: str, parameters: Sequence[Any] = ()
) -> Iterator[T]:
    return query_as(reader.db, reader.path, make, sql, parameters)


# -- jobs --------------------------------------------------------------------------------------


def render_of(reader: Reader, key: JobKey) -> Render | None:
    """What a job paid for; None where the ledger does not have it."""
    sql = "select endpoint, arguments from jobs where key = ?"
    found = _made(
        reader, lambda row: Render(row["endpoint"], object_in(row["arguments"])), sql, [key]
    )
    return next(found, None)


def job_totals(reader: Reader, keys: Iterable[JobKey]) -> dict[JobKey, JobTotals]:
    """The cost of each of these jobs so far, with the id and times of its latest attempt."""
    sql = (
        # SQLite takes the other columns from the row that holds the maximum.
        "select a.job_key, max(a.id), a.request_id, a.intended_at, a.rendered_at, a.settled_at,"
        " a.remote_status, sum(m.charged_micro_usd + m.exposed_micro_usd) as cost"
        " from attempts a join attempt_money m on m.attempt_id = a.id"
        " where a.job_key in (select value from json_each(?)) group by a.job_key"
    )
    return dict(_made(reader, _totals, sql, [json.dumps([*keys])]))


def _totals(row: dict[str, Any]) -> tuple[JobKey, JobTotals]:
    return JobKey(row["job_key"]), JobTotals(
        cost=MicroUSD(row["cost"]),
        intended_at=str(time_in(row["intended_at"])),
        rendered_at=time_in(row["rendered_at"]),
        settled_at=time_in(row["settled_at"]),
        request_id=row["request_id"],
        remote_status=row["remote_status"],
    )


def events_of(reader: Reader, attempt_id: int) -> list[LoggedEvent]:
    """Everything that happened to an attempt, in order."""
    sql = "select at, event, from_state, to_state, data from events where attempt_id = ?"
    return list(_made(reader, _event, f"{sql} order by id", [attempt_id]))


def _event(row: dict[str, Any]) -> LoggedEvent:
    return LoggedEvent(**{**row, "data": object_in(row["data"]) if row["data"] else None})


_NAMED_RENDERS = """
select n.job_key, n.batch, n.job_id, n.take, n.path, n.estimate_micro_usd as estimate,
  n.retired_at is not null as retired, j.mode, j.tier, j.endpoint, j.arguments,
  a.id as attempt_id, a.state, a.remote_status, a.request_id, a.submitted_at, a.rendered_at,
  json_extract(a.failure, '$.message') as failure,
  (select json_extract(e.data, '$.reason') from events e
   where e.attempt_id = a.id and a.state = 'in_doubt' order by e.id desc limit 1) as doubt,
  coalesce(m.charged, 0) as charged, coalesce(m.exposed, 0) as exposed,
  coalesce(m.attempts, 0) as attempts
from names n join jobs j on j.key = n.job_key
left join attempts a on a.id = (select max(id) from attempts where job_key = j.key)
left join (select job_key, sum(charged_micro_usd) as charged, sum(exposed_micro_usd) as exposed,
           count(*) as attempts from attempt_money group by job_key) m on m.job_key = j.key
where n.retired_at is null or (a.state = 'succeeded' and not exists (
  select 1 from names c where c.job_key = n.job_key and c.retired_at is null))
order by min(n.rowid) over (partition by n.batch),
  min(n.rowid) over (partition by n.batch, n.job_id), n.take, n.named_at desc
"""


def named_renders(reader: Reader) -> list[NamedRender]:
    """Every job under its current name, and every render that only has a former name."""
    return list(_made(reader, _named_render, _NAMED_RENDERS))


def _named_render(row: dict[str, Any]) -> NamedRender:
    return NamedRender(
        **{
            **row,
            "job_key": JobKey(row["job_key"]),
            "estimate": MicroUSD(row["estimate"]),
            "retired": bool(row["retired"]),
            "arguments": object_in(row["arguments"]),
            "state": State(row["state"]) if row["state"] else None,
            "submitted_at": time_in(row["submitted_at"]),
            "rendered_at": time_in(row["rendered_at"]),
            "charged": MicroUSD(row["charged"]),
            "exposed": MicroUSD(row["exposed"]),
        }
    )


class PastRun(NamedTuple):
    """A run that was about a batch."""

    id: int
    command: str
    started_at: str

    @property
    def words(self) -> list[str]:
        """The words of its command, the program's name first; none where they are damaged."""
        try:
            return shlex.split(self.command)
        except ValueError:
            return []

    @property
    def of_manifests(self) -> bool:
        """Whether it read manifests, which can be read again."""
        return self.words[1:2] == ["run"]


def runs_about(reader: Reader, batch: str) -> Iterator[PastRun]:
    """The runs that were about a batch, latest first."""
    sql = (
        "select id, command, started_at from runs"
        " where exists (select 1 from json_each(batches) where value = ?) order by id desc"
    )
    return (PastRun(**row) for row in _rows(reader, sql, [batch]))


class RunRow(NamedTuple):
    """A run; its fields are the keys of `last_run` in `status --json`."""

    id: int
    command: str
    pid: int
    host: str
    version: str
    started_at: str
    ended_at: str | None
    exit_code: int | None


def latest_run(reader: Reader) -> RunRow | None:
    """The latest run; None where there was none."""
    columns = ", ".join(RunRow._fields)
    sql = f"select {columns} from runs order by id desc limit 1"  # noqa: S608
    return next((RunRow(**row) for row in _rows(reader, sql)), None)


def stored_names(reader: Reader, names: Iterable[str]) -> list[str]:
    """The stored path of every file of one of these names, whatever its folder, also replaced."""
    wanted = json.dumps([*names])
    sql = (
        "select f.path from files f, json_each(?) n"
        " where f.path = n.value or substr(f.path, -length(n.value) - 1) = '/' || n.value"
    )
    return [row["path"] for row in _rows(reader, sql, [wanted])]


# -- the ledger as a whole ---------------------------------------------------------------------


def service_of(reader: Reader) -> str | None:
    """`fal` or `emulator`; None where no run has begun yet."""
    return next((row["service"] for row in _rows(reader, "select service from ledger")), None)


def batch_names(reader: Reader) -> list[str]:
    """Every batch that has or had a job."""
    # A look in the index for each batch, not for each of its jobs.
    sql, found = "select min(batch) as batch from names where batch > ?", list[str]()
    while (row := next(_rows(reader, sql, [found[-1] if found else ""])))["batch"] is not None:
        found.append(row["batch"])
    return found


def job_count(reader: Reader) -> int:
    """How many different jobs the ledger has."""
    return _count(reader, "select count(*) as n from jobs")


def attempt_count(reader: Reader) -> int:
    """How many attempts there have been."""
    return _count(reader, "select count(*) as n from attempts")


def _count(reader: Reader, sql: str) -> int:
    (row,) = _rows(reader, sql)
    return int(row["n"])


def spend(reader: Reader) -> list[SpendRow]:
    """Money by day and batch."""
    columns = ", ".join(SpendRow._fields)
    sql = f"select {columns} from spend order by day, batch"  # noqa: S608
    return [SpendRow(**row) for row in _rows(reader, sql)]


def drift(reader: Reader) -> list[DriftRow]:
    """By endpoint: what renders cost, against what they were estimated to cost."""
    columns = ", ".join(DriftRow._fields)
    sql = f"select {columns} from drift order by endpoint"  # noqa: S608
    return [DriftRow(**row) for row in _rows(reader, sql)]


# -- verify ------------------------------------------------------------------------------------


def job_sources(reader: Reader) -> Iterator[JobSource]:
    """What every key was made of."""
    for row in _rows(reader, "select key, endpoint, take, arguments from jobs"):
        yield JobSource(**row)


def attempt_checks(reader: Reader) -> list[AttemptCheck]:
    """State, origin and money of every attempt."""
    sql = (
        "select id, state, charged, origin, estimate_micro_usd as estimate, cost_micro_usd as cost"
        " from attempts"
    )
    return [AttemptCheck(**row) for row in _rows(reader, sql)]


def event_checks(reader: Reader) -> Iterator[EventCheck]:
    """Every event, by attempt, in order."""
    sql = "select attempt_id, event, to_state from events order by attempt_id, id"
    for row in _rows(reader, sql):
        yield EventCheck(**row)
