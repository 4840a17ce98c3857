"""The ledger's file: one writer, many readers, races, copies, and bad disks."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC
from pathlib import Path

import pytest
from support.engine import START, make_job, make_jobs
from support.ledger import Clock, count, handle, intend, opened, rendered
from support.privileges import unprivileged

from kling_batch.core.jobs import Batch
from kling_batch.core.lifecycle import Event, State
from kling_batch.errors import LedgerError, UsageError
from kling_batch.ledger.database import RunLock, connect
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader

RACER = Path(__file__).parents[2] / "support/ledger_race.py"


# -- one writer --------------------------------------------------------------------------------


def test_a_second_writer_is_reported_who_is_at_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path), pytest.raises(LedgerError, match=r"pid 42, since 2026-05-01T12:00"):
        opened(path)

    opened(path).close()


def test_the_lock_holds_whatever_the_ledger_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two names of one file are one ledger: a link must not let two runs pay at once."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    (tmp_path / "link.db").symlink_to(folder / "ledger.db")
    (tmp_path / "elsewhere").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    names = ["outputs/ledger.db", "outputs/../outputs/ledger.db", "link.db", "elsewhere/ledger.db"]

    with opened(folder / "ledger.db"):
        for name in names:
            with pytest.raises(LedgerError, match="another run"):
                opened(Path(name))


def test_a_finished_run_is_not_named_as_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        ledger.end_run(0)
    lock = RunLock(path)
    lock.acquire()
    try:
        with pytest.raises(LedgerError) as caught:
            opened(path)
    finally:
        lock.release()

    assert "pid" not in str(caught.value)


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, RACER, "hold", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_dead_holder_never_blocks_and_its_open_intent_is_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with holder(path) as process:
        with pytest.raises(LedgerError, match=f"pid {process.pid}"):
            opened(path)
        process.send_signal(signal.SIGKILL)
        process.wait()

        with opened(path) as ledger:
            assert len(ledger.recover()) == 1


# -- races -------------------------------------------------------------------------------------


def raced(path: Path, processes: int, jobs: int, cap: int = 0) -> Counter[str]:
    racers = [
        subprocess.Popen(
            [sys.executable, RACER, "race", path, str(jobs), str(cap)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    told: Counter[str] = Counter()
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        out, _ = racer.communicate(timeout=60)
        assert racer.returncode == 0
        told.update(out.split())
    return told


def test_racing_processes_pay_for_each_job_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    opened(path, jobs=make_jobs(40)).close()

    told = raced(path, processes=3, jobs=40)

    assert told == {"paid": 40, "refused": 80}
    assert count(path, "attempts") == 40


def test_a_transaction_holds_the_pen_from_its_first_line(ledger: Ledger) -> None:
    """Between the sum that a cap is held against and the row, nobody else may write."""
    other = sqlite3.connect(ledger.path, isolation_level=None, timeout=0)
    with closing(other), ledger.transaction() as db:
        db.execute("select count(*) from attempts").fetchone()

        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("begin immediate")


def test_racing_processes_never_pass_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    jobs = make_jobs(40)
    opened(path, jobs=jobs).close()
    limit = 7 * jobs[0].estimate + 1

    told = raced(path, processes=3, jobs=40, cap=limit)

    assert told["paid"] == 7
    with Reader.open(path) as reader:
        assert reader.committed() == 7 * jobs[0].estimate


# -- copies ------------------------------------------------------------------------------------


def test_a_copy_of_all_files_of_a_running_ledger_is_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        rendered(ledger, make_job("job-0"))
        intend(ledger, make_job("job-1"))
        copy = tmp_path / "copy"
        copy.mkdir()
        for file in tmp_path.glob("ledger.db*"):
            shutil.copy(file, copy)

        with opened(copy / "ledger.db") as other:
            assert [a.state for a in other.attempts_in(*State)] == [
                State.RENDERED,
                State.SUBMITTING,
            ]


def test_a_closed_ledger_is_one_file(tmp_path: Path) -> None:
    """A cached folder carries everything: nothing waits in a log beside it."""
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        intend(ledger, make_job("job-0"))

    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)

    assert not path.with_name("ledger.db-wal").exists()
    assert count(copy, "attempts") == 1


# -- whose ledger ------------------------------------------------------------------------------


def test_a_ledger_belongs_to_one_service_and_a_refusal_lets_go_of_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    opened(path).close()

    with pytest.raises(UsageError, match="belongs to the emulator"):
        Ledger(path, service="fal", now=Clock())

    assert not path.with_name("ledger.db-wal").exists()
    opened(path).close()


def test_nobody_else_may_read_a_new_ledger(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/ledger.db"

    with opened(path):
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}

    assert set(modes) >= {"ledger.db", "ledger.db-wal", "ledger.db.lock"}
    assert set(modes.values()) == {0o600}


# -- bad disks ---------------------------------------------------------------------------------


def fill(ledger: Ledger) -> None:
    """Let the file grow by no page more."""
    pages = ledger.db.execute("pragma page_count").fetchone()[0]
    ledger.db.execute(f"pragma max_page_count = {pages}")


def test_a_full_disk_is_a_message_and_loses_nothing(ledger: Ledger) -> None:
    attempt = intend(ledger, make_job("job-0"))
    fill(ledger)
    told = None
    for n in range(500):
        try:
            ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle("r" * 5000))
        except LedgerError as error:
            told = str(error)
            break
        attempt = intend(ledger, make_jobs(4)[n % 3 + 1])

    assert told is not None
    assert "full" in told
    assert "make room" in told
    assert not ledger.db.conn.in_transaction
    assert ledger.attempt(attempt).state is State.SUBMITTING
    ledger.db.execute("pragma max_page_count = 100000")
    assert ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle()) is State.SUBMITTED


def test_a_commit_that_fails_leaves_no_open_transaction(ledger: Ledger) -> None:
    """Else every later write of the run would fail, or go in with the next commit."""
    attempt = intend(ledger, make_job("job-0"))
    # A deferred constraint fails where a full disk may: at the commit itself.
    ledger.db.execute("create table late (x references runs (id) deferrable initially deferred)")

    with pytest.raises(sqlite3.IntegrityError), ledger.transaction() as db:
        db.execute("insert into late values (999)")

    assert not ledger.db.conn.in_transaction
    assert ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle()) is State.SUBMITTED


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_really_full_disk_is_a_message_and_the_next_run_goes_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not let root mount")
    try:
        jobs = make_jobs(500)
        paid = 0
        with opened(disk / "ledger.db", jobs=jobs[:10]) as ledger:
            (disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(disk).free - 160_000))
            told = ""
            try:
                for job in jobs:
                    ledger.register(Batch(name="test", source="t", jobs=(job,)), whole=False)
                    intend(ledger, job)
                    paid += 1
            except LedgerError as error:
                told = str(error)
        assert "make room" in told
        assert paid > 0
        (disk / "ballast").unlink()

        with opened(disk / "ledger.db", jobs=jobs[:10]) as ledger:
            assert len(ledger.recover()) == paid
            assert ledger.db.execute("pragma integrity_check").fetchone()[0] == "ok"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_ledger_that_somebody_else_writes_is_a_message(ledger: Ledger) -> None:
    attempt = intend(ledger, make_job("job-0"))
    ledger.db.execute("pragma busy_timeout = 20")
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("begin immediate")

        with pytest.raises(LedgerError, match="another program holds the ledger"):
            ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle())

    assert ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle()) is State.SUBMITTED


def test_a_folder_that_may_not_be_written_is_a_message(tmp_path: Path) -> None:
    with unprivileged(tmp_path) as folder:
        folder.chmod(0o555)
        try:
            with pytest.raises(LedgerError, match="nothing was changed"):
                opened(folder / "ledger.db")
            with pytest.raises(LedgerError, match="nothing was changed"):
                opened(folder / "deeper/ledger.db")
        finally:
            folder.chmod(0o755)


def test_a_ledger_that_may_not_be_written_is_a_message_and_stays(tmp_path: Path) -> None:
    with unprivileged(tmp_path) as folder:
        path = folder / "ledger.db"
        opened(path).close()
        path.chmod(0o444)
        before = path.read_bytes()

        with pytest.raises(LedgerError, match="permissions"):
            opened(path)

        assert path.read_bytes() == before


def test_a_ledger_whose_folder_is_a_file_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")

    with pytest.raises(LedgerError, match="outputs"):
        opened(tmp_path / "outputs/ledger.db")


def test_a_ledger_that_is_a_folder_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()

    with pytest.raises(LedgerError, match=r"ledger\.db"):
        opened(tmp_path / "ledger.db")
    with pytest.raises(LedgerError, match=r"ledger\.db"):
        Reader.open(tmp_path / "ledger.db")


@pytest.mark.parametrize("where", ["batch in ('a', 'b')", "intended_at >= '2026'"])
def test_a_cap_is_summed_without_reading_the_rows(tmp_path: Path, where: str) -> None:
    """With 20,000 attempts the sum over whole rows took 21 ms before each submission."""
    with opened(tmp_path / "ledger.db") as ledger:
        sql = f"explain query plan select sum(exposed_micro_usd) from attempt_money where {where}"
        plan = [row["detail"] for row in ledger.db.query(sql)]

    assert len(plan) == 1
    assert "COVERING INDEX" in plan[0]


def test_connecting_twice_to_a_fresh_path_makes_one_ledger(tmp_path: Path) -> None:
    """The race of two first runs is settled by the lock; the schema must survive it anyhow."""
    path = tmp_path / "ledger.db"
    with closing(connect(path, writable=True)), closing(connect(path, writable=True)):
        assert count(path, "ledger") == 0

    assert START.tzinfo is UTC


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that takes no file, anyone's")
def test_a_folder_that_takes_no_file_is_not_a_run_that_has_the_lock() -> None:
    with pytest.raises(LedgerError, match="no file can be made in this folder"):
        RunLock(Path("/proc/ledger.db")).acquire()
