"""The ledger's writes: an intent before each payment, caps, ids, files and names."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from support.engine import START, T2V, make_job, make_jobs
from support.ledger import Clock, count, failure, handle, intend, opened, placed, rendered

from kling_batch.core.jobs import Batch, LocalFile
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import CancelAnswer, Charged, Failure, FailureKind, Handle
from kling_batch.core.quantities import MicroUSD, format_time
from kling_batch.core.records import Cap, OverCap
from kling_batch.errors import LedgerError, UsageError
from kling_batch.ledger.database import LONG_LOG
from kling_batch.ledger.ledger import Ledger, RequestClaimedError
from kling_batch.ledger.overrides import adopt

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


def test_a_job_needs_as_many_times_its_estimate_as_renders_have_cost(ledger: Ledger) -> None:
    one, two, *_ = make_jobs(4)
    intend(ledger, one)
    cap = Cap(limit=MicroUSD(1_050_001))
    dear = two._replace(estimate=MicroUSD(280_001))
    ratios = {T2V: 1.5}

    assert ledger.intend(dear, {}, tries=1, caps=[cap], cost_ratios=ratios) == OverCap(
        cap=cap, committed=MicroUSD(630_000), estimate=MicroUSD(420_002)
    )
    wider = Cap(limit=MicroUSD(1_050_002))
    assert ledger.intend(dear, {}, tries=1, caps=[wider], cost_ratios=ratios) == 2


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


def test_what_is_open_is_reported_from_what_is_over_and_perhaps_billed(ledger: Ledger) -> None:
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


def test_the_first_cap_that_refuses_is_the_one_that_is_reported(ledger: Ledger) -> None:
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


def test_a_ledger_belongs_to_one_service(ledger: Ledger) -> None:
    ledger.must_belong_to("emulator")

    with pytest.raises(UsageError) as caught:
        ledger.must_belong_to("fal")
    assert str(caught.value) == (
        f"{ledger.path}: this ledger belongs to the emulator; "
        "a run on fal needs another --output or --ledger"
    )


def test_a_live_attempt_is_not_paid_for_again_and_named(ledger: Ledger) -> None:
    job = make_job("job-0")
    intend(ledger, job)

    with pytest.raises(LedgerError) as caught:
        intend(ledger, job, tries=2)

    assert str(caught.value) == (
        "job-0: a live or paid attempt already stands; refusing to pay again"
    )
    assert count(ledger.path, "attempts") == count(ledger.path, "events") == 1


def test_a_ledger_is_free_while_no_other_program_writes(ledger: Ledger) -> None:
    assert ledger.is_free()

    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("begin immediate")
        assert not ledger.is_free()
        other.execute("rollback")

    assert ledger.is_free()


def test_syncs_and_checkpoints_are_left_together(ledger: Ledger) -> None:
    assert not ledger.synced_apart

    ledger.leave_syncs()

    assert ledger.synced_apart
    assert ledger.db.execute("pragma wal_autocheckpoint").fetchone() == (LONG_LOG,)


def test_a_ledger_that_was_moved_takes_no_intent_and_says_what_to_do(ledger: Ledger) -> None:
    ledger.path.rename(ledger.path.with_name("moved.db"))

    with pytest.raises(LedgerError) as caught:
        intend(ledger, make_jobs(1)[0])

    assert str(caught.value) == (
        f"{ledger.path}: the ledger was renamed, replaced or deleted while this run used it; "
        "nothing more is bought. Put it back, or run again without it: what is paid for is found "
        "beside the files and in fal's request list"
    )
    assert ledger.displaced == str(caught.value)


# -- the file alone ----------------------------------------------------------------------------


def attempts_in_a_copy(ledger: Ledger) -> int:
    """What somebody has who copies the file without its log."""
    copy = ledger.path.with_name("copy.db")
    shutil.copy(ledger.path, copy)
    attempts = count(copy, "attempts")
    for path in ledger.path.parent.glob("copy.db*"):
        path.unlink()
    return attempts


def test_each_checkpoint_brings_the_file_itself_up_to_date(ledger: Ledger) -> None:
    for n, job in enumerate(make_jobs(3), start=1):
        intend(ledger, job)
        ledger.log.checkpoint()

        assert attempts_in_a_copy(ledger) == n


def test_what_has_not_changed_is_not_written_again(ledger: Ledger) -> None:
    intend(ledger, make_jobs(1)[0])
    ledger.log.checkpoint()
    statements: list[str] = []
    ledger.db.conn.set_trace_callback(statements.append)

    ledger.log.checkpoint()

    assert statements == []


def test_a_checkpoint_that_a_reader_holds_up_is_made_later(ledger: Ledger) -> None:
    ledger.log.checkpoint()
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from attempts").fetchone()
        intend(ledger, make_jobs(1)[0])
        ledger.log.checkpoint()
        assert attempts_in_a_copy(ledger) == 0

    ledger.log.checkpoint()

    assert attempts_in_a_copy(ledger) == 1


# -- facts -------------------------------------------------------------------------------------


def test_a_request_id_belongs_to_one_attempt_for_ever(ledger: Ledger) -> None:
    one, two = (intend(ledger, job) for job in make_jobs(2))
    ledger.record(one, Event.SUBMIT_ACCEPTED, handle=handle())

    with pytest.raises(RequestClaimedError):
        ledger.record(two, Event.SUBMIT_ACCEPTED, handle=handle())

    assert ledger.attempt(two).state is State.SUBMITTING
    assert count(ledger.path, "events") == 3


@pytest.mark.parametrize("answer", CancelAnswer)
def test_only_a_cancellation_that_fal_took_is_one(
    ledger: Ledger, clock: Clock, answer: CancelAnswer
) -> None:
    attempt = intend(ledger, make_job("job-0"))
    ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle())
    clock.pass_(seconds=5)

    ledger.record(attempt, Event.CANCEL_REQUESTED, answer=answer)

    row = ledger.attempt(attempt)
    taken = answer in (CancelAnswer.REQUESTED, CancelAnswer.REMOVED)
    assert row.state is State.SUBMITTED
    assert row.cancel_answer == (answer if taken else None)
    assert row.cancel_asked_at == ("2026-05-01T12:00:05.000Z" if taken else None)


def test_an_event_has_its_run_its_states_and_its_facts_as_they_were_reported(
    ledger: Ledger,
) -> None:
    attempt = intend(ledger, make_job("job-0"))

    ledger.record(attempt, Event.SUBMIT_UNCONFIRMED, reason="größer")

    rows = ledger.db.execute(
        "select attempt_id, run_id, at, event, from_state, to_state, data from events"
    ).fetchall()
    at = "2026-05-01T12:00:00.000Z"
    assert rows == [
        (attempt, ledger.run_id, at, "submit_intended", None, "submitting", None),
        (attempt, ledger.run_id, at, "submit_unconfirmed", "submitting", "in_doubt", rows[1][-1]),
    ]
    assert rows[1][-1] == '{"reason": "größer"}'


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


def test_the_event_of_saved_files_names_their_paths(ledger: Ledger) -> None:
    attempt = rendered(ledger, make_job("job-0"))

    ledger.save_artifacts(ledger.attempt(attempt), [placed("a.mp4"), placed("b.mp4", "b", index=1)])

    assert ledger.attempt(attempt).state is State.SUCCEEDED
    (event,) = ledger.db.query("select data from events where event = 'artifacts_saved'")
    assert json.loads(event["data"]) == {"paths": ["a.mp4", "b.mp4"]}


def test_some_saved_files_are_known_while_the_attempt_waits_for_the_others(
    ledger: Ledger, clock: Clock
) -> None:
    attempt = rendered(ledger, make_job("job-0"))
    events = count(ledger.path, "events")
    clock.pass_(days=1)

    ledger.save_some(ledger.attempt(attempt), [placed("b.mp4", "b", index=1)])

    (file,) = ledger.files_of(attempt)
    assert (file.index, file.path, file.sha256) == (1, "b.mp4", "b" * 64)
    assert ledger.attempt(attempt).state is State.RENDERED
    assert count(ledger.path, "events") == events
    with closing(sqlite3.connect(ledger.path)) as other:
        (saved_at,) = other.execute("select saved_at from artifacts").fetchone()
    assert saved_at == format_time(START + timedelta(days=1))


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
    told = ledger.db.execute("select attempt_id, data from events where event = 'run_recovered'")
    reason = '{"reason": "the program ended before fal\'s answer"}'
    assert told.fetchall() == [(left, reason)]


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


# -- bad disks ---------------------------------------------------------------------------------


def test_what_comes_from_an_adopted_file_costs_nothing(tmp_path: Path) -> None:
    job = make_job("job-0")
    with opened(tmp_path / "ledger.db", jobs=[job]) as ledger:
        attempt = adopt(ledger, job, placed("a.mp4"))

        money = ledger.money()
        assert (money.charged, money.exposed) == (0, 0)
        assert ledger.attempt(attempt).state is State.SUCCEEDED
        with pytest.raises(LedgerError, match="refusing to pay again"):
            intend(ledger, job)


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
