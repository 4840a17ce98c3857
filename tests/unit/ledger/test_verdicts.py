"""Verdicts: a history beside a running batch, one pick among the takes of a job."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from support.engine import START, make_jobs
from support.ledger import opened, placed, rendered
from support.ledger_v1 import LEDGER
from support.privileges import unprivileged

from kling_batch.core.jobs import Batch, Job, JobKey
from kling_batch.core.verdicts import Verdict
from kling_batch.errors import LedgerError, UsageError
from kling_batch.ledger import database
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.overrides import grant_retries
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import (
    latest_verdicts,
    newest_verdict_id,
    record_verdict,
    verdict_history,
)

A, B, C = (job._replace(id="hero", take=take) for take, job in enumerate(make_jobs(3), 1))
OTHER = make_jobs(4)[3]


def finish(ledger: Ledger, job: Job) -> int:
    attempt = rendered(ledger, job)
    name = f"{job.id}-{job.take}.mp4"
    ledger.save_artifacts(ledger.attempt(attempt), [placed(name)])
    return attempt


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A run in progress: it holds the lock; three takes of `hero` are done, `OTHER` is not."""
    with opened(tmp_path / "ledger.db", jobs=[A, B, C, OTHER]) as ledger:
        for job in (A, B, C):
            finish(ledger, job)
        yield ledger


def judge(ledger: Ledger, job: Job, verdict: Verdict, note: str = "", minutes: int = 0) -> None:
    at = START + timedelta(minutes=minutes)
    record_verdict(ledger.path, job.key, verdict, note, "Ada", at=at)


def latest(ledger: Ledger) -> dict[JobKey, Verdict]:
    with Reader.open(ledger.path) as reader:
        return {key: row.verdict for key, row in latest_verdicts(reader).items()}


def test_the_latest_verdict_counts_and_the_history_keeps_all(ledger: Ledger) -> None:
    judge(ledger, A, Verdict.APPROVED, "nice")
    judge(ledger, A, Verdict.REJECTED, "the hand", minutes=1)

    assert latest(ledger) == {A.key: Verdict.REJECTED}
    with Reader.open(ledger.path) as reader:
        rows = verdict_history(reader, A.key)
    assert [(r.verdict, r.note, r.author) for r in rows] == [
        ("approved", "nice", "Ada"),
        ("rejected", "the hand", "Ada"),
    ]
    assert rows[0].at < rows[1].at


def test_a_verdict_needs_no_run_lock_and_the_run_goes_on(ledger: Ledger) -> None:
    judge(ledger, A, Verdict.APPROVED)

    finish(ledger, OTHER)
    judge(ledger, OTHER, Verdict.APPROVED)
    assert latest(ledger) == {A.key: Verdict.APPROVED, OTHER.key: Verdict.APPROVED}


def test_a_verdict_leaves_the_log_of_a_run_to_the_run(ledger: Ledger) -> None:
    """Long as the log is: its checkpoint belongs to the run, and would sync beside its commits."""
    ledger.leave_syncs()
    insert = "insert into verdicts (job_key, verdict, note, author, at)"
    insert += " values (?, 'none', ?, 'Ada', 'x')"
    with ledger.transaction() as db:  # about 1,200 pages, where SQLite's own limit is 1,000
        db.executemany(insert, ((A.key, "n" * 4000) for _ in range(1200)))
    before = ledger.path.read_bytes()

    judge(ledger, A, Verdict.APPROVED)

    assert ledger.path.read_bytes() == before
    assert latest(ledger) == {A.key: Verdict.APPROVED}


def test_a_newer_pick_takes_the_place_of_the_older_one(ledger: Ledger) -> None:
    judge(ledger, A, Verdict.PICKED, "first choice")
    judge(ledger, B, Verdict.PICKED)

    assert latest(ledger) == {A.key: Verdict.NONE, B.key: Verdict.PICKED}
    with Reader.open(ledger.path) as reader:
        history = [(r.verdict, r.note) for r in verdict_history(reader, A.key)]
    assert history == [("picked", "first choice"), ("none", "first choice")]


def test_a_take_that_loses_its_pick_is_what_it_was_before(ledger: Ledger) -> None:
    judge(ledger, A, Verdict.APPROVED)
    judge(ledger, A, Verdict.PICKED)
    judge(ledger, B, Verdict.PICKED)

    assert latest(ledger) == {A.key: Verdict.APPROVED, B.key: Verdict.PICKED}


def test_a_pick_leaves_other_jobs_and_rejected_takes_alone(ledger: Ledger) -> None:
    finish(ledger, OTHER)
    judge(ledger, OTHER, Verdict.PICKED)
    judge(ledger, C, Verdict.REJECTED)
    judge(ledger, A, Verdict.PICKED)

    assert latest(ledger) == {
        A.key: Verdict.PICKED,
        C.key: Verdict.REJECTED,
        OTHER.key: Verdict.PICKED,
    }


def test_a_verdict_survives_the_rerender_of_another_job(ledger: Ledger) -> None:
    judge(ledger, A, Verdict.APPROVED)
    edited = C._replace(key=JobKey("k1:" + "e" * 64))
    ledger.register(Batch(name="test", source="t", jobs=(A, B, edited)))
    finish(ledger, edited)

    assert latest(ledger) == {A.key: Verdict.APPROVED}


def test_a_verdict_on_a_render_that_was_made_anew_counts_no_longer(ledger: Ledger) -> None:
    attempt = rendered(ledger, OTHER)
    ledger.save_artifacts(ledger.attempt(attempt), [placed("other.mp4")])
    judge(ledger, OTHER, Verdict.APPROVED)
    # What `retry JOB` does with a paid result whose file is gone for good.
    ledger.db.execute("update attempts set state = 'rendered' where id = ?", [attempt])
    ledger.db.conn.commit()
    grant_retries(ledger, [attempt])
    second = rendered(ledger, OTHER)
    ledger.save_artifacts(ledger.attempt(second), [placed("other.mp4", "b")])

    assert latest(ledger) == {}
    judge(ledger, OTHER, Verdict.REJECTED)
    assert latest(ledger) == {OTHER.key: Verdict.REJECTED}


def test_what_is_not_rendered_cannot_be_judged(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="no finished render yet"):
        judge(ledger, OTHER, Verdict.APPROVED)
    with pytest.raises(UsageError, match="knows no job"):
        judge(ledger, OTHER._replace(key=JobKey("k1:0")), Verdict.NONE)
    judge(ledger, OTHER, Verdict.NONE, "too long, shorten the prompt")

    assert latest(ledger) == {OTHER.key: Verdict.NONE}


def test_rows_are_never_changed_or_deleted(ledger: Ledger) -> None:
    judge(ledger, A, Verdict.APPROVED)

    with closing(sqlite3.connect(ledger.path)) as db:
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            db.execute("update verdicts set verdict = 'rejected'")
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            db.execute("delete from verdicts")


def test_new_verdicts_are_seen_by_their_number(ledger: Ledger) -> None:
    with Reader.open(ledger.path) as reader:
        assert newest_verdict_id(reader) == 0
    judge(ledger, A, Verdict.APPROVED)

    with Reader.open(ledger.path) as reader:
        assert newest_verdict_id(reader) == 1


def test_a_ledger_held_by_another_program_is_said(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BESIDE_SECONDS", 0.05)
    with ledger.transaction(), pytest.raises(LedgerError, match="another program holds"):
        judge(ledger, A, Verdict.APPROVED)

    assert latest(ledger) == {}


def test_an_old_ledger_is_upgraded_first(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(LEDGER.read_bytes())
    with Reader.open(path) as reader:
        assert latest_verdicts(reader) == {}
        done = next(k for k, s in reader.standings().items() if s.state == "succeeded")

    record_verdict(path, done, Verdict.APPROVED, at=START)

    with Reader.open(path) as reader:
        assert latest_verdicts(reader)[done].verdict is Verdict.APPROVED


@pytest.mark.parametrize("what", ["folder", "file"])
def test_without_the_right_to_write_it_is_said_and_nothing_is_recorded(
    tmp_path: Path, what: str
) -> None:
    with unprivileged(tmp_path) as folder:
        path = folder / "ledger.db"
        with opened(path, jobs=[A]) as ledger:
            finish(ledger, A)
        path.chmod(0o444)
        if what == "folder":
            folder.chmod(0o555)
        with pytest.raises(LedgerError, match="cannot open the ledger for writing"):
            record_verdict(path, A.key, Verdict.APPROVED, at=START)
        with Reader.open(path) as reader:
            assert latest_verdicts(reader) == {}
        folder.chmod(0o755)


def test_no_ledger_is_made_for_a_verdict(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger here"):
        record_verdict(tmp_path / "ledger.db", A.key, Verdict.APPROVED, at=START)

    assert list(tmp_path.iterdir()) == []
