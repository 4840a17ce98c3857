"""Durations of earlier renders, from which a run learns when to look."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engine import make_job
from support.ledger import Clock, handle, intend, opened

from kling_batch.core.lifecycle import Event
from kling_batch.ledger import reader as readers
from kling_batch.ledger.ledger import Ledger


def render(
    ledger: Ledger, clock: Clock, name: str, seconds: float, told: float | None, **job: str
) -> int:
    attempt = intend(ledger, make_job(name, **job))
    ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle(f"r-{attempt}"))
    clock.pass_(seconds=seconds)
    ledger.record(attempt, Event.REMOTE_COMPLETED, output={}, inference_seconds=told)
    return attempt


def jobs(count: int) -> list[str]:
    return [f"job-{n}" for n in range(count)]


def test_a_render_with_its_length_and_both_measures(tmp_path: Path) -> None:
    clock = Clock()
    names = [make_job("a"), make_job("b", duration="10"), make_job("c")]
    with opened(tmp_path / "ledger.db", clock, names) as ledger:
        render(ledger, clock, "a", 100.0, 94.5)
        render(ledger, clock, "b", 200.0, None, duration="10")
        intend(ledger, make_job("c"))

        first, second = ledger.services()

    assert (first.length, first.told) == ("5", 94.5)
    assert first.seconds == pytest.approx(100, abs=0.01)
    assert (second.length, second.told) == ("10", None)
    assert first.endpoint == second.endpoint == make_job("a").endpoint


def test_what_another_run_collected_hours_later_has_no_duration_but_fals(tmp_path: Path) -> None:
    clock, names = Clock(), [make_job("a"), make_job("b")]
    with opened(tmp_path / "ledger.db", clock, names) as ledger:
        for each in names:
            attempt = intend(ledger, each)
            ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle(f"r-{attempt}"))
        clock.pass_(hours=8)
        ledger.begin_run(command="test", batches=["test"], pid=1, version="0", cap=None)
        ledger.record(1, Event.REMOTE_COMPLETED, output={}, inference_seconds=90.0)
        ledger.record(2, Event.REMOTE_COMPLETED, output={})

        assert [each.told for each in ledger.services()] == [90.0]


def test_a_result_that_came_before_a_status_has_no_duration(tmp_path: Path) -> None:
    """When it came says less than the measures of others."""
    clock, names = Clock(), [make_job("a"), make_job("b")]
    with opened(tmp_path / "ledger.db", clock, names) as ledger:
        for name, early in (("a", True), ("b", False)):
            attempt = intend(ledger, make_job(name))
            ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle(f"r-{attempt}"))
            clock.pass_(seconds=100 + 50 * early)
            facts = {"unmeasured": True} if early else {"inference_seconds": None}
            ledger.record(attempt, Event.REMOTE_COMPLETED, output={}, **facts)

        (known,) = ledger.services()

    assert known.told is None
    assert known.seconds == pytest.approx(100, abs=0.01)


def test_only_the_latest_attempts_are_read_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "LATEST", 3)
    clock, names = Clock(), jobs(6)
    with opened(tmp_path / "ledger.db", clock, [make_job(name) for name in names]) as ledger:
        for n, name in enumerate(names):
            render(ledger, clock, name, 10.0, float(n))
        statements: list[str] = []
        ledger.db.conn.set_trace_callback(statements.append)

        assert [each.told for each in ledger.services()] == [3.0, 4.0, 5.0]

        ledger.db.conn.set_trace_callback(None)
        (sql,) = [each for each in statements if each.startswith("select a.endpoint")]
        steps = [row[3] for row in ledger.db.execute(f"explain query plan {sql}")]
    # By id, backwards, until the limit, so without a sort; events by the index of their attempt.
    assert "SCAN attempts" in steps
    assert any("events_by_attempt" in step for step in steps)
    assert not any(step.startswith("SCAN e") for step in steps)
