"""Which commits are on the disk when, and what follows where the disk cannot keep them."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.engine import make_jobs
from support.ledger import failure, handle, intend, opened, placed, rendered

from kling_batch.core.lifecycle import Event
from kling_batch.errors import LedgerError
from kling_batch.ledger import durability
from kling_batch.ledger.durability import DURABILITY, Durability
from kling_batch.ledger.ledger import Ledger

ONE, TWO, *_ = make_jobs(4)


def accepted(ledger: Ledger) -> int:
    attempt = intend(ledger, ONE)
    ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle())
    return attempt


def synchronous(ledger: Ledger, write: Callable[[Ledger], Any]) -> str:
    """The level that was in force when a write committed."""
    statements: list[str] = []
    ledger.db.conn.set_trace_callback(statements.append)
    write(ledger)
    ledger.db.conn.set_trace_callback(None)
    begun = statements.index("begin immediate")
    assert [s.lower() for s in statements[begun:]][-1] == "commit"  # nothing is set after it
    (level,) = ledger.db.execute("pragma synchronous").fetchone()
    return {1: "normal", 2: "full"}[level]


@pytest.mark.parametrize("apart", [False, True])
def test_an_intent_is_synced_before_it_returns(ledger: Ledger, apart: bool) -> None:
    ledger.synced_apart = apart
    ledger.record(intend(ledger, TWO), Event.SUBMIT_UNCONFIRMED, reason="reset")

    assert synchronous(ledger, lambda at: intend(at, ONE)) == "full"
    assert ledger.log.synced == ledger.log.committed


@pytest.mark.parametrize(("apart", "level"), [(False, "full"), (True, "normal")])
def test_answers_and_results_wait_for_somebody_only_where_there_is_somebody(
    ledger: Ledger, apart: bool, level: str
) -> None:
    attempt = intend(ledger, ONE)
    ledger.synced_apart = apart
    steps: list[Callable[[Ledger], Any]] = [
        lambda at: at.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle()),
        lambda at: at.record(
            attempt, Event.REMOTE_COMPLETED, output={"video": {"url": "https://v"}}
        ),
        lambda at: at.save_artifacts(at.attempt(attempt), [placed("test/a.mp4")]),
        lambda at: at.place(attempt, 0, "test/b.mp4"),
    ]

    assert [synchronous(ledger, step) for step in steps] == [level] * len(steps)
    assert (ledger.log.synced == ledger.log.committed) is not apart


def test_an_observation_is_never_synced_by_itself(ledger: Ledger) -> None:
    attempt = accepted(ledger)

    def observe(at: Ledger) -> None:
        at.record(attempt, Event.REMOTE_OBSERVED, remote_status="IN_QUEUE")

    assert synchronous(ledger, observe) == "normal"


def test_whatever_is_not_listed_is_synced_at_once(ledger: Ledger) -> None:
    attempt = accepted(ledger)
    ledger.synced_apart = True

    def lose(at: Ledger) -> None:
        at.record(attempt, Event.REMOTE_LOST, reason="404")

    assert synchronous(ledger, lose) == "full"
    assert {e for e, when in DURABILITY.items() if when is Durability.LATER} == {
        Event.REMOTE_OBSERVED
    }
    assert Event.SUBMIT_INTENDED not in DURABILITY


def test_a_synced_commit_makes_all_before_it_durable(ledger: Ledger) -> None:
    ledger.synced_apart = True
    ledger.record(intend(ledger, ONE), Event.SUBMIT_ACCEPTED, handle=handle())
    assert ledger.log.synced < ledger.log.committed

    intend(ledger, TWO)

    assert ledger.log.synced == ledger.log.committed


def test_a_commit_of_nothing_makes_nothing_durable(ledger: Ledger) -> None:
    """SQLite syncs what it writes, and here it writes nothing."""
    ledger.synced_apart = True
    ledger.record(intend(ledger, ONE), Event.SUBMIT_ACCEPTED, handle=handle())
    before = ledger.log.synced

    ledger.must_belong_to("emulator")
    with ledger.transaction():
        pass

    assert ledger.log.synced == before < ledger.log.committed


def test_the_log_is_synced_in_another_thread_beside_transactions(ledger: Ledger) -> None:
    ledger.synced_apart = True
    ledger.record(intend(ledger, ONE), Event.SUBMIT_ACCEPTED, handle=handle())

    def sync() -> None:
        ledger.log.sync()
        ledger.log.checkpoint()

    thread = Thread(target=sync)
    with ledger.transaction(Durability.LATER) as db:
        db.execute("update runs set version = '1'")
        thread.start()
        thread.join()
        # What is not committed yet is not counted.
        assert ledger.log.synced == ledger.log.committed

    assert ledger.log.synced == ledger.log.committed - 1


def test_closing_syncs_what_nobody_has_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(durability, "_sync", synced.append)
    with opened(tmp_path / "ledger.db") as ledger:
        ledger.synced_apart = True
        ledger.record(intend(ledger, ONE), Event.SUBMIT_ACCEPTED, handle=handle())
        assert synced == []

    assert len(synced) == 1


def test_after_a_failed_sync_nothing_is_bought_even_if_the_next_succeeds(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system reports a lost page once; a sync after that says nothing about it."""
    real, failing = os.fsync, [True]

    def sync(number: int) -> None:
        if failing.pop() if failing else False:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(number)

    monkeypatch.setattr(durability, "_sync", sync)
    ledger.synced_apart = True
    ledger.record(intend(ledger, ONE), Event.SUBMIT_ACCEPTED, handle=handle())

    for _ in range(2):
        with pytest.raises(LedgerError, match="disk cannot keep the ledger"):
            ledger.log.sync()
        with pytest.raises(LedgerError, match="nothing more is sent"):
            intend(ledger, TWO)

    assert [attempt.job_key for attempt in ledger.attempts_of(TWO.key)] == []


def test_a_checkpoint_beside_the_run_makes_the_file_alone_a_whole_copy(
    ledger: Ledger, tmp_path: Path
) -> None:
    attempt = rendered(ledger, ONE)

    ledger.log.checkpoint()

    copy = tmp_path / "copy.db"
    copy.write_bytes(ledger.path.read_bytes())
    with closing(sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True)) as db:
        assert db.execute("select id, state from attempts").fetchall() == [(attempt, "rendered")]


def test_a_checkpoint_is_no_change_of_the_sums(ledger: Ledger) -> None:
    """It is made by another connection, whose changes would have all sums made anew."""
    intend(ledger, ONE)
    (before,) = ledger.db.execute("pragma data_version").fetchone()

    ledger.log.checkpoint()
    ledger.record(intend(ledger, TWO), Event.SUBMIT_REFUSED, failure=failure())
    ledger.log.checkpoint()

    assert ledger.db.execute("pragma data_version").fetchone() == (before,)
