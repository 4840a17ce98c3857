"""The ledger file: one writer, many readers, no second payment, and nothing lost on a bad disk."""

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
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support.engine import START, make_job, make_jobs
from support.privileges import unprivileged

from kling_batch.core.jobs import Batch, Job, LocalFile
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import Charged, Failure, FailureKind, Fetched, Handle
from kling_batch.core.quantities import MicroUSD, format_time
from kling_batch.core.records import Cap, OverCap
from kling_batch.errors import LedgerError, UsageError
from kling_batch.ledger.database import RunLock, connect
from kling_batch.ledger.ledger import Ledger, Placed, RequestClaimedError
from kling_batch.ledger.overrides import adopt
from kling_batch.ledger.reader import Reader

RACER = Path(__file__).parents[2] / "support/ledger_race.py"


class Clock:
    """A clock that goes where it is told."""

    def __init__(self) -> None:
        self.moment = START

    def __call__(self) -> datetime:
        return self.moment

    def pass_(self, **by: float) -> None:
        self.moment += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(path: Path, clock: Clock | None = None, jobs: list[Job] | None = None) -> Ledger:
    ledger = Ledger(path, service="emulator", now=clock or Clock())
    ledger.begin_run(command="test", batches=["test"], pid=42, version="0", cap=None)
    ledger.register(Batch(name="test", source="t", jobs=tuple(jobs or make_jobs(4))))
    return ledger


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with opened(tmp_path / "ledger.db", clock) as ledger:
        yield ledger


def intend(ledger: Ledger, job: Job, *caps: Cap, tries: int = 1) -> int:
    attempt = ledger.intend(job, dict(job.arguments), tries=tries, caps=caps)
    assert isinstance(attempt, int)
    return attempt


def handle(request_id: str = "r-1") -> Handle:
    base = f"https://queue.fal.run/a/b/requests/{request_id}"
    return Handle(
        request_id=request_id, response_url=base, status_url=f"{base}/status", cancel_url=base
    )


def failure(charged: Charged = Charged.NO) -> Failure:
    return Failure(kind=FailureKind.INVALID, message="no", charged=charged)


def rendered(ledger: Ledger, job: Job, **facts: Any) -> int:
    attempt = intend(ledger, job)
    ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle(f"r-{attempt}"))
    ledger.record(attempt, Event.REMOTE_COMPLETED, output={"video": {"url": "https://v"}}, **facts)
    return attempt


def placed(path: str, digit: str = "a", url: str = "https://v?sig=x", index: int = 0) -> Placed:
    fetched = Fetched(temporary="", sha256=digit * 64, size=3, ext=".mp4", content_type="video/mp4")
    return Placed(index=index, path=path, fetched=fetched, url=url)


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"select count(*) from {table}").fetchone()[0])


# -- the intent --------------------------------------------------------------------------------


def test_the_intent_is_committed_before_anybody_can_send_it(ledger: Ledger) -> None:
    intend(ledger, make_jobs(1)[0])

    with closing(sqlite3.connect(ledger.path)) as other:
        assert other.execute("select state from attempts").fetchall() == [("submitting",)]
        assert other.execute("select event from events").fetchall() == [("submit_intended",)]


@pytest.mark.parametrize("setting", ["synchronous = 2", "foreign_keys = 1", "journal_mode = wal"])
def test_a_commit_is_on_the_disk_before_the_post_leaves(ledger: Ledger, setting: str) -> None:
    name, _, value = setting.partition(" = ")

    assert str(ledger.db.execute(f"pragma {name}").fetchone()[0]) == value


def test_a_refused_intent_leaves_nothing_behind(ledger: Ledger) -> None:
    job = make_job("job-0")
    over = Cap(limit=MicroUSD(job.estimate - 1))

    assert ledger.intend(job, {}, tries=1, caps=[over]) == OverCap(
        cap=over, committed=MicroUSD(0), estimate=job.estimate
    )
    assert count(ledger.path, "attempts") == count(ledger.path, "events") == 0


def test_a_cap_that_just_fits_is_no_refusal(ledger: Ledger) -> None:
    one, two, three, _ = make_jobs(4)
    cap = Cap(limit=MicroUSD(2 * one.estimate))

    intend(ledger, one, cap)
    intend(ledger, two, cap)

    refused = ledger.intend(three, {}, tries=1, caps=[cap])
    assert isinstance(refused, OverCap)
    assert refused.committed == cap.limit


@pytest.mark.parametrize(
    ("charged", "counted"), [(Charged.NO, 0), (Charged.UNKNOWN, 420_000), (Charged.YES, 420_000)]
)
def test_a_failed_attempt_counts_until_it_is_known_to_be_free(
    ledger: Ledger, charged: Charged, counted: int
) -> None:
    attempt = intend(ledger, make_job("job-0"))
    ledger.record(attempt, Event.SUBMIT_REFUSED, failure=failure(charged))

    assert ledger.committed() == counted


def test_what_is_open_is_told_from_what_is_over_and_perhaps_billed(ledger: Ledger) -> None:
    over, _ = (intend(ledger, job) for job in make_jobs(2))
    ledger.record(over, Event.SUBMIT_REFUSED, failure=failure(Charged.UNKNOWN))

    money = ledger.money()

    assert (money.charged, money.exposed, money.unknown) == (0, 840_000, 420_000)


@pytest.mark.parametrize("charged", [Charged.UNKNOWN, Charged.NO, Charged.YES])
@pytest.mark.parametrize("cost", [0, 140_000, 900_000])
def test_a_bill_settles_what_a_failure_left_open(
    ledger: Ledger, charged: Charged, cost: int
) -> None:
    """Exposed was the estimate; owed is what fal billed, be it more."""
    attempt = intend(ledger, make_job("job-0"))
    ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle())
    ledger.record(attempt, Event.REMOTE_FAILED, failure=failure(charged))

    ledger.record(attempt, Event.COST_LEARNT, cost=cost)

    money = ledger.money()
    assert (money.charged, money.exposed) == (cost, 0)


def test_a_cap_by_time_counts_what_was_intended_within_it(ledger: Ledger, clock: Clock) -> None:
    one, two, three, _ = make_jobs(4)
    day = Cap(limit=one.estimate, window=timedelta(days=1))
    intend(ledger, one, day)

    clock.pass_(days=1)
    assert isinstance(ledger.intend(two, {}, tries=1, caps=[day]), OverCap)
    clock.pass_(milliseconds=1)
    intend(ledger, two, day)
    clock.pass_(hours=-5)  # a clock put right must not open the purse again
    assert isinstance(ledger.intend(three, {}, tries=1, caps=[day]), OverCap)


def test_a_cap_over_batches_ignores_the_others(ledger: Ledger) -> None:
    one, two, *_ = make_jobs(4)
    intend(ledger, one)

    intend(ledger, two, Cap(limit=two.estimate, batches=("elsewhere",)))

    assert ledger.committed(("test",)) == 2 * one.estimate
    assert ledger.committed(("elsewhere",)) == 0
    assert ledger.committed(()) == 0


def test_the_first_cap_that_refuses_is_the_one_that_is_told(ledger: Ledger) -> None:
    wide, tight = Cap(limit=MicroUSD(10**9)), Cap(limit=MicroUSD(1), name="tight")

    refused = ledger.intend(make_job("job-0"), {}, tries=1, caps=[wide, tight])

    assert isinstance(refused, OverCap)
    assert refused.cap is tight


def test_what_was_sent_is_kept_word_for_word(ledger: Ledger) -> None:
    payload = {"b": [1, {"ü": "😀"}], "a": None, "n": 1.5}
    attempt = ledger.intend(make_job("job-0"), payload, tries=2)
    assert isinstance(attempt, int)

    row = ledger.attempt(attempt)

    assert (row.payload, row.tries, row.state) == (payload, 2, State.SUBMITTING)
    assert row.intended_at == "2026-05-01T12:00:00.000Z"


def test_times_of_any_zone_sort_as_text() -> None:
    east = datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))

    assert format_time(east) == "2026-05-01T12:00:00.000Z"
    assert (
        format_time(east)
        < format_time(east + timedelta(milliseconds=1))
        < format_time(east + timedelta(hours=1))
    )


# -- facts -------------------------------------------------------------------------------------


def test_a_request_id_belongs_to_one_attempt_for_ever(ledger: Ledger) -> None:
    one, two = (intend(ledger, job) for job in make_jobs(2))
    ledger.record(one, Event.SUBMIT_ACCEPTED, handle=handle())

    with pytest.raises(RequestClaimedError):
        ledger.record(two, Event.SUBMIT_ACCEPTED, handle=handle())

    assert ledger.attempt(two).state is State.SUBMITTING
    assert count(ledger.path, "events") == 3


@pytest.mark.parametrize("value", ["null", "'r-2'", "''"])
def test_a_request_id_is_never_erased_or_changed(ledger: Ledger, value: str) -> None:
    ledger.record(intend(ledger, make_job("job-0")), Event.SUBMIT_ACCEPTED, handle=handle())

    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        ledger.db.execute(f"update attempts set request_id = {value}")


@pytest.mark.parametrize(
    "statement",
    [
        "update attempts set state = 'pending'",
        "update attempts set state = 'submitted'",
        "update attempts set state = 'rendered'",
        "update attempts set state = 'failed'",
        "update attempts set estimate_micro_usd = -1",
        "update attempts set estimate_micro_usd = 0.42",
        "update attempts set charged = 'perhaps'",
        "update attempts set payload = 'no json'",
        "update attempts set try = 0",
        "update attempts set job_key = 'nobody'",
        "insert into ledger (id, uuid, service, created_at) values (2, 'x', 'fal', 'now')",
        "update ledger set service = 'elsewhere'",
    ],
)
def test_the_database_itself_forbids_what_makes_no_sense(ledger: Ledger, statement: str) -> None:
    intend(ledger, make_job("job-0"))

    with pytest.raises(sqlite3.IntegrityError):
        ledger.db.execute(statement)


def test_the_output_stands_in_its_row_and_not_again_in_the_event(ledger: Ledger) -> None:
    attempt = rendered(ledger, make_job("job-0"), billable_units=4.0, cost=560_000)

    row = ledger.attempt(attempt)
    (event,) = ledger.db.query("select data from events where event = 'remote_completed'")

    assert row.output == {"video": {"url": "https://v"}}
    assert (row.billable_units, row.cost, row.charged) == (4.0, 560_000, Charged.YES)
    assert "https://v" not in event["data"]


def test_a_file_that_is_fetched_again_keeps_its_row(ledger: Ledger) -> None:
    attempt = rendered(ledger, make_job("job-0"))
    ledger.save_artifacts(ledger.attempt(attempt), [placed("a.mp4")])
    ledger.record(attempt, Event.ARTIFACT_MISSING, reason="gone")

    ledger.save_artifacts(ledger.attempt(attempt), [placed("b.mp4", "b")])

    assert count(ledger.path, "artifacts") == 1
    assert {(f.path, f.sha256) for f in ledger.files_of(attempt)} == {
        ("a.mp4", "b" * 64),
        ("b.mp4", "b" * 64),
    }


def test_a_superseded_file_is_known_under_both_names(ledger: Ledger) -> None:
    old, new = (rendered(ledger, job) for job in make_jobs(2))
    ledger.save_artifacts(ledger.attempt(old), [placed("clip.mp4")])
    ledger.supersede("clip.mp4", "clip.aaaaaaaa.mp4")
    ledger.supersede("clip.mp4", "clip.aaaaaaaa.mp4")  # the run died and does it once more

    ledger.save_artifacts(ledger.attempt(new), [placed("clip.mp4", "b")])

    kept, current = ledger.file_at("clip.aaaaaaaa.mp4"), ledger.file_at("clip.mp4")
    assert kept is not None
    assert current is not None
    assert (kept.attempt_id, kept.superseded) == (old, True)
    assert (current.attempt_id, current.superseded) == (new, False)
    assert ledger.file_at("nothing.mp4") is None


def test_a_data_uri_is_not_copied_into_the_ledger(ledger: Ledger) -> None:
    attempt = rendered(ledger, make_job("job-0"))

    ledger.save_artifacts(
        ledger.attempt(attempt), [placed("a.mp4", url="data:video/mp4;base64,AAAA")]
    )

    assert [file.url for file in ledger.files_of(attempt)] == ["data:"]


def test_half_saved_is_not_saved(ledger: Ledger) -> None:
    attempt = rendered(ledger, make_job("job-0"))
    bad = placed("b.mp4", "too short", index=1)

    with pytest.raises(sqlite3.IntegrityError):
        ledger.save_artifacts(ledger.attempt(attempt), [placed("a.mp4"), bad])

    assert ledger.attempt(attempt).state is State.RENDERED
    assert count(ledger.path, "files") == count(ledger.path, "artifacts") == 0


def test_an_upload_is_remembered_with_its_moment(ledger: Ledger, clock: Clock) -> None:
    file = LocalFile(path="x", sha256="c" * 64, size=1, content_type="image/png")
    assert ledger.upload(file.sha256) is None

    ledger.remember_upload(file, "https://one")
    clock.pass_(days=4)
    ledger.remember_upload(file, "https://two")

    assert ledger.upload(file.sha256) == ("https://two", START + timedelta(days=4))


def test_recovering_puts_open_intents_in_doubt_and_nothing_else(ledger: Ledger) -> None:
    open_, taken, refused, _ = make_jobs(4)
    left = intend(ledger, open_)
    ledger.record(intend(ledger, taken), Event.SUBMIT_ACCEPTED, handle=handle())
    ledger.record(intend(ledger, refused), Event.SUBMIT_REFUSED, failure=failure())

    assert ledger.recover() == [left]
    assert ledger.recover() == []
    assert [a.state for a in ledger.attempts_in(*State)] == [
        State.IN_DOUBT,
        State.SUBMITTED,
        State.FAILED,
    ]


def test_a_name_that_changes_its_job_keeps_its_past(tmp_path: Path, clock: Clock) -> None:
    before, after = make_job("clip", prompt="old"), make_job("clip", prompt="new")
    other = make_job("other")
    with opened(tmp_path / "ledger.db", clock, [before, other]) as ledger:
        ledger.register(Batch(name="test", source="t", jobs=(after,)))
        assert ledger.current_names("test") == {
            ("clip", 1): (after.key, after.path, after.estimate)
        }
        ledger.register(Batch(name="test", source="t", jobs=(before, other)), whole=False)
        assert set(ledger.current_names("test")) == {("clip", 1), ("other", 1)}
        assert ledger.current_names("test")["clip", 1][0] == before.key
        assert count(ledger.path, "jobs") == 3


# -- one writer --------------------------------------------------------------------------------


def test_a_second_writer_is_told_who_is_at_it(tmp_path: Path) -> None:
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

    told = raced(path, processes=4, jobs=40)

    assert told == {"paid": 40, "refused": 120}
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

    told = raced(path, processes=4, jobs=40, cap=limit)

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


def test_a_full_disk_is_a_sentence_and_loses_nothing(ledger: Ledger) -> None:
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
def test_a_really_full_disk_is_a_sentence_and_the_next_run_goes_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], check=False, capture_output=True
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


def test_a_ledger_that_somebody_else_writes_is_a_sentence(ledger: Ledger) -> None:
    attempt = intend(ledger, make_job("job-0"))
    ledger.db.execute("pragma busy_timeout = 20")
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("begin immediate")

        with pytest.raises(LedgerError, match="another program holds the ledger"):
            ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle())

    assert ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle()) is State.SUBMITTED


def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path: Path) -> None:
    with unprivileged(tmp_path) as folder:
        folder.chmod(0o555)
        try:
            with pytest.raises(LedgerError, match="nothing was changed"):
                opened(folder / "ledger.db")
            with pytest.raises(LedgerError, match="nothing was changed"):
                opened(folder / "deeper/ledger.db")
        finally:
            folder.chmod(0o755)


def test_a_ledger_that_may_not_be_written_is_a_sentence_and_stays(tmp_path: Path) -> None:
    with unprivileged(tmp_path) as folder:
        path = folder / "ledger.db"
        opened(path).close()
        path.chmod(0o444)
        before = path.read_bytes()

        with pytest.raises(LedgerError, match="permissions"):
            opened(path)

        assert path.read_bytes() == before


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


def test_a_ledger_whose_folder_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")

    with pytest.raises(LedgerError, match="outputs"):
        opened(tmp_path / "outputs/ledger.db")


def test_a_ledger_that_is_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()

    with pytest.raises(LedgerError, match=r"ledger\.db"):
        opened(tmp_path / "ledger.db")
    with pytest.raises(LedgerError, match=r"ledger\.db"):
        Reader.open(tmp_path / "ledger.db")


def test_what_comes_from_an_adopted_file_costs_nothing(tmp_path: Path) -> None:
    job = make_job("job-0")
    with opened(tmp_path / "ledger.db", jobs=[job]) as ledger:
        attempt = adopt(ledger, job, placed("a.mp4"))

        money = ledger.money()
        assert (money.charged, money.exposed) == (0, 0)
        assert ledger.attempt(attempt).state is State.SUCCEEDED
        with pytest.raises(LedgerError, match="refusing to pay again"):
            intend(ledger, job)


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


# -- ids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("brought_by", ["answer", "list", "person"])
@pytest.mark.parametrize("shown", ["", "IN_QUEUE"])
def test_only_a_guess_that_fal_never_confirmed_can_be_erased(
    tmp_path: Path, brought_by: str, shown: str
) -> None:
    handle = Handle(request_id="r-1", response_url="", status_url="", cancel_url="")
    with opened(tmp_path / "ledger.db") as ledger:
        attempt = intend(ledger, make_job("job-0"))
        if brought_by == "answer":
            ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle)
        else:
            ledger.record(attempt, Event.SUBMIT_UNCONFIRMED, reason="lost")
            by = {"by": "person"} if brought_by == "person" else {}
            ledger.record(attempt, Event.RECONCILED_FOUND, handle=handle, **by)
        if shown:
            ledger.record(attempt, Event.REMOTE_OBSERVED, remote_status=shown)
        for _ in range(2):  # a person repeats it, which changes nothing about whose it is
            ledger.record(attempt, Event.REMOTE_LOST, reason="404")
            ledger.record(attempt, Event.RECONCILED_FOUND, handle=handle, by="person")
        ledger.record(attempt, Event.REMOTE_LOST, reason="404")
        failure = Failure(kind=FailureKind.NOT_SUBMITTED, message="no")
        ledger.record(attempt, Event.RECONCILED_ABSENT, failure=failure)
        for change in ("'another'", "null"):
            sql = f"update attempts set request_id = {change} where id = ?"
            if brought_by == "person" and not shown and change == "null":
                ledger.db.execute(sql, [attempt])
            else:
                with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                    ledger.db.execute(sql, [attempt])
