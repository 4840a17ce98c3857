"""Queries of a run's start, by SQLite's own plan: looked up in indexes, whatever the ledger's size.

A ledger of a million finished jobs must answer as fast as one of a hundred.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.engine import START, make_jobs
from support.ledger import placed, rendered

from kling_batch.core.jobs import JobKey
from kling_batch.core.lifecycle import OPEN, State
from kling_batch.core.quantities import MicroUSD, format_time
from kling_batch.core.records import Cap
from kling_batch.ledger.cap_sums import CapSums
from kling_batch.ledger.job_counts import job_counts
from kling_batch.ledger.ledger import Ledger

KEY = JobKey(make_jobs(1)[0].key)
LIMIT = MicroUSD(10**9)
DAY = timedelta(hours=24)


def after_a_change(sums: CapSums) -> None:
    """The sum of a cap, and the same once an attempt has changed."""
    cap = Cap(limit=LIMIT, key=KEY)
    sums.committed(cap)
    sums.changed(1)
    sums.committed(cap)


#: What a run asks before its first submission, and for each of its jobs.
QUERIES: dict[str, Callable[[Ledger], Any]] = {
    "open_attempts": lambda ledger: ledger.open_attempts(*OPEN, State.RENDERED),
    "attempt_ids_in": lambda ledger: ledger.attempt_ids_in(State.SUBMITTING),
    "current_names": lambda ledger: ledger.current_names("test"),
    "earlier_names": lambda ledger: ledger.earlier_names("test"),
    "registered": lambda ledger: ledger.registered("test"),
    "extra_takes": lambda ledger: ledger.extra_takes("test"),
    "highest_cost_ratios": lambda ledger: ledger.highest_cost_ratios(),
    "typical_seconds": lambda ledger: ledger.typical_seconds(),
    "typical_sizes": lambda ledger: ledger.typical_sizes(),
    "cap of batches": lambda ledger: ledger.cap_sums.committed(
        Cap(limit=LIMIT, batches=("test",), keys=frozenset({KEY}))
    ),
    "cap of a day": lambda ledger: ledger.cap_sums.committed(
        Cap(limit=LIMIT, window=DAY), format_time(START - DAY)
    ),
    "cap of a job": lambda ledger: ledger.cap_sums.committed(Cap(limit=LIMIT, key=KEY)),
    "cap after a change": lambda ledger: after_a_change(ledger.cap_sums),
    "committed": lambda ledger: ledger.committed(["test"]),
    "spent_by": lambda ledger: ledger.spent_by(1),
    "attempt": lambda ledger: ledger.attempt(1),
    "attempts_of": lambda ledger: ledger.attempts_of(KEY),
    "files_of": lambda ledger: ledger.files_of(1),
    "file_at": lambda ledger: ledger.file_at("test/job-0.mp4"),
    "upload": lambda ledger: ledger.upload("a" * 64),
}

#: What may be read from end to end: lists that are given with the question.
SMALL = ("json_each", "CONSTANT ROW")


def scans(ledger: Ledger, ask: Callable[[Ledger], Any]) -> list[str]:
    """The steps of a question that read something from end to end."""
    steps = plans(ledger, ask)
    return [s for s in steps if s.startswith("SCAN") and not any(name in s for name in SMALL)]


def plans(ledger: Ledger, ask: Callable[[Ledger], Any]) -> list[str]:
    """The steps of the plans of all selects in a question."""
    statements: list[str] = []
    ledger.db.conn.set_trace_callback(statements.append)
    ask(ledger)
    ledger.db.conn.set_trace_callback(None)
    selects = [sql for sql in statements if sql.lstrip().lower().startswith(("select", "with"))]
    assert selects
    return [
        str(step[-1])
        for sql in selects
        for step in ledger.db.conn.execute(f"explain query plan {sql}")
    ]


@pytest.mark.parametrize("name", QUERIES)
def test_no_table_is_read_from_end_to_end(ledger: Ledger, name: str) -> None:
    job = make_jobs(1)[0]
    attempt = rendered(ledger, job, cost=MicroUSD(1))
    ledger.save_artifacts(ledger.attempt(attempt), [placed("test/job-0.mp4")])

    assert scans(ledger, QUERIES[name]) == []


def test_counts_of_all_jobs_read_indexes_and_merge_them(ledger: Ledger) -> None:
    """`status` needs every job, but no row of a job that is done."""
    rendered(ledger, make_jobs(1)[0])
    steps = plans(ledger, lambda asked: job_counts(asked, None))

    read = [step for step in steps if step.startswith("SCAN") and " INDEX " not in step]
    assert [step for step in read if re.search(r"\b(names|jobs|attempts|[naj])\b", step)] == []
    assert "MERGE (EXCEPT)" in steps
    assert "EXCEPT USING TEMP B-TREE" not in steps


def test_a_scan_would_be_found(ledger: Ledger) -> None:
    assert scans(ledger, lambda asked: asked.money()) != []
    assert scans(ledger, lambda asked: asked.files()) != []
