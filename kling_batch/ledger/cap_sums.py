"""Sums that caps are held against, kept from payment to payment.

A sum is read from the ledger once; after that only the attempts that have changed are read again,
so that the check before a payment takes the same time however many attempts there are. Must not
write, and must not decide whether a cap holds.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import NamedTuple

from kling_batch.core.jobs import JobKey
from kling_batch.core.quantities import MicroUSD, format_time, parse_time
from kling_batch.core.records import Cap
from kling_batch.ledger.database import query
from kling_batch.ledger.reader import Reader

#: From the intent to the end of a request that lies in its queue; longer ago, only open ones are
#: looked at.
_LONGEST = timedelta(days=30)

_OPEN = "('submitting', 'in_doubt', 'submitted')"
_OPEN_OR_SINCE = (
    f"select id from attempts where state in {_OPEN}"  # noqa: S608
    " union select id from attempts where intended_at >= ?"
)

_ROWS = (
    "select c.attempt_id, c.job_key, c.batch, c.intended_at, c.endpoint, c.counted_micro_usd,"  # noqa: S608
    f" c.scaled_micro_usd, a.request_id, case when a.state in {_OPEN} then '~'"
    " else max(a.intended_at, coalesce(a.rendered_at, a.settled_at, '')) end as due_at"
    " from attempt_counted c join attempts a on a.id = c.attempt_id"
)


class _Row(NamedTuple):
    """A row of the view `attempt_counted`, and when its money is due."""

    attempt_id: int
    job_key: JobKey
    batch: str
    intended_at: str
    endpoint: str
    counted_micro_usd: int
    scaled_micro_usd: int
    request_id: str | None
    #: When its bill came about as far as we know; later than any time while it may yet.
    due_at: str


@dataclass(slots=True)
class _CapSum:
    """The attempts that one cap counts, and their sums."""

    cap: Cap
    #: Start of the cap's window, or empty.
    since: str
    rows: dict[int, _Row] = field(default_factory=dict)
    counted: int = 0
    #: By endpoint: estimates that nobody has confirmed.
    scaled: Counter[str] = field(default_factory=Counter)
    #: (time of intent, attempt) of each row, the earliest first; only for caps with a window.
    by_time: list[tuple[str, int]] = field(default_factory=list)

    def put(self, row: _Row) -> None:
        """Count an attempt, or count it anew."""
        self._drop(row.attempt_id)
        if not self._counts(row):
            return
        self.rows[row.attempt_id] = row
        self.counted += row.counted_micro_usd
        self.scaled[row.endpoint] += row.scaled_micro_usd
        if self.cap.window is not None:
            heapq.heappush(self.by_time, (self._time(row), row.attempt_id))

    def _counts(self, row: _Row) -> bool:
        bills = self.cap.bills
        if bills is not None and row.request_id in bills.requests:
            return False  # its bill is in their total, or older than the window
        return self._time(row) >= self.since and self.cap.counts(row.batch, row.job_key)

    def _time(self, row: _Row) -> str:
        """What the window is compared with: bills come at the end of a render."""
        return row.intended_at if self.cap.bills is None else row.due_at

    def move_to(self, since: str) -> None:
        """Move the start of the window on; what is before it counts no more."""
        self.since = since
        while self.by_time and self.by_time[0][0] < since:
            self._drop(heapq.heappop(self.by_time)[1])

    def _drop(self, attempt_id: int) -> None:
        row = self.rows.pop(attempt_id, None)
        if row is not None:
            self.counted -= row.counted_micro_usd
            self.scaled[row.endpoint] -= row.scaled_micro_usd


class CapSums:
    """The sum of every cap that has been asked about."""

    def __init__(self, reader: Reader) -> None:
        """Nothing is read before the first question."""
        self._reader = reader
        self._sums: dict[Cap, _CapSum] = {}
        self._changed: set[int] = set()
        #: SQLite's number of the file's content as other connections have left it.
        self._version = 0

    def changed(self, attempt_id: int) -> None:
        """Note that an attempt is new or has changed, or will be once a transaction commits."""
        self._changed.add(attempt_id)

    def committed(
        self, cap: Cap, since: str = "", ratios: Mapping[str, float] | None = None
    ) -> MicroUSD:
        """What counts against a cap.

        Args:
            cap: whose attempts are summed.
            since: start of the cap's window; empty where it has none.
            ratios: by endpoint, how many times their estimates renders have cost; estimates that
                no bill has confirmed count that many times.
        """
        self._refresh()
        found = self._sums.get(cap)
        if found is None or since < found.since:  # a window that went back has lost rows
            if cap.bills is not None:  # of bills, only the latest look is of use
                self._sums = {each: s for each, s in self._sums.items() if each.bills is None}
            found = self._sums[cap] = _CapSum(cap, since)
            for row in self._read(*_which(cap, since)):
                found.put(row)
        found.move_to(since)
        more = sum(found.scaled[name] * (ratio - 1) for name, ratio in (ratios or {}).items())
        billed = cap.bills.total if cap.bills is not None else 0
        return MicroUSD(billed + found.counted + ceil(more))

    def _refresh(self) -> None:
        """Read the attempts again that have changed since the last question."""
        changed, self._changed = sorted(self._changed), set()
        (version,) = self._reader.db.execute("pragma data_version").fetchone()
        if version != self._version:  # somebody else has written, so every sum is made anew
            self._version = version
            self._sums.clear()
        if not changed:
            return
        for row in self._read(
            "c.attempt_id in (select value from json_each(?))", [json.dumps(changed)]
        ):
            for each in self._sums.values():
                each.put(row)

    def _read(self, where: str, parameters: Iterable[str | int]) -> Iterator[_Row]:
        sql = f"{_ROWS} where {where}"
        for row in query(self._reader.db, self._reader.path, sql, list(parameters)):
            yield _Row(**row)


def _which(cap: Cap, since: str) -> tuple[str, list[str]]:
    """A condition on `attempt_counted` that leaves out most of what a cap does not count.

    Each part is looked up in an index: the attempts of other batches take no time.
    """
    where, parameters = ["1"], list[str]()
    if cap.bills is not None:
        earliest = format_time(parse_time(since) - _LONGEST) if since else ""
        where.append(f"c.attempt_id in ({_OPEN_OR_SINCE})")
        parameters.append(earliest)
    elif since:
        where.append("c.intended_at >= ?")
        parameters.append(since)
    if cap.key is not None:
        where.append("c.job_key = ?")
        parameters.append(cap.key)
    if cap.batches is not None:
        among = "select id from attempts where {} in (select value from json_each(?))"
        either = f"{among.format('batch')} union {among.format('job_key')}"
        where.append(f"c.attempt_id in ({either})")
        parameters += [json.dumps(cap.batches), json.dumps([*cap.keys])]
    return " and ".join(where), parameters


__all__ = ["CapSums"]
