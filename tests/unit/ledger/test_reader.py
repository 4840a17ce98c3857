"""The ledger's reader beside a process that writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from support.engine import (
    Rig,
    make_job,
    make_jobs,
)
from support.ledger import intend, opened
from support.privileges import unprivileged

from kling_batch.core.jobs import Batch
from kling_batch.core.lifecycle import Event
from kling_batch.core.outcomes import Fetched, Handle
from kling_batch.errors import LedgerError
from kling_batch.ledger.artifacts import Placed
from kling_batch.ledger.reader import Reader


def test_standings_beside_a_run_are_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    (job,) = make_jobs(1)
    with rig.ledger() as ledger:
        ledger.begin_run(command="t", batches=["test"], pid=1, version="0", cap=None)
        ledger.register(Batch(name="test", source="t", jobs=(job,)))
        number = ledger.intend(job, {}, tries=1)
        assert isinstance(number, int)
        handle = Handle(request_id="r", response_url="", status_url="", cancel_url="")
        ledger.record(number, Event.SUBMIT_ACCEPTED, handle=handle)
        ledger.record(number, Event.REMOTE_COMPLETED, output={})
        with Reader.open(rig.ledger_path) as reader:
            plain, count = reader.db.execute, 0

            def meanwhile(*words: Any) -> Any:
                nonlocal count
                count += 1
                if count == 2:  # between two of its queries the run saves the file
                    item = Fetched(
                        temporary="", sha256="0" * 64, size=1, ext=".mp4", content_type="video/mp4"
                    )
                    placed = Placed(index=0, path="a.mp4", fetched=item, url="")
                    ledger.save_artifacts(ledger.attempt(number), [placed])
                return plain(*words)

            monkeypatch.setattr(reader.db, "execute", meanwhile)
            assert job.key in reader.standings(), "a paid job looks new"


def test_readers_read_while_a_run_writes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        first = intend(ledger, make_job("job-0"))
        with Reader.open(path) as reader:
            assert set(reader.standings().values()).pop().attempt_id == first
            ledger.db.execute("begin immediate")
            ledger.db.execute("update attempts set remote_status = 'half'")
            assert reader.attempt(first).remote_status is None
            ledger.db.execute("commit")
            assert reader.attempt(first).remote_status is None, "of one moment"
        with Reader.open(path) as reader:
            assert reader.attempt(first).remote_status == "half"
            assert [row["state"] for row in reader.db.query("select state from attempts")] == [
                "submitting"
            ]


def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    opened(path).close()
    before = path.read_bytes()

    with Reader.open(path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.db.execute("delete from names")

    assert path.read_bytes() == before


def test_reading_a_ledger_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger here yet"):
        Reader.open(tmp_path / "ledger.db")

    assert list(tmp_path.iterdir()) == []


def test_a_ledger_on_a_read_only_share_can_be_read(tmp_path: Path) -> None:
    with unprivileged(tmp_path) as folder:
        path = folder / "ledger.db"
        with opened(path) as ledger:
            intend(ledger, make_job("job-0"))
        folder.chmod(0o555)
        try:
            with Reader.open(path) as reader:
                assert len(reader.standings()) == 1
            assert sorted(p.name for p in folder.iterdir()) == ["ledger.db", "ledger.db.lock"]
        finally:
            folder.chmod(0o755)


def test_an_empty_ledger_is_not_called_an_old_one(tmp_path: Path) -> None:
    """It may be what a full disk or a cache left of one under which much was paid."""
    (tmp_path / "ledger.db").touch()

    with pytest.raises(LedgerError, match=r"this ledger is empty.*put a copy back first"):
        Reader.open(tmp_path / "ledger.db")

    assert (tmp_path / "ledger.db").read_bytes() == b""
