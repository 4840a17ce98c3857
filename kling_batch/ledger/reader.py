"""Read access to the ledger: standings, attempts, files and money, for planning and the engine.

Works on a ledger that a run is writing (WAL readers never block). Queries of reports are in
`queries.py`. Must not write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from statistics import mean, median
from typing import Any, Self, TypeVar

from sqlite_utils import Database

from kling_batch.core.jobs import JobKey
from kling_batch.core.lifecycle import SETTLED, Event, State
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Attempt, File, GrantedTakes, Money, Service, Standing
from kling_batch.ledger.database import connect, explained, query
from kling_batch.ledger.row_values import query_as, understood
from kling_batch.ledger.rows import attempt_of, failure_of, moment_in

T = TypeVar("T")

#: Added to a condition: only these jobs. One parameter, however many there are; each is looked up
#: in the index, so that the other jobs of a ledger take no time.
AMONG = " and job_key in (select value from json_each(?))"

_STANDING_DONE = (
    "select a.job_key, a.id, a.try, x.output_index, x.ext, f.path, x.size from attempts a"
    " left join artifacts x on x.attempt_id = a.id left join files f on f.artifact_id = x.id"
    " where +a.state = 'succeeded'{among}"  # not by the index of states, which has all of them
)
# SQLite takes the other columns from the row that holds the maximum.
_STANDING_REST = (
    "select job_key, max(id), state, try from attempts where state <> 'succeeded'{among}"
    " group by job_key"
)
# A job that has succeeded has no failure that counts, so its rows are not even read.
_STANDING_FAILURE = (
    "select job_key, id, failure, retry_granted_at from attempts"
    " where failure is not null and state <> 'succeeded'{among}"
)


#: Attempts whose durations are learned from.
LATEST = 500


class Reader:
    """Read access to a ledger; `Reader.open` for everyone but the run."""

    def __init__(self, path: Path, db: Database) -> None:
        """`db` is an open connection from `database.connect`."""
        self.path = path
        self.db = db

    @classmethod
    def open(cls, path: Path) -> Reader:
        """Open read-only, also while a run is writing.

        All reads until `end_snapshot` see the same state: otherwise a run could change an attempt
        between two of them, and it would be missing in both.

        Raises:
            LedgerError: there is no ledger, or it cannot be read.
        """
        reader = Reader(path, connect(path, writable=False))
        with explained(path):
            reader.db.execute("begin")
        return reader

    def end_snapshot(self) -> None:
        """End the read transaction of `open`: what is read from now on may be newer."""
        self.db.conn.rollback()

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
        """Rows of a select as dictionaries."""
        return query(self.db, self.path, sql, parameters)

    def _values(
        self, make: Callable[[dict[str, Any]], T], sql: str, parameters: Sequence[Any] = ()
    ) -> Iterator[T]:
        """Rows of a select as values."""
        return query_as(self.db, self.path, make, sql, parameters)

    # -- planning ------------------------------------------------------------------------------

    def standings(self, keys: Iterable[JobKey] | None = None) -> dict[JobKey, Standing]:
        """The latest attempt of each of these jobs that ever had one, and where its files are.

        None: of every job.
        """
        done: dict[JobKey, Standing] = {}
        among, which = ("", []) if keys is None else (AMONG, [json.dumps([*keys])])

        def rows(sql: str) -> Iterator[Any]:
            return iter(self.db.execute(sql.format(among=among), which))

        with explained(self.path), understood(self.path):
            for key, i, tries, index, ext, path, size in rows(_STANDING_DONE):
                file = () if path is None else ((index, ext, path, size),)
                known = done.get(key)
                placed = known.placed + file if known else file
                done[key] = Standing(i, State.SUCCEEDED, tries, placed=placed)
            for key, i, state, tries in rows(_STANDING_REST):
                # A job that has succeeded has no later attempt: the database forbids it.
                done.setdefault(key, Standing(i, State(state), tries))
            for key, i, failure, granted in rows(_STANDING_FAILURE):
                if done[key].attempt_id == i:
                    failed = failure_of(failure)
                    done[key] = done[key]._replace(failure=failed, granted=granted is not None)
        return done

    def current_names(self, batch: str) -> dict[tuple[str, int], tuple[JobKey, str, int]]:
        """(id, take) → (key, path template, estimate) as last registered for the batch."""
        columns = "job_id, take, job_key, path, estimate_micro_usd"
        sql = f"select {columns} from names where batch = ? and retired_at is null"  # noqa: S608
        with explained(self.path):
            rows = self.db.execute(sql, [batch])
            return {(i, t): (JobKey(k), p, e) for i, t, k, p, e in rows}

    def registered(self, batch: str) -> str:
        """The digest of the names last registered for a batch; empty where there are none."""
        rows = self._rows("select digest from registered where batch = ?", [batch])
        return next((row["digest"] for row in rows), "")

    def earlier_names(self, batch: str) -> dict[tuple[str, int], JobKey]:
        """(id, take) → the key that had this name last and has it no longer."""
        sql = (
            "select job_id, take, job_key from names where batch = ? and retired_at is not null"
            " order by retired_at"
        )
        with explained(self.path):
            return {(i, t): JobKey(k) for i, t, k in self.db.execute(sql, [batch])}

    def extra_takes(self, batch: str) -> dict[str, GrantedTakes]:
        """By job id: how many takes a person asked for beyond the manifest's."""
        # All columns: a plan may read a ledger that has no `job_key` yet.
        sql = "select * from extra_takes where batch = ?"
        return {
            row["job_id"]: GrantedTakes(row["takes"], row.get("job_key"))
            for row in self._rows(sql, [batch])
        }

    def files(self) -> dict[int, list[File]]:
        """Every file that the ledger knows, by attempt."""
        found: dict[int, list[File]] = {}
        for file in self._files("order by x.attempt_id, x.output_index, f.path"):
            found.setdefault(file.attempt_id, []).append(file)
        return found

    def typical_seconds(self) -> dict[str, float]:
        """By endpoint: the median duration of the latest fifty renders.

        Without those in which the clock was set back, or a time is none.
        """
        seconds = "(julianday(rendered_at) - julianday(submitted_at)) * 86400 as seconds"
        known = "julianday(rendered_at) >= julianday(submitted_at)"
        latest = self._latest(50, f"id, {seconds}", "rendered_at", known)
        return {endpoint: median(row["seconds"] for row in rows) for endpoint, rows in latest}

    def services(self) -> Iterator[Service]:
        """How long the latest renders took, oldest first.

        Found by id alone, so as fast in a ledger of a million attempts. Without fal's own measure
        only what was collected by the run that submitted it (another may have come hours later),
        and not what gave its result before anybody asked for the measure (`engine/early_results`).
        """
        sql = (
            "select a.endpoint, cast(coalesce(json_extract(a.payload, '$.duration'), '') as text)"
            " as length, (julianday(a.rendered_at) - julianday(a.submitted_at)) * 86400 as seconds,"
            " cast(json_extract(e.data, '$.inference_seconds') as real) as told"
            " from (select * from attempts order by id desc limit ?) a"
            " join events e on e.attempt_id = a.id and e.event = 'remote_completed'"
            " where julianday(a.rendered_at) >= julianday(a.submitted_at)"
            " and (told is not null or e.run_id = a.run_id)"
            " and json_extract(e.data, '$.unmeasured') is null order by a.id"
        )
        for row in self._rows(sql, [LATEST]):
            yield Service(**row)

    def typical_sizes(self) -> dict[str, float]:
        """By endpoint: the average bytes of all files of a render, of the latest fifty."""
        size = "(select sum(size) from artifacts where attempt_id = attempts.id) as size"
        latest = self._latest(50, size, "rendered_at")
        known = {endpoint: [r["size"] for r in rows if r["size"]] for endpoint, rows in latest}
        return {endpoint: mean(sizes) for endpoint, sizes in known.items() if sizes}

    def _latest(
        self, most: int, columns: str, known: str, *further: str
    ) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """By endpoint: its latest attempts of which a column is known, newest first.

        `known` is a column that has an index of its own (`m003_latest_renders`), so that the
        number of all other attempts does not matter.
        """
        where = " and ".join([f"{known} is not null", *further])
        latest = f"where endpoint = ? and {where} order by id desc limit {most}"
        endpoint = ""
        while True:
            sql = f"select min(endpoint) as next from attempts where {known} is not null"  # noqa: S608
            (row,) = self._rows(f"{sql} and endpoint > ?", [endpoint])
            if row["next"] is None:
                return
            endpoint = row["next"]
            rows = list(self._rows(f"select {columns} from attempts {latest}", [endpoint]))  # noqa: S608
            if rows:
                yield endpoint, rows

    # -- the engine ----------------------------------------------------------------------------

    def attempt(self, attempt_id: int) -> Attempt:
        """One attempt."""
        sql = "select * from attempts where id = ?"
        (attempt,) = self._values(attempt_of, sql, [attempt_id])
        return attempt

    def attempts_in(self, *states: State) -> list[Attempt]:
        """All attempts in these states, oldest first."""
        sql = f"select * from attempts where state in ({placeholders(states)}) order by id"  # noqa: S608
        return list(self._values(attempt_of, sql, states))

    def open_attempts(self, *states: State) -> list[tuple[int, JobKey, str, State]]:
        """Id, job, batch and state of all attempts in these states, oldest first."""
        columns, marks = "id, job_key, batch, state", placeholders(states)
        sql = f"select {columns} from attempts where state in ({marks}) order by id"  # noqa: S608
        return list(
            self._values(
                lambda r: (r["id"], JobKey(r["job_key"]), r["batch"], State(r["state"])),
                sql,
                states,
            )
        )

    def unbilled(self) -> list[Attempt]:
        """Settled or rendered attempts at fal whose bill the ledger does not know yet."""
        states = (State.RENDERED, *SETTLED)
        sql = (
            f"select * from attempts a where state in ({placeholders(states)})"  # noqa: S608
            " and request_id is not null"
            " and not exists (select 1 from events where attempt_id = a.id and event = ?)"
            " order by id"
        )
        return list(self._values(attempt_of, sql, [*states, Event.COST_LEARNT]))

    def attempt_ids_in(self, state: State) -> list[int]:
        """Ids of all attempts in a state."""
        return [row["id"] for row in self._rows("select id from attempts where state = ?", [state])]

    def attempts_of(self, key: JobKey) -> list[Attempt]:
        """Every attempt at a job, oldest first."""
        sql = "select * from attempts where job_key = ? order by id"
        return list(self._values(attempt_of, sql, [key]))

    def owns_request(self, request_id: str) -> bool:
        """Whether an attempt has this request."""
        return any(self._rows("select 1 from attempts where request_id = ?", [request_id]))

    def owner_of(self, request_id: str) -> Attempt | None:
        """The attempt that owns a request at fal, if one does."""
        sql = "select * from attempts where request_id = ?"
        return next(self._values(attempt_of, sql, [request_id]), None)

    def delivered(self, path: str) -> bool:
        """Whether a job that has succeeded has a file under this path."""
        sql = (
            "select 1 from files f join artifacts x on x.id = f.artifact_id"
            " join attempts a on a.id = x.attempt_id where f.path = ? and a.state = 'succeeded'"
        )
        return any(self._rows(sql, [path]))

    def request_ids(self) -> set[str]:
        """Every request id that belongs to an attempt."""
        sql = "select request_id from attempts where request_id is not null"
        return {row["request_id"] for row in self._rows(sql)}

    def files_of(self, attempt_id: int) -> list[File]:
        """The files of one attempt, under all their names."""
        order = "where x.attempt_id = ? order by x.output_index, f.path"
        return list(self._files(order, [attempt_id]))

    def file_at(self, path: str) -> File | None:
        """The file that the ledger has under a path."""
        return next(self._files("where f.path = ?", [path]), None)

    def _files(self, which: str, parameters: Sequence[Any] = ()) -> Iterator[File]:
        sql = (
            "select x.attempt_id, x.output_index as 'index', f.path, x.sha256, x.size, x.ext,"  # noqa: S608
            " x.content_type, x.url, f.superseded_at is not null as superseded"
            f" from files f join artifacts x on x.id = f.artifact_id {which}"
        )
        for row in self._rows(sql, parameters):
            yield File(**{**row, "superseded": bool(row["superseded"])})

    def upload(self, sha256: str) -> tuple[str, datetime] | None:
        """The URL of fal's copy of this content, and when it was uploaded."""
        sql = "select url, uploaded_at from uploads where sha256 = ?"
        found = self._values(lambda r: (r["url"], moment_in(r["uploaded_at"])), sql, [sha256])
        return next(found, None)

    # -- money ---------------------------------------------------------------------------------

    def committed(
        self,
        batches: Sequence[str] | None = None,
        since: str | None = None,
        key: JobKey | None = None,
    ) -> MicroUSD:
        """Charged plus exposed over these batches or this job since a moment; None: all, ever."""
        money = self.money(batches, since, key)
        return MicroUSD(money.charged + money.exposed)

    def spent_by(self, run_id: int) -> MicroUSD:
        """Charged plus exposed by the attempts that one run paid for, not by what it recovered."""
        sql = (
            "select coalesce(sum(charged_micro_usd + exposed_micro_usd), 0) as spent"
            " from attempt_money where attempt_id in (select id from attempts where run_id = ?)"
            " and not exists (select 1 from events e where e.attempt_id = attempt_money.attempt_id"
            " and e.event in (?, ?))"
        )
        (row,) = self._rows(sql, [run_id, Event.FILE_RECOVERED, Event.REQUEST_RECOVERED])
        return MicroUSD(row["spent"])

    def money(
        self,
        batches: Sequence[str] | None = None,
        since: str | None = None,
        key: JobKey | None = None,
    ) -> Money:
        """Sums of what is owed and of what may be owed."""
        where, parameters = _money_filter(batches, since, key)
        sql = (
            "select coalesce(sum(charged_micro_usd), 0), coalesce(sum(exposed_micro_usd), 0),"  # noqa: S608
            " coalesce(sum(unknown_micro_usd), 0)"
            f" from attempt_money m where {where}"
        )
        with explained(self.path):
            charged, exposed, unknown = map(MicroUSD, self.db.execute(sql, parameters).fetchone())
        return Money(charged=charged, exposed=exposed, unknown=unknown)

    def highest_cost_ratios(self) -> dict[str, float]:
        """By endpoint: the highest ratio of cost to estimate among its latest ten renders.

        An estimate that has been corrected since counts with its present value.
        """
        expected = (
            "max(estimate_micro_usd, coalesce((select max(n.estimate_micro_usd) from names n"
            " where n.job_key = attempts.job_key and n.retired_at is null), 0)) as expected"
        )
        done = "state in ('rendered', 'succeeded')"
        latest = self._latest(10, f"cost_micro_usd as cost, {expected}", "cost_micro_usd", done)
        ratios = {
            e: [r["cost"] / r["expected"] for r in rows if r["expected"]] for e, rows in latest
        }
        return {endpoint: max(found) for endpoint, found in ratios.items() if found}


def _money_filter(
    batches: Sequence[str] | None, since: str | None, key: JobKey | None
) -> tuple[str, list[Any]]:
    """A condition on `attempt_money`, and its parameters."""
    where, parameters = ["1"], list[Any]()
    if batches is not None:
        where.append(f"m.batch in ({placeholders(batches)})")
        parameters += batches
    if key is not None:
        where.append("m.job_key = ?")
        parameters.append(key)
    if since is not None:
        where.append("m.intended_at >= ?")
        parameters.append(since)
    return " and ".join(where), parameters


def placeholders(values: Sequence[Any]) -> str:
    """A `?` for each value, as `in (…)` needs them."""
    return ", ".join("?" * len(values))
