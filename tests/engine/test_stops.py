"""The end of a run before its time: no answer of a POST in flight is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.books import paid_once
from support.engine import LOCK, Rig, account, make_jobs

from kling_batch.catalog.registry import cost_of
from kling_batch.core.jobs import Batch, Job
from kling_batch.core.lifecycle import State
from kling_batch.emulator import Fault
from kling_batch.engine.context import RunPolicy
from kling_batch.engine.engine import Engine
from kling_batch.errors import ExitCode


def test_a_refused_key_stops_the_run_and_marks_nothing_failed(tmp_path: Path) -> None:
    fault = Fault(stage="submit.before", what="status", status=401, times=8)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(8)

    run_result = rig.run(jobs, concurrency=2)

    assert ExitCode.AUTH in run_result.stopped_by()
    assert run_result.failed == set()
    assert rig.charges == []
    rig.world.faults.clear()
    rig.run(jobs)
    paid_once(rig, 8)


@pytest.mark.parametrize(
    ("status", "body", "nth"),
    [
        (401, {"detail": "Invalid key"}, 3),
        (403, {"detail": "Cannot access application"}, 3),
        (403, LOCK, 3),
    ],
)
def test_one_refusal_among_good_answers_ends_no_run(
    tmp_path: Path, status: int, body: Any, nth: int
) -> None:
    fault = Fault(stage="submit.before", what="status", status=status, body=body, nth=nth)
    rig = Rig(tmp_path, account(), [fault])
    jobs = make_jobs(8)

    run_result = rig.run(jobs, concurrency=2)

    assert not run_result.stops
    assert rig.states(jobs) == [State.SUCCEEDED] * 8
    paid_once(rig, 8)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_firewalls_page_about_one_prompt_stops_no_other_job(tmp_path: Path, status: int) -> None:
    page = "<html><title>Blocked</title>This request was blocked; the account is locked</html>"
    fault = Fault(
        stage="submit.before", what="status", status=status, body=page, prompt="prompt of job-1"
    )
    rig = Rig(tmp_path, account(), [fault])
    jobs = make_jobs(5)

    for _ in range(2):
        run_result = rig.run(jobs, concurrency=1)
        assert not run_result.stops
        assert rig.states(jobs).count(State.SUCCEEDED) == 4
        assert rig.states(jobs)[1] is State.FAILED
    rig.world.faults.clear()
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 5
    paid_once(rig, 5)


def test_a_person_who_holds_the_ledger_delays_the_first_payment(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(3)

    async def hold(_: Engine) -> None:
        with closing(sqlite3.connect(rig.ledger_path, isolation_level=None)) as person:
            person.execute("begin immediate")
            await anyio.sleep(45)
            assert not rig.world.books.posts
            person.execute("rollback")

    run_result = rig.run(jobs, stop=hold)

    assert not run_result.stops
    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    warnings = [event.message for event in rig.events if event.kind == "warning"]
    held = "another program holds the ledger; submitting goes on when it lets go"
    assert set(warnings) == {held}
    assert len(warnings) <= 3, "one for each job that waits"
    paid_once(rig, 3)


def test_a_lock_file_that_is_deleted_stops_the_next_payment(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(4)

    async def delete(_: Engine) -> None:
        while not rig.world.books.posts:  # noqa: ASYNC110 - nobody reports when
            await anyio.sleep(0.01)
        rig.ledger_path.with_name("ledger.db.lock").unlink()

    run_result = rig.run(jobs, stop=delete, concurrency=1)

    assert run_result.stopped_by() == (ExitCode.LEDGER,)
    assert "lock file" in run_result.stops[0].reason
    assert len(rig.world.books.posts) == 1
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 4
    paid_once(rig, 4)


def test_a_second_run_beside_this_one_ends_it_without_a_traceback(tmp_path: Path) -> None:
    """Its lock file was deleted, and the other run took what was in flight for a doubt."""
    rig = Rig(tmp_path, account(), [Fault(stage="submit.after", what="delay", seconds=5)])
    jobs = make_jobs(1)

    async def second(_: Engine) -> None:
        while not rig.world.books.accepted:  # noqa: ASYNC110 - nobody reports when
            await anyio.sleep(0.01)
        rig.ledger_path.with_name("ledger.db.lock").unlink()
        with rig.ledger() as ledger:
            ledger.recover()

    run_result = rig.run(jobs, stop=second)

    assert run_result.stopped_by() == (ExitCode.LEDGER,)
    assert rig.world.books.accepted[0].request_id in run_result.stops[0].reason
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED]
    paid_once(rig, 1)


def test_leaving_lets_posts_in_flight_get_their_answer(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="submit.after", what="delay", seconds=5)])
    jobs = make_jobs(8)

    async def interrupt(engine: Engine) -> None:
        await anyio.sleep(2.5)
        engine.leave(ExitCode.INTERRUPTED, "stop")

    run_result = rig.run(jobs, stop=interrupt)

    assert run_result.stopped_by() == (ExitCode.INTERRUPTED,)
    accepted = len(rig.world.books.accepted)
    assert accepted > 0
    assert rig.states(jobs).count(State.SUBMITTED) == accepted

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 8
    paid_once(rig, 8)


def test_leaving_while_throttled_leaves_no_doubt(tmp_path: Path) -> None:
    fault = Fault(stage="submit.before", what="status", status=429, headers={"Retry-After": "60"})
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(3)

    async def interrupt(engine: Engine) -> None:
        await anyio.sleep(5)
        engine.leave(ExitCode.INTERRUPTED, "stop")

    rig.run(jobs, stop=interrupt)

    assert State.IN_DOUBT not in rig.states(jobs)
    rig.world.faults.clear()
    rig.run(jobs)
    paid_once(rig, 3)


# -- the end of buying -------------------------------------------------------------------------


def test_every_request_that_the_ledger_could_not_keep_is_named(tmp_path: Path) -> None:
    """Several POSTs are in flight when the disk refuses to write: each id is money."""
    rig = Rig(tmp_path, account(), [Fault(stage="submit.after", what="delay", seconds=5)])
    jobs = make_jobs(4)

    async def refuse(engine: Engine) -> None:
        await anyio.sleep(3)
        db = engine._context.ledger.db
        db.execute("pragma query_only = 1")
        try:
            await anyio.sleep_forever()
        finally:
            db.execute("pragma query_only = 0")

    run_result = rig.run(jobs, stop=refuse)

    assert run_result.stopped_by() == (ExitCode.LEDGER,)
    assert len(rig.world.books.accepted) == 4
    told = " ".join([*(stop.reason for stop in run_result.stops), *run_result.reasons.values()])
    for request in rig.world.books.accepted:
        assert request.request_id in told
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 4
    paid_once(rig, 4)


# -- stopping ----------------------------------------------------------------------------------


def test_a_refused_key_leaves_no_sibling_without_its_answer(tmp_path: Path) -> None:
    """One POST is refused at once; the others are in flight, and each may be a paid render."""
    faults = [
        Fault(stage="submit.before", what="status", status=401, nth=(2, 6)),
        Fault(stage="submit.after", what="delay", seconds=5),
    ]
    rig = Rig(tmp_path, account(), faults)
    jobs = make_jobs(5)

    run_result = rig.run(jobs)

    accepted = len(rig.world.books.accepted)
    assert run_result.stopped_by() == (ExitCode.AUTH,)
    assert accepted >= 1
    assert rig.states(jobs).count(State.SUBMITTED) == accepted
    assert State.IN_DOUBT not in rig.states(jobs)
    rig.world.faults.clear()
    rig.run(jobs)
    paid_once(rig, 5)


def for_real(rig: Rig, jobs: list[Job], stop: Any, **policy: Any) -> Any:
    """The same run on asyncio and the real clock, as the program does it."""
    with rig.ledger() as ledger:
        ledger.begin_run(command="test", batches=["test"], pid=1, version="0", cap=None)
        ledger.recover()
        ledger.register(Batch(name="test", source="test.yaml", jobs=tuple(jobs)))
        work = partial(
            rig._drive,
            ledger,
            jobs,
            False,
            stop,
            RunPolicy(rate=500.0, **policy),
            None,
            lambda _endpoint, _units: None,
        )

        async def main() -> Any:
            MAIN.append(asyncio.current_task())
            return await work()

        return anyio.run(main)


#: The task that each real run began in.
MAIN: list[Any] = []


def slow_answers(tmp_path: Path) -> Rig:
    settings = account(profile="instant", start_latency=0.0, jitter=0.0)
    return Rig(tmp_path, settings, [Fault(stage="submit.after", what="delay", seconds=0.4)])


async def accepted_one(rig: Rig) -> None:
    while not rig.world.books.accepted:  # noqa: ASYNC110 - the books ring no bell
        await anyio.sleep(0.01)


def test_leaving_shields_the_posts_in_flight_on_asyncio_too(tmp_path: Path) -> None:
    rig = slow_answers(tmp_path)
    jobs = make_jobs(6)

    async def interrupt(engine: Engine) -> None:
        await accepted_one(rig)
        engine.leave(ExitCode.INTERRUPTED, "stop")

    run_result = for_real(rig, jobs, interrupt)

    assert run_result.stopped_by() == (ExitCode.INTERRUPTED,)
    accepted = len(rig.world.books.accepted)
    assert accepted >= 1
    assert rig.states(jobs).count(State.SUBMITTED) == accepted
    assert State.IN_DOUBT not in rig.states(jobs)


def test_a_cancellation_from_outside_anyio_shields_them_as_well(tmp_path: Path) -> None:
    """What `asyncio.run` does on Ctrl-C before our own signal handler stands, or after it."""
    rig = slow_answers(tmp_path)
    jobs = make_jobs(6)

    async def interrupt(_: Engine) -> None:
        await accepted_one(rig)
        MAIN[-1].cancel()
        await anyio.sleep_forever()

    with pytest.raises(asyncio.CancelledError):
        for_real(rig, jobs, interrupt)

    accepted = len(rig.world.books.accepted)
    assert accepted >= 1
    assert rig.states(jobs).count(State.SUBMITTED) == accepted
    assert State.SUBMITTING not in rig.states(jobs)


def test_an_exception_that_nobody_foresaw_loses_no_answer_and_is_not_hidden(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.after", what="delay", seconds=5)])
    jobs = make_jobs(4)

    async def bug(engine: Engine) -> None:
        await anyio.sleep(3)
        raise RuntimeError("a bug")

    with pytest.raises(ExceptionGroup) as caught:
        rig.run(jobs, stop=bug)

    assert caught.group_contains(RuntimeError, match="a bug")
    accepted = len(rig.world.books.accepted)
    assert rig.states(jobs).count(State.SUBMITTED) == accepted >= 1


# -- Retry-After -------------------------------------------------------------------------------


def test_a_stopped_run_does_not_wait_for_the_rates_line(tmp_path: Path) -> None:
    """One 429 with a hint of an hour; then the price alarm ends the buying."""
    hour = {"Retry-After": "3600"}
    throttle = Fault(stage="submit.before", what="status", status=429, headers=hour, nth=2)
    rig = Rig(tmp_path, account(concurrency=20), faults=[throttle])
    begun = rig.now()
    run_result = rig.run(make_jobs(6, estimate=100_000), concurrency=6, cost_of=cost_of)
    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert (rig.now() - begun).total_seconds() < 600


def test_what_a_person_took_back_during_the_run_is_not_paid_for(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(3)

    run_result = rig.run(jobs, concurrency=1, withdrawn=lambda job: job.id == "job-1")

    assert not run_result.stops
    assert rig.states(jobs) == [State.SUCCEEDED, None, State.SUCCEEDED]
    paid_once(rig, 2)
