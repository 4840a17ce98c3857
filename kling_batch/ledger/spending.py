"""Sums of attempts by day, batch, mode, tier, endpoint or reason, and percentiles of latency.

For `report`. Must not write, and must not format anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles
from typing import Any, NamedTuple

from kling_batch.core.quantities import MicroUSD
from kling_batch.ledger.database import query
from kling_batch.ledger.reader import Reader

#: What `report --by` knows → expressions over the attempt `a` and its job `j`.
GROUPS: dict[str, str] = {
    "day": "substr(a.intended_at, 1, 10)",
    "mode": "j.mode",
    "tier": "j.tier",
    "batch": "a.batch",
    "endpoint": "a.endpoint",
    "reason": "coalesce(a.failure_kind || ': ' || json_extract(a.failure, '$.message'), '')",
}
#: Renders of each endpoint, the latest ones, from which percentiles are taken.
LATEST = 5_000


class Spending(NamedTuple):
    """The attempts of one group."""

    #: A value for each name that was grouped by.
    group: tuple[str, ...]
    attempts: int
    renders: int
    failed: int
    charged: MicroUSD
    exposed: MicroUSD
    unknown: MicroUSD
    #: Of the renders whose cost is known: how many fal has billed, their estimates, their costs.
    billed: int
    estimated: MicroUSD
    cost: MicroUSD

    @property
    def ratio(self) -> float | None:
        """Cost over estimate; None where there is nothing to compare."""
        return round(self.cost / self.estimated, 3) if self.estimated and self.cost else None


def spending(reader: Reader, by: Sequence[str]) -> list[Spending]:
    """Attempts and money by these names of `GROUPS`, in the order of the groups."""
    keys = ", ".join(f"{GROUPS[name]} as g{i}" for i, name in enumerate(by))
    marks = ", ".join(str(i + 1) for i in range(len(by)))
    known = "a.cost_micro_usd is not null and a.state in ('rendered', 'succeeded')"
    # A reason is one of a failure: what has not failed belongs to no group of it.
    where = "where a.state in ('failed', 'cancelled')" if "reason" in by else ""
    sql = (
        f"select {keys}, count(*) as attempts,"  # noqa: S608
        " sum(a.state in ('rendered', 'succeeded')) as renders,"
        " sum(a.state in ('failed', 'cancelled')) as failed,"
        " sum(m.charged_micro_usd) as charged, sum(m.exposed_micro_usd) as exposed,"
        f" sum(m.unknown_micro_usd) as unknown, {_billed(reader)} as billed,"
        f" sum(iif({known}, a.estimate_micro_usd, 0)) as estimated,"
        f" sum(iif({known}, a.cost_micro_usd, 0)) as cost"
        " from attempts a join attempt_money m on m.attempt_id = a.id"
        f" join jobs j on j.key = a.job_key {where} group by {marks} order by {marks}"
    )
    return [
        Spending(tuple(str(row.pop(f"g{i}")) for i in range(len(by))), **row)
        for row in query(reader.db, reader.path, sql)
    ]


def _billed(reader: Reader) -> str:
    """Ledgers of before bills were recorded have no column for them."""
    known = "billed_at" in reader.db.table("attempts").columns_dict
    return "sum(a.billed_at is not null)" if known else "0"


class Latency(NamedTuple):
    """Seconds from acceptance to the end of the render, of an endpoint's latest renders."""

    endpoint: str
    renders: int
    p50: float
    p90: float
    p99: float
    longest: float


def latencies(reader: Reader) -> list[Latency]:
    """By endpoint; only renders that the run saw end that submitted them.

    A render that a later run collected may have been ready for hours. Without those in which the
    clock was set back.
    """
    found = []
    endpoint = ""
    while endpoint := _next_endpoint(reader, endpoint):
        seconds = sorted(_seconds(reader, endpoint))
        if seconds:
            at = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
            half, most, nearly = (round(at[i], 1) for i in (49, 89, 98))
            longest = round(seconds[-1], 1)
            found.append(Latency(endpoint, len(seconds), half, most, nearly, longest))
    return found


def _next_endpoint(reader: Reader, before: str) -> str:
    sql = (
        "select min(endpoint) as endpoint from attempts"
        " where rendered_at is not null and endpoint > ?"
    )
    (row,) = query(reader.db, reader.path, sql, [before])
    return row["endpoint"] or ""


def _seconds(reader: Reader, endpoint: str) -> list[float]:
    sql = (
        "select (julianday(a.rendered_at) - julianday(a.submitted_at)) * 86400 as seconds"
        " from (select * from attempts where endpoint = ? and rendered_at is not null"
        " order by id desc limit ?) a where seconds >= 0"
        " and exists (select 1 from events e where e.attempt_id = a.id"
        " and e.event = 'remote_completed' and e.run_id = a.run_id)"
    )
    rows: list[Any] = [*query(reader.db, reader.path, sql, [endpoint, LATEST])]
    return [float(row["seconds"]) for row in rows]
