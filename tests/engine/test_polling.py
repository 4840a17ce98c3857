"""Reads of what is open at fal: outages, expired results, cancellations."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support.books import paid_once
from support.engine import (
    LOCK,
    T2V,
    Bent,
    Rig,
    account,
    is_result,
    make_job,
    make_jobs,
    slow,
)

from kling_batch.core.jobs import JSON, Job, job_key
from kling_batch.core.lifecycle import Event, JobStatus, State
from kling_batch.core.outcomes import (
    CancelAnswer,
    Charged,
    FailureKind,
)
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.emulator import Fault
from kling_batch.engine.engine import Engine
from kling_batch.errors import ExitCode
from kling_batch.ledger.job_list import JobFilter, job_status


@pytest.mark.parametrize("stage", ["status", "result", "download"])
@pytest.mark.parametrize("what", ["reset", "garbage", "html", "truncated"])
def test_broken_reads_are_no_verdict(tmp_path: Path, stage: Any, what: Any) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage=stage, what=what, probability=0.3)])
    jobs = make_jobs(10)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 10
    paid_once(rig, 10)


@pytest.mark.parametrize("stage", ["status", "result"])
@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 502, 503, 504])
def test_refused_reads_are_no_verdict(tmp_path: Path, stage: Any, status: int) -> None:
    fault = Fault(stage=stage, what="status", status=status, per_request=3)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(4)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 4
    paid_once(rig, 4)


def test_an_expired_result_is_fetched_through_the_list(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="result", what="expired")])
    jobs = make_jobs(3)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    paid_once(rig, 3)


@pytest.mark.parametrize("unread", [0, 1])
def test_the_end_is_recorded_with_the_result_or_as_soon_as_that_cannot_be_read(
    tmp_path: Path, unread: int
) -> None:
    """Its status says that fal knows the request, which the ledger is not to lose."""
    refused = Fault(stage="result", what="status", status=503, per_request=unread)
    done_when_asked = account(service_times={"standard": 0.001})
    rig = Rig(tmp_path, done_when_asked, [refused] if unread else [])

    rig.run(make_jobs(1))

    with rig.ledger() as ledger:
        rows = ledger.db.query("select event, data from events order by id")
        events = [(row["event"], "COMPLETED" in (row["data"] or "")) for row in rows]
        ((status,),) = ledger.db.execute("select remote_status from attempts").fetchall()
    observed = [("remote_observed", True)] * unread
    ends = [*observed, ("remote_completed", not unread), ("artifacts_saved", False)]
    assert events == [("submit_intended", False), ("submit_accepted", False), *ends]
    assert status == "COMPLETED"
    paid_once(rig, 1)


def test_a_finished_request_whose_result_cannot_be_read_does_not_wait_in_the_queue(
    tmp_path: Path,
) -> None:
    """Whether it was seen in progress before or not, and in every list."""
    times = {"standard": 0.001, "pro": 20.0}
    refused = Fault(stage="result", what="status", status=503)
    rig = Rig(tmp_path, account(service_times=times), [refused])
    jobs = [make_job("quick"), make_job("slow", endpoint=T2V.replace("standard", "pro"))]

    async def leave(engine: Engine) -> None:
        await anyio.sleep(60)
        engine.leave(ExitCode.STILL_RUNNING, "enough")

    rig.run(jobs, stop=leave)

    with rig.ledger() as ledger:
        found = ledger.db.execute("select state, remote_status from attempts").fetchall()
        assert found == [("submitted", "COMPLETED")] * 2
        for state, number in ((JobStatus.QUEUED, 0), (JobStatus.RENDERING, 2)):
            assert len([*job_status(ledger, JobFilter(states=[state]))]) == number
    rig.world.faults.clear()
    rig.run(jobs)
    paid_once(rig, 2)


def test_what_was_seen_in_progress_is_not_left_so_when_it_has_ended(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())

    rig.run(make_jobs(2))

    with rig.ledger() as ledger:
        seen = ledger.db.execute("select count(*) from events where data like '%IN_PROGRESS%'")
        assert seen.fetchone() == (2,)
        found = ledger.db.execute("select remote_status from attempts").fetchall()
    assert found == [("COMPLETED",)] * 2
    paid_once(rig, 2)


# -- outages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("listing", [200, 403, 503])
@pytest.mark.parametrize("seconds", [15, 90, 400])
def test_a_gateway_that_denies_everything_for_minutes_costs_no_render(
    tmp_path: Path, seconds: int, listing: int
) -> None:
    """404 to every read, and a list that shows nothing running: the renders go on behind it."""
    rig = Rig(tmp_path, account(list_unfinished=False))
    jobs = make_jobs(4)

    async def outage(_: Engine) -> None:
        await anyio.sleep(2)
        for stage in ("status", "result"):
            rig.world.faults.add(Fault(stage=stage, what="status", status=404))
        if listing != 200:
            rig.world.faults.add(Fault(stage="list", what="status", status=listing))
        await anyio.sleep(seconds)
        rig.world.faults.clear()

    rig.run(jobs, stop=outage)

    assert rig.states(jobs) == [State.SUCCEEDED] * 4
    paid_once(rig, 4)


def test_a_request_that_fal_no_longer_shows_is_named_and_asked_for_by_the_next_run(
    tmp_path: Path,
) -> None:
    gone = [Fault(stage=stage, what="status", status=404) for stage in ("status", "result")]
    rig = Rig(tmp_path, account(list_unfinished=False, service_times={"standard": 1e6}), gone)
    jobs = make_jobs(1)

    run_result = rig.run(jobs)

    assert rig.states(jobs) == [State.IN_DOUBT]
    (request,) = rig.world.books.accepted
    told = f"fal no longer shows request {request.request_id}"
    assert run_result.reasons["test", "job-0", 1] == told
    rig.world.faults.clear()
    rig.world.complete_now()
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED]
    with rig.ledger() as ledger:
        found = ledger.db.execute("select data from events where event = 'reconciled_found'")
        ((data,),) = found.fetchall()
    assert json.loads(data)["handle"]["request_id"] == request.request_id
    paid_once(rig, 1)


@pytest.mark.acceptance
def test_a_list_that_cannot_be_read_loses_no_request_however_long(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(list_unfinished=False))
    jobs = make_jobs(2)

    async def outage(_: Engine) -> None:
        await anyio.sleep(2)
        rig.world.faults.add(Fault(stage="status", what="status", status=404))
        rig.world.faults.add(Fault(stage="list", what="html", status=502))
        await anyio.sleep(3 * 3600)
        rig.world.faults.clear()

    rig.run(jobs, stop=outage)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert "in_doubt" not in rig.kinds()


@pytest.mark.parametrize("stage", ["status", "result"])
def test_a_run_ends_although_fal_never_says_a_readable_word_again(
    tmp_path: Path, stage: Any
) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage=stage, what="garbage", prompt="job-0")])
    jobs = make_jobs(2)

    run_result = rig.run(jobs)

    assert rig.states(jobs) == [State.SUBMITTED, State.SUCCEEDED]
    assert "has not answered status checks" in run_result.reasons["test", "job-0", 1]
    assert rig._virtual < 8 * 3600
    rig.world.faults.clear()
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    paid_once(rig, 2)


def test_a_request_that_nobody_knows_any_more_ends_in_doubt_and_not_never(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(list_allowed=False), [Fault(stage="status", what="expired")])
    jobs = make_jobs(1)

    rig.run(jobs)

    assert rig.states(jobs) == [State.IN_DOUBT]
    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(State.IN_DOUBT)
    assert attempt.handle is not None


def test_what_was_lost_from_sight_is_looked_for_by_the_next_run(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(list_allowed=False), [Fault(stage="status", what="expired")])
    jobs = make_jobs(2)
    rig.run(jobs)
    assert rig.states(jobs) == [State.IN_DOUBT] * 2

    rig.world.faults.clear()
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert len(rig.world.books.posts) == 2


def test_a_locked_account_that_hides_its_results_is_exit_4_not_3(tmp_path: Path) -> None:
    hidden = [Fault(stage=s, what="status", status=403, body=LOCK) for s in ("status", "result")]
    rig = Rig(tmp_path, account(), hidden)
    jobs = make_jobs(2)

    run_result = rig.run(jobs)

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert rig.states(jobs) == [State.SUBMITTED] * 2


@pytest.mark.parametrize(
    "body",
    [
        '{"status": "COMPLETED", "metrics": {"inference_time": NaN}}',
        '{"status": "COMPLETED", "metrics": {"inference_time": 1e999}}',
        '{"status": "COMPLETED", "metrics": {"inference_time": 1%s}}' % ("0" * 400),
        '{"status": "COMPLETED", "error": "half a \\ud83d", "error_type": "\\udc00"}',
        '{"status": "\\ud83d"}',
        '{"status": "IN_QUEUE", "queue_position": 1e400}',
        '{"status": "IN_QUEUE", "queue_position": 1%s}' % ("0" * 400),
    ],
)
def test_answers_that_sqlite_cannot_keep_break_no_run(tmp_path: Path, body: str) -> None:
    odd = Fault(stage="status", what="status", status=200, body=body, per_request=1)
    rig = Rig(tmp_path, account(), [odd])
    jobs = make_jobs(3)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    paid_once(rig, 3)


# -- one and the others --------------------------------------------------------------------------


def test_a_request_that_the_key_may_not_see_is_left_alone_and_the_others_are_not(
    tmp_path: Path,
) -> None:
    hidden = Fault(
        stage="status", what="status", status=403, request=1, body={"detail": "not yours"}
    )
    rig = Rig(tmp_path, slow(), [hidden])
    jobs = make_jobs(4)

    run_result = rig.run(jobs)

    assert rig.states(jobs) == [State.SUBMITTED] + [State.SUCCEEDED] * 3
    assert run_result.stops == []
    assert "does not show it" in run_result.reasons["test", "job-0", 1]


def test_a_lock_on_the_reads_of_one_ends_the_buying_and_not_the_collecting(tmp_path: Path) -> None:
    locked = Fault(stage="status", what="status", status=403, request=1, body=LOCK)
    rig = Rig(tmp_path, slow(), [locked])
    jobs = make_jobs(6)

    run_result = rig.run(jobs, concurrency=4)

    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert rig.states(jobs) == [State.SUBMITTED] + [State.SUCCEEDED] * 3 + [None] * 2
    paid_once(rig, 4)


# -- what expired on the queue's side ------------------------------------------------------------


def test_a_failure_that_is_collected_from_the_list_is_a_failure(tmp_path: Path) -> None:
    """Its answer holds a link into fal's manual; that is no file, and nothing was lost."""
    rig = Rig(
        tmp_path, account(), [Fault(stage="job", what="fail", error="content_policy_violation")]
    )
    jobs = make_jobs(1)
    rig.run(jobs, detach=True)
    rig.epoch += timedelta(hours=2)

    run_result = rig.run(jobs)

    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(State.FAILED)
    assert attempt.failure is not None
    assert attempt.failure.kind is FailureKind.POLICY
    assert attempt.charged is not Charged.YES
    assert "lost" not in run_result.reasons["test", "job-0", 1]


def test_an_answer_without_files_is_collected_from_the_list(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(extra_endpoints=("acme/text",)), media=lambda _: False)
    arguments = {"prompt": "x"}
    job = make_job("raw")._replace(
        endpoint="acme/text", arguments=arguments, key=job_key("acme/text", arguments, 1)
    )
    rig.run([job], detach=True)
    rig.epoch += timedelta(seconds=60)
    rig.world.catch_up()
    rig.world.books.accepted[0].output = {"text": "zweiundvierzig €"}
    rig.epoch += timedelta(hours=2)

    rig.run([job])

    assert rig.states([job]) == [State.SUCCEEDED]
    names = sorted(path.name for path in (tmp_path / "test").iterdir())
    assert names == ["raw.json", "raw.json.json"]
    text = (tmp_path / "test/raw.json").read_text(encoding="utf-8")
    assert text == '{\n  "text": "zweiundvierzig €"\n}\n'


def cancelled_while(
    rig: Rig, jobs: list[Job], status: str, answer: CancelAnswer, *, honoured: bool
) -> int:
    """Leave two requests open and have the second one cancelled, last seen as `status`; its id."""

    async def stop(engine: Engine) -> None:
        await anyio.sleep(5)
        engine.leave(ExitCode.INTERRUPTED, "x")

    rig.run(jobs, stop=stop)
    with rig.ledger() as ledger:
        last = ledger.attempts_in(State.SUBMITTED)[-1]
        assert last.handle is not None
        ledger.record(last.id, Event.CANCEL_REQUESTED, answer=answer, remote_status=status)
        if honoured:
            request = rig.world.find(last.handle.request_id)
            assert request is not None
            rig.world.cancel(request)
    return last.id


def test_what_vanished_after_its_cancellation_may_be_rendering_all_the_same(tmp_path: Path) -> None:
    """Last seen queued, and 404 from then on: no answer of fal says that it was cancelled."""
    rig = Rig(tmp_path, slow(concurrency=1))
    jobs = make_jobs(2)
    attempt_id = cancelled_while(rig, jobs, "IN_QUEUE", CancelAnswer.REQUESTED, honoured=False)
    rig.world.faults.add(Fault(stage="status", what="expired", request=2))
    cap = Cap(limit=MicroUSD(1_120_000), batches=("test",))

    for expected in (State.IN_DOUBT, State.SUCCEEDED):
        rig.run([*jobs, make_job("third")], caps=(cap,))
        with rig.ledger() as ledger:
            assert ledger.attempt(attempt_id).state is expected

    assert rig.world.books.total_committed_micro_usd == 840_000
    paid_once(rig, 2)


def test_what_fal_removed_from_its_queue_is_free(tmp_path: Path) -> None:
    rig = Rig(tmp_path, slow(concurrency=1, list_allowed=False))
    jobs = make_jobs(2)
    attempt_id = cancelled_while(rig, jobs, "UNKNOWN", CancelAnswer.REMOVED, honoured=True)
    rig.world.faults.add(Fault(stage="status", what="expired", request=2))

    rig.run(jobs)

    with rig.ledger() as ledger:
        attempt = ledger.attempt(attempt_id)
    assert (attempt.state, attempt.charged) == (State.CANCELLED, Charged.NO)
    paid_once(rig, 1)


@pytest.mark.parametrize(
    ("status", "answer", "charged"),
    [
        ("IN_QUEUE", CancelAnswer.REQUESTED, Charged.NO),
        ("IN_PROGRESS", CancelAnswer.REQUESTED, Charged.UNKNOWN),
        ("UNKNOWN", CancelAnswer.REMOVED, Charged.NO),
    ],
)
@pytest.mark.parametrize("body", [{"detail": "Request was cancelled"}, {}])
def test_a_499_of_what_we_cancelled_is_a_verdict_and_free_if_it_had_not_begun(
    tmp_path: Path, status: str, answer: CancelAnswer, charged: Charged, body: JSON
) -> None:
    class Terse(Bent):
        """Neither a structured body nor units, and no error in the status."""

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if answer.status_code == 499:
                return httpx.Response(499, json=body)
            if request.url.path.endswith("/status") and "client_cancelled" in answer.text:
                return httpx.Response(200, json={"status": "COMPLETED"})
            return answer

    rig = Rig(tmp_path, slow(concurrency=1))
    jobs = make_jobs(2)
    attempt_id = cancelled_while(rig, jobs, status, answer, honoured=True)

    rig.run(jobs, transport=Terse(rig.world))

    with rig.ledger() as ledger:
        attempt = ledger.attempt(attempt_id)
    assert (attempt.state, attempt.charged) == (State.CANCELLED, charged)
    paid_once(rig, 1)


# -- a run that never ends ----------------------------------------------------------------------


@pytest.mark.acceptance
def test_a_run_ends_although_a_finished_result_can_never_be_read(tmp_path: Path) -> None:
    """COMPLETED, readably, for ever; the result has expired, and the list behind it is broken."""

    async def days(engine: Any) -> None:
        await anyio.sleep(3 * 86400)
        engine.leave(ExitCode.INTERRUPTED, "three days have passed")

    faults = [Fault(stage="result", what="expired"), Fault(stage="list", what="status", status=503)]
    rig = Rig(tmp_path, faults=faults)
    run_result = rig.run(make_jobs(1), stop=days)

    assert not any(stop.code is ExitCode.INTERRUPTED for stop in run_result.stops)


# -- hostile answers ---------------------------------------------------------------------------


def test_a_deep_result_ends_no_run(tmp_path: Path) -> None:
    """Python 3.13 reads JSON that is deeper than SQLite's `json_valid` takes."""

    class Deep(Bent):
        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if not is_result(request):
                return answer
            text = answer.text[:-1] + ', "timings": ' + "[" * 3000 + "]" * 3000 + "}"
            return httpx.Response(200, text=text)

    rig = Rig(tmp_path)
    jobs = make_jobs(1)

    async def hour(engine: Any) -> None:
        await anyio.sleep(3600)
        engine.leave(ExitCode.STILL_RUNNING, "an hour")

    rig.run(jobs, transport=Deep(rig.world), stop=hour)
    assert rig.states(jobs)[0] in (State.SUBMITTED, State.IN_DOUBT, State.SUCCEEDED)


# -- an outage is no verdict -------------------------------------------------------------------


def test_an_odd_status_address_ends_no_run(tmp_path: Path) -> None:
    class Odd(Bent):
        told = False

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if request.method != "POST" or self.told:
                return answer
            self.told = True
            return httpx.Response(
                200, json=answer.json() | {"status_url": "https://xn--.fal.run/x"}
            )

    rig = Rig(tmp_path)
    jobs = make_jobs(6)

    async def later(engine: Any) -> None:
        await anyio.sleep(600)
        engine.leave(ExitCode.STILL_RUNNING, "ten minutes")

    rig.run(jobs, transport=Odd(rig.world), concurrency=2, stop=later)

    assert rig.states(jobs).count(State.SUCCEEDED) == 5
