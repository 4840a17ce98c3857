"""Finding a job by the name a person types: `hero`, `hero#2`, `campaign/hero`, or its key.

Reads only.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from kling_batch.errors import UsageError
from kling_batch.jobs import JSON, JobKey
from kling_batch.records import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A job of the ledger under its current name."""

    key: JobKey
    batch: str
    id: str
    take: int
    endpoint: str
    arguments: str
    estimate: int
    place: str
    #: Keys that had this name before, newest first, with when they lost it.
    earlier: tuple[tuple[JobKey, str], ...]

    @property
    def label(self) -> str:
        """As `Job.label`."""
        return self.id if self.take == 1 else f"{self.id}#{self.take}"


_SQL = (
    "select n.batch, n.job_id, n.take, n.job_key, n.estimate_micro_usd, n.place, j.endpoint,"
    " j.arguments from names n join jobs j on j.key = n.job_key where n.retired_at is null"
)


def all_named(reader: Reader) -> list[Named]:
    """Every job under its current name."""
    return [_named(reader, row) for row in list(reader.rows(f"{_SQL} order by 1, 2, 3"))]


def find(reader: Reader, word: str) -> Named:
    """The one job that `word` names.

    Raises:
        UsageError: none, or several; with what to type instead.
    """
    batch, _, rest = word.rpartition("/")
    name, _, number = rest.partition("#")
    take = int(number) if number.isdecimal() else 1
    if word.startswith("k1:"):
        rows = list(reader.rows(f"{_SQL} and n.job_key = ?", [word]))[:1]
    else:
        rows = list(reader.rows(f"{_SQL} and n.job_id = ? and n.take = ?", [name, take]))
        rows = [row for row in rows if batch in ("", row["batch"])]
    if not rows:
        raise UsageError(f"no job {word!r} in {reader.path}{_nearest(reader, name)}")
    if len(rows) > 1:
        names = ", ".join(f"{row['batch']}/{word}" for row in rows)
        raise UsageError(f"several batches have a job {word!r}: {names}")
    return _named(reader, rows[0])


def _named(reader: Reader, row: dict[str, Any]) -> Named:
    earlier = reader.rows(
        "select job_key, retired_at from names where batch = ? and job_id = ? and take = ?"
        " and retired_at is not null order by retired_at desc",
        [row["batch"], row["job_id"], row["take"]],
    )
    return Named(
        key=JobKey(row["job_key"]),
        batch=row["batch"],
        id=row["job_id"],
        take=row["take"],
        endpoint=row["endpoint"],
        arguments=row["arguments"],
        estimate=row["estimate_micro_usd"],
        place=row["place"],
        earlier=tuple((JobKey(e["job_key"]), e["retired_at"]) for e in earlier),
    )


def _nearest(reader: Reader, name: str) -> str:
    known = {row["job_id"] for row in reader.rows("select distinct job_id from names")}
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def differences(before: JSON, now: JSON) -> list[str]:
    """`name: old → new` for each argument that differs."""
    return [
        f"{name}: {_short(before.get(name))} → {_short(now.get(name))}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _short(value: JSON) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
