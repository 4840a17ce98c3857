"""Kept sums against sums made anew."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from support.engine import PRO, T2V, make_jobs
from support.ledger import Clock, failure, handle, intend, opened, rendered

from kling_batch.core.jobs import Job
from kling_batch.core.lifecycle import Event
from kling_batch.core.outcomes import Charged
from kling_batch.core.quantities import MicroUSD, format_time
from kling_batch.core.records import Cap
from kling_batch.ledger.cap_sums import CapSums
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader

LIMIT = MicroUSD(10**9)
ALL = Cap(limit=LIMIT)


def test_a_cost_below_the_estimate_counts_once_a_bill_tells_it(ledger: Ledger) -> None:
    (job,) = make_jobs(1)
    attempt = rendered(ledger, job, cost=MicroUSD(100_000))

    assert ledger.cap_sums.committed(ALL) == job.estimate
    ledger.record(attempt, Event.COST_LEARNT, cost=MicroUSD(100_000))
    assert ledger.cap_sums.committed(ALL) == 100_000


def test_a_cost_above_the_estimate_counts_at_once(ledger: Ledger) -> None:
    rendered(ledger, make_jobs(1)[0], cost=MicroUSD(900_000))

    assert ledger.cap_sums.committed(ALL) == 900_000


def test_what_no_bill_has_confirmed_counts_as_many_times_its_estimate(ledger: Ledger) -> None:
    one, two, three, _ = make_jobs(4)
    intend(ledger, one._replace(estimate=MicroUSD(420_001)))
    ledger.record(rendered(ledger, two), Event.COST_LEARNT, cost=MicroUSD(100_000))
    intend(ledger, three._replace(endpoint=PRO))

    def committed(ratios: dict[str, float]) -> int:
        return ledger.cap_sums.committed(ALL, ratios=ratios)

    assert committed({}) == 420_001 + 100_000 + 420_000
    assert committed({T2V: 1.5}) == 630_002 + 100_000 + 420_000  # rounded up
    assert committed({T2V: 3.0, PRO: 2.0}) == 1_260_003 + 100_000 + 840_000


@pytest.mark.parametrize(
    ("charged", "counted"), [(Charged.NO, 0), (Charged.UNKNOWN, 420_000), (Charged.YES, 420_000)]
)
def test_a_failure_counts_until_it_is_known_to_be_free(
    ledger: Ledger, charged: Charged, counted: int
) -> None:
    attempt = intend(ledger, make_jobs(1)[0])
    ledger.record(attempt, Event.SUBMIT_REFUSED, failure=failure(charged))

    assert ledger.cap_sums.committed(ALL) == counted


def test_a_cap_counts_by_name_or_by_job(ledger: Ledger) -> None:
    one, two, three, _ = make_jobs(4)
    intend(ledger, one._replace(batch="before"))
    intend(ledger, two._replace(batch="other"))
    intend(ledger, three)

    renamed = Cap(limit=LIMIT, batches=("after",), keys=frozenset({one.key}))
    both = Cap(limit=LIMIT, batches=("test",), keys=frozenset({one.key, three.key}))
    assert ledger.cap_sums.committed(renamed) == one.estimate
    assert ledger.cap_sums.committed(both) == 2 * one.estimate
    assert ledger.cap_sums.committed(Cap(limit=LIMIT, batches=())) == 0
    assert ledger.cap_sums.committed(Cap(limit=LIMIT, key=two.key)) == two.estimate


def test_what_was_rolled_back_does_not_count(ledger: Ledger) -> None:
    one, two, *_ = make_jobs(4)
    assert ledger.cap_sums.committed(ALL) == 0
    attempt = intend(ledger, one)

    def half_done() -> None:
        with ledger.transaction():
            ledger.move(attempt, Event.SUBMIT_REFUSED, {"failure": failure()})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()

    intend(ledger, two)
    assert ledger.cap_sums.committed(ALL) == 2 * one.estimate


def test_only_what_has_changed_is_read_again(ledger: Ledger) -> None:
    """Sums over all attempts took 0.13 s before each payment at 20,000 of them."""
    one, two, *_ = make_jobs(4)
    intend(ledger, one)
    ledger.cap_sums.committed(ALL)
    statements: list[str] = []
    ledger.db.conn.set_trace_callback(statements.append)

    intend(ledger, two, ALL)
    assert ledger.cap_sums.committed(ALL) == 2 * one.estimate

    ledger.db.conn.set_trace_callback(None)
    sums = [text for text in statements if "from attempt_counted" in text]
    (where,) = [text.partition("where ")[2] for text in sums]
    assert where == "c.attempt_id in (select value from json_each('[2]'))"


def test_another_writer_is_noticed(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        attempt = intend(ledger, make_jobs(1)[0])
        assert ledger.cap_sums.committed(ALL) == 420_000
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as other:
            other.execute("update attempts set estimate_micro_usd = 5 where id = ?", [attempt])
            other.commit()

        assert ledger.cap_sums.committed(ALL) == 5


@pytest.mark.parametrize("seed", range(8))
def test_kept_sums_are_those_of_the_rows(tmp_path: Path, seed: int) -> None:
    """Random events, windows that move on and a clock that is set back."""
    rng, clock = Random(seed), Clock()
    jobs = make_jobs(40)
    caps = [
        ALL,
        Cap(limit=LIMIT, batches=("a",), keys=frozenset(job.key for job in jobs[:7])),
        Cap(limit=LIMIT, window=timedelta(hours=2)),
    ]
    ratios = {jobs[0].endpoint: 1.5}
    with opened(tmp_path / "ledger.db", clock, jobs) as ledger:
        for job in jobs:
            step(ledger, job._replace(batch=rng.choice("abc")), rng)
            clock.pass_(minutes=rng.choice([0, 5, 40, -30]))
            for cap in caps:
                since = format_time(clock.moment - cap.window) if cap.window else ""
                kept = ledger.cap_sums.committed(cap, since, ratios)
                with Reader.open(ledger.path) as reader:
                    assert kept == CapSums(reader).committed(cap, since, ratios)


def step(ledger: Ledger, job: Job, rng: Random) -> None:
    """One attempt at a job, as far as it happens to get."""
    attempt = intend(ledger, job)
    events = rng.randrange(5)
    if events == 0:
        return
    if events == 1:
        charged = rng.choice(list(Charged))
        ledger.record(attempt, Event.SUBMIT_REFUSED, failure=failure(charged))
        return
    ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle(f"r-{attempt}"))
    if events > 2:
        cost = rng.choice([None, MicroUSD(100_000), MicroUSD(700_000)])
        output = {"video": {"url": "https://v"}}
        ledger.record(attempt, Event.REMOTE_COMPLETED, output=output, cost=cost)
    if events > 3:
        ledger.record(attempt, Event.COST_LEARNT, cost=MicroUSD(90_000))
