"""Jobs of a ledger under their names, filtered and sorted, for `list` and `status`.

A ledger of a million jobs answers within a second: what is rare is found by the index of states,
what is common in the order of the names. Counts are in `job_counts.py`. Must not
write, and must not format anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from kling_batch.core.lifecycle import BEGUN, JobStatus, State
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import StatusRow
from kling_batch.ledger.database import query
from kling_batch.ledger.reader import Reader, placeholders
from kling_batch.ledger.row_values import query_as

#: State of a job without an attempt, as machines read it.
PENDING = "pending"

#: No limit may be higher.
MOST_ROWS = 1_000_000_000
#: What `--sort` knows → expressions, the most interesting first.
SORTS: dict[str, str] = {
    "name": "batch, job_id, take",
    "cost": "price desc, batch, job_id, take",
    "time": "tried_at desc, batch, job_id, take",
    "state": "state, batch, job_id, take",
    "mode": "mode, tier, batch, job_id, take",
    "tier": "tier, mode, batch, job_id, take",
}

#: Condition on the latest attempt, by each word that a person may type for a state.
_BY_WORD: dict[str, str] = {
    JobStatus.WAITING: "a.id is null",
    JobStatus.QUEUED: f"a.state = 'submitted' and coalesce(a.remote_status, '') not in {BEGUN}",
    JobStatus.RENDERING: f"a.state = 'submitted' and a.remote_status in {BEGUN}",
    JobStatus.DOWNLOADING: "a.state = 'rendered'",
    JobStatus.DONE: "a.state = 'succeeded'",
    JobStatus.FAILED: "a.state = 'failed'",
    JobStatus.BLOCKED: "0",
    JobStatus.IN_DOUBT: "a.state in ('submitting', 'in_doubt')",
    JobStatus.CANCELLED: "a.state = 'cancelled'",
    PENDING: "a.id is null",
    **{state.value: f"a.state = '{state.value}'" for state in State if state is not State.IN_DOUBT},
    "in_doubt": "a.state in ('submitting', 'in_doubt')",
}

#: The words for what most jobs of a large ledger are.
_COMMON = {JobStatus.WAITING, JobStatus.DONE, PENDING, State.SUCCEEDED}


class JobFilter(NamedTuple):
    """Which jobs; nothing given: all."""

    batches: Sequence[str] | None = None
    #: Words of `JobStatus`, or states as machines read them.
    states: Sequence[str] = ()
    modes: Sequence[str] = ()
    tiers: Sequence[str] = ()
    tags: Sequence[str] = ()
    #: Part of the id, the prompt or the failure's message.
    text: str = ""
    #: The latest attempt began at this time or later.
    since: str | None = None
    #: Cost, or estimate where the cost is not known, between these amounts; nothing is 0.
    least: MicroUSD | None = None
    most: MicroUSD | None = None
    sort: str = "name"
    backwards: bool = False
    limit: int | None = None


EVERY = JobFilter()

_SHOT = "json_extract(j.arguments, '$.multi_prompt[{}].prompt')"
#: The prompt, or those of the shots, of which there are six at most. Without a subquery, so that
#: the plans stay as they are.
_PROMPT = (
    f"coalesce(json_extract(j.arguments, '$.prompt'), {_SHOT.format(0)}"
    + "".join(f" || coalesce(' / ' || {_SHOT.format(n)}, '')" for n in range(1, 6))
    + ")"
)

#: What the latest attempt cost, or may cost, as the column `cost` of `list` shows it.
_PRICE = (
    "case when a.charged = 'no' or a.origin = 'adopted' then 0"
    " else coalesce(a.cost_micro_usd, n.estimate_micro_usd) end"
)

_COLUMNS = f"""
  coalesce(a.state, 'pending') as state, j.mode, j.tier,
  {_PROMPT} as prompt, n.estimate_micro_usd / 1e6 as estimate_usd,
  a.cost_micro_usd / 1e6 as cost_usd, a.request_id, a.remote_status, a.failure_kind,
  json_extract(a.failure, '$.message') as failure,
  (select group_concat(f.path, ' ') from artifacts x join files f on f.artifact_id = x.id
   where x.attempt_id = a.id and f.superseded_at is null) as files,
  j.endpoint, j.key as job_key, a.id as attempt_id, a.intended_at as tried_at, a.charged, a.origin,
  {_PRICE} as price
"""  # noqa: S608

#: Condition: attempt `a` is the latest of name `n`.
LATEST_TRY = "a.id = (select max(id) from attempts where job_key = n.job_key)"

#: `cross join` keeps the order of the tables, so that the left one decides what is read.
_BY_NAME = (
    f"select n.batch, n.job_id, n.take, {_COLUMNS}"  # noqa: S608
    " from names n cross join jobs j on j.key = n.job_key"
    f" left join attempts a on {LATEST_TRY} where n.retired_at is null"
)
_BY_ATTEMPT = (
    f"select n.batch, n.job_id, n.take, {_COLUMNS}"  # noqa: S608
    " from attempts a cross join names n on n.job_key = a.job_key and n.retired_at is null"
    f" cross join jobs j on j.key = n.job_key where {LATEST_TRY}"
)
#: What left its manifest while money was on it, under the last name that it had.
_GONE = (
    "select n.batch, n.job_id || '@' || substr(n.job_key, 4, 8) as job_id, n.take,"  # noqa: S608
    f" {_COLUMNS} from attempts a cross join names n on n.rowid = (select l.rowid from names l"
    " where l.job_key = a.job_key order by l.retired_at is not null, l.retired_at desc limit 1)"
    " cross join jobs j on j.key = n.job_key where n.retired_at is not null"
    " and a.state in ('submitting', 'in_doubt', 'submitted', 'rendered')"
)
_UNTRIED = (
    " and n.rowid in (select w.rowid from names w where w.retired_at is null"
    " and not exists (select 1 from attempts where job_key = w.job_key))"
)


def known_states() -> tuple[str, ...]:
    """The words that a filter takes for a state, those for people first."""
    return tuple(dict.fromkeys([*map(str, JobStatus), *_BY_WORD]))


def job_status(reader: Reader, which: JobFilter = EVERY) -> Iterator[StatusRow]:
    """The jobs with their latest attempt: under every current name, and what left its manifest."""
    where, parameters = _conditions(which)
    words = set(which.states)
    rare = bool(words) and not words & _COMMON
    if words and words <= {JobStatus.WAITING, PENDING}:
        where += _UNTRIED
    current = _BY_ATTEMPT if rare or which.since is not None else _BY_NAME
    if which.sort == "name":
        # Apart, so that the first rows by name are found without sorting all of them.
        order, back = ("n.batch desc, n.job_id desc, n.take desc", True)
        if not which.backwards:
            order, back = "n.batch, n.job_id, n.take", False
        gone = sorted(_rows(reader, _GONE + where, parameters), key=_name, reverse=back)
        sql = f"{current}{where} order by {order}{_limit(which)}"
        both = merge(_rows(reader, sql, parameters), gone, key=_name, reverse=back)
        return islice(both, which.limit)
    order = SORTS[which.sort]
    if which.backwards:
        order = ", ".join(_reversed(term) for term in order.split(", "))
    sql = (
        f"select * from ({current}{where} union all {_GONE}{where}) order by {order}"  # noqa: S608
        f"{_limit(which)}"
    )
    return _rows(reader, sql, parameters * 2)


def _limit(which: JobFilter) -> str:
    return "" if which.limit is None else f" limit {which.limit}"


def _rows(reader: Reader, sql: str, parameters: Sequence[Any]) -> Iterator[StatusRow]:
    return query_as(reader.db, reader.path, _status_row, sql, parameters)


def _status_row(row: dict[str, Any]) -> StatusRow:
    del row["price"]
    if row["prompt"] is not None:
        row["prompt"] = str(row["prompt"])  # of an `endpoint:` job it may be a number
    if row["state"] != PENDING:
        State(row["state"])  # raises where it is none
    return StatusRow(**row)


def _name(row: StatusRow) -> tuple[str, str, int]:
    return row.batch, row.job_id, row.take


def _reversed(term: str) -> str:
    return term.removesuffix(" desc") if term.endswith(" desc") else f"{term} desc"


def _conditions(which: JobFilter) -> tuple[str, list[Any]]:
    """The filter as a condition that follows another, and its parameters."""
    where, parameters = "", list[Any]()
    lists = (("n.batch", which.batches), ("j.mode", which.modes), ("j.tier", which.tiers))
    for column, values in lists:
        if values is not None and (values or column == "n.batch"):
            where += f" and {column} in ({placeholders(values)})"
            parameters += values
    if which.states:
        where += f" and ({' or '.join(f'({_BY_WORD[word]})' for word in which.states)})"
    if which.tags:
        where += (
            " and exists (select 1 from tags t where t.batch = n.batch and t.job_id = n.job_id"  # noqa: S608
            f" and t.tag in ({placeholders(which.tags)}))"
        )
        parameters += which.tags
    if which.text:
        parts = "n.job_id", _PROMPT, "a.failure"
        where += f" and ({' or '.join(f'{part} like ? escape char(92)' for part in parts)})"
        parameters += [_pattern(which.text)] * len(parts)
    if which.since is not None:
        where += " and a.intended_at >= ?"
        parameters.append(which.since)
    for sign, amount in ((">=", which.least), ("<=", which.most)):
        if amount is not None:
            where += f" and {_PRICE} {sign} ?"
            parameters.append(amount)
    return where, parameters


def _pattern(text: str) -> str:
    for sign in ("\\", "%", "_"):
        text = text.replace(sign, f"\\{sign}")
    return f"%{text}%"


def has_tags(reader: Reader) -> bool:
    """Whether the ledger records tags: one that an older version wrote does not, until a run."""
    return "tags" in reader.db.table_names()


def tags_of_jobs(reader: Reader) -> dict[tuple[str, str], tuple[str, ...]]:
    """The tags of every job that has any, by batch and id, as its manifest had them last."""
    if not has_tags(reader):
        return {}
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for row in query(reader.db, reader.path, "select batch, job_id, tag from tags order by rowid"):
        name = (row["batch"], row["job_id"])
        found[name] = (*found.get(name, ()), row["tag"])
    return found
