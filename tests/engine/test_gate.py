"""The submission gate: concurrency, rate, throttling, locks and the brake."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.books import paid_once
from support.engine import (
    Rig,
    account,
    make_jobs,
)

from kling_batch.core.lifecycle import State
from kling_batch.emulator import Fault, Settings
from kling_batch.engine.engine import Engine
from kling_batch.errors import ExitCode

LOCKED = {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}


def test_concurrency_bounds_open_requests(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=50, media="template"))
    most = 0

    async def watch(_: Engine) -> None:
        nonlocal most
        while True:
            open_now = sum(r.finished_at is None for r in rig.world.books.accepted)
            most = max(most, open_now)
            await anyio.sleep(0.05)

    rig.run(make_jobs(12), stop=watch, concurrency=3)

    assert most == 3


def test_rate_spaces_submissions_evenly(rig: Rig) -> None:
    rig.run(make_jobs(10), rate=2.0, concurrency=10)

    times = [request.accepted_at for request in rig.world.books.accepted]
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 0.49


def test_a_throttled_post_takes_its_turn_in_the_rate_again(tmp_path: Path) -> None:
    fault = Fault(stage="submit.before", what="status", status=429, times=12)
    rig = Rig(tmp_path, faults=[fault])

    rig.run(make_jobs(6), rate=2.0, concurrency=6)

    paid_once(rig, 6)
    times = [post.at for post in rig.world.books.posts]
    assert len(times) == 18
    assert min(b - a for a, b in pairwise(times)) >= 0.49


def test_an_account_lock_pauses_submission_and_keeps_collecting(tmp_path: Path) -> None:
    lock = {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}
    fault = Fault(
        stage="submit.before", what="status", status=403, body=lock, nth=tuple(range(3, 40))
    )
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(6)

    run_result = rig.run(jobs, concurrency=2)

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert rig.states(jobs).count(State.SUCCEEDED) == 2
    paid_once(rig, 2)


def test_one_lock_answer_in_a_burst_is_taken_as_a_blip(tmp_path: Path) -> None:
    lock = {"detail": "User is locked. Reason: Exhausted balance."}
    fault = Fault(stage="submit.before", what="status", status=403, body=lock, nth=2)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(4)

    run_result = rig.run(jobs)

    assert run_result.stops == []
    paid_once(rig, 4)


def locked(*calls: int, reason: str = "Exhausted balance. Top up your balance.") -> Fault:
    body = {"detail": f"User is locked. Reason: {reason}"}
    return Fault(stage="submit.before", what="status", status=403, body=body, nth=calls or None)


def test_a_lock_that_flips_gets_a_slower_second_round(tmp_path: Path) -> None:
    """One job at a time: locked five times in a row, and open again after half a minute."""
    rig = Rig(tmp_path, account(), [locked(2, 3, 4, 5, 6)])
    jobs = make_jobs(4)

    run_result = rig.run(jobs, concurrency=1)

    assert run_result.stops == []
    paid_once(rig, 4)
    times = [post.at for post in rig.world.books.posts[1:7]]
    assert times[2] - times[0] < 5
    assert times[5] - times[2] > 30


def test_a_lock_that_stays_ends_the_run_after_minutes(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(), [locked(*range(2, 60))])
    jobs = make_jobs(4)

    run_result = rig.run(jobs, concurrency=1)

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    times = [post.at for post in rig.world.books.posts]
    assert 60 < times[-1] - times[1] < 300
    assert len(times) == 1 + 3 + 4
    paid_once(rig, 1)


@pytest.mark.parametrize(
    ("calls", "reason"),
    [((), "Exhausted balance."), (tuple(range(2, 60)), "Admin lock"), ((), "Administrator lock")],
)
def test_a_lock_without_a_sign_of_flipping_is_believed_at_once(
    tmp_path: Path, calls: tuple[int, ...], reason: str
) -> None:
    rig = Rig(tmp_path, account(), [locked(*calls, reason=reason)])

    run_result = rig.run(make_jobs(4), concurrency=1)

    (stop,) = run_result.stops
    times = [post.at for post in rig.world.books.refused]
    assert times[-1] - times[0] < 10
    assert stop.support == ("fal's support" in stop.reason) == ("Admin" in reason)


def test_the_bad_luck_of_one_job_holds_nobody_for_long(tmp_path: Path) -> None:
    """Refused ten times in a row, it waits longer and longer; the others are accepted meanwhile."""
    unlucky = Fault(stage="submit.before", what="status", status=429, prompt="job-0", times=10)
    rig = Rig(tmp_path, Settings(concurrency=20, media="template"), faults=[unlucky])
    jobs = make_jobs(20)

    rig.run(jobs, concurrency=20, rate=10.0)

    paid_once(rig, 20)
    times = {r.prompt: r.accepted_at for r in rig.world.books.accepted}
    slow = times.pop("prompt of job-0")
    assert max(times.values()) - min(times.values()) < 15
    assert slow - min(times.values()) > 60


# -- outages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["reset", "hang"])
def test_an_outage_of_a_minute_leaves_few_in_doubt(tmp_path: Path, what: Any) -> None:
    """Sixty jobs, and fal answers nothing for 40 s: the rate of five a second is not kept up."""
    rig = Rig(tmp_path, account(list_allowed=False))
    jobs = make_jobs(60)

    async def outage(_: Engine) -> None:
        rig.world.faults.add(Fault(stage="submit.before", what=what, seconds=5.0))
        await anyio.sleep(40)
        rig.world.faults.clear()

    rig.run(jobs, stop=outage, concurrency=6, rate=5.0)

    states = rig.states(jobs)
    assert states.count(State.IN_DOUBT) <= 16
    assert states.count(State.SUCCEEDED) == 60 - states.count(State.IN_DOUBT)
    assert max(rig.charges) == 1


def test_the_brake_is_loosened_by_the_first_certain_answer(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.before", what="reset", nth=(1, 2, 3, 4))])
    jobs = make_jobs(40)

    rig.run(jobs, doubt_wait=30.0)

    assert rig.states(jobs).count(State.SUCCEEDED) == 36
    assert rig.kinds().count("braking") <= 2


def test_the_brake_says_how_many_are_in_doubt_and_waits_longer_each_time(tmp_path: Path) -> None:
    lost = Fault(stage="submit.after", what="reset", nth=(1, 2, 3, 4, 5, 6))
    rig = Rig(tmp_path, account(list_allowed=False), [lost])

    rig.run(make_jobs(8), concurrency=1)

    events = [event for event in rig.events if event.kind == "braking"]
    assert [event.job for event in events] == ["job-3", "job-4", "job-5", "job-6"]
    braking = [event.message for event in events]
    told = re.compile(r"(\d) submissions in a row are in doubt; the next in (\d+) s")
    waits = [tuple(map(int, found.groups())) for found in map(told.fullmatch, braking) if found]
    assert [count for count, _ in waits] == [3, 4, 5, 6]
    exact = [event.data["seconds"] for event in events]
    assert exact == [round(seconds, 3) for seconds in exact]
    assert [round(seconds) for seconds in exact] == [pause for _, pause in waits]
    times = [post.at for post in rig.world.books.posts]
    pauses = [b - a for a, b in pairwise(times)][2:6]
    assert pauses == pytest.approx([pause for _, pause in waits], abs=1.0)
    assert all(
        0.75 * due <= real <= 1.25 * due + 1
        for due, real in zip((2, 4, 8, 16), pauses, strict=True)
    )
    paid_once(rig, 8)


def test_several_refusals_of_one_kind_are_one_reason_to_stop(tmp_path: Path) -> None:
    locked = Fault(stage="submit.before", what="status", status=403, body=LOCKED)
    rig = Rig(tmp_path, faults=[locked])

    run_result = rig.run(make_jobs(6), concurrency=6)

    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert rig.kinds().count("stopping") == 1
    assert sum(rig.charges) == 0
