"""What `verify` finds where ledger and disk do not fit, each thing alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.engine import Rig, make_jobs

from kling_batch.ledger.reader import Reader
from kling_batch.operations.verify import Verdict, verify_ledger


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Two jobs are done."""
    rig = Rig(tmp_path)
    rig.run(make_jobs(2))
    return rig


def verdict(rig: Rig) -> Verdict:
    with Reader.open(rig.ledger_path) as reader:
        return verify_ledger(reader, rig.store())


def tampered(rig: Rig, statement: str) -> None:
    """The ledger changed by hand, past its triggers."""
    with closing(sqlite3.connect(rig.ledger_path)) as db, db:
        triggers = db.execute("select name from sqlite_master where type = 'trigger'").fetchall()
        for (name,) in triggers:
            db.execute(f"drop trigger {name}")
        assert db.execute(statement).rowcount > 0


def test_where_everything_fits_all_is_counted_and_nothing_found(rig: Rig) -> None:
    assert verdict(rig) == Verdict(jobs=2, attempts=2, files=2, renditions=0, findings=())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(b"short"), "5 bytes instead of"),
        (lambda path: path.write_bytes(b"x" * path.stat().st_size), "content has changed"),
        (lambda path: path.with_name("job-0.mp4.json").unlink(), "sidecar beside it is missing"),
    ],
    ids=["missing", "cut", "changed", "sidecar"],
)
def test_a_file_that_is_not_as_it_was_saved_can_be_repaired(
    rig: Rig, damage: object, message: str
) -> None:
    assert callable(damage)
    damage(rig.folder / "test/job-0.mp4")

    (finding,) = verdict(rig).findings

    assert finding.subject == "test/job-0.mp4"
    assert message in finding.message
    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_of(make_jobs(1)[0].key)
    assert finding.repairable == attempt.id


@pytest.mark.parametrize(
    ("statement", "subject", "message"),
    [
        (
            "update jobs set arguments = '{}' where key like 'k1:%'",
            "k1:",
            "the key does not fit",
        ),
        (
            "update attempts set state = 'rendered' where id = 1",
            "attempt 1",
            "say otherwise",
        ),
        (
            "delete from events where attempt_id = 1 and event = 'submit_accepted'",
            "attempt 1",
            "impossible history",
        ),
    ],
    ids=["key", "state", "history"],
)
def test_a_ledger_that_was_changed_by_hand_is_found_and_not_repaired(
    rig: Rig, statement: str, subject: str, message: str
) -> None:
    tampered(rig, statement)

    findings = verdict(rig).findings

    assert findings
    assert findings[0].subject.startswith(subject)
    assert message in findings[0].message
    assert findings[0].repairable is None
