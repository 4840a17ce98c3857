"""Caps, learnt prices and the price alarm, judged by the emulator's books."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import anyio
import httpx
import pytest
from support.books import paid_once
from support.engine import PRO, Bent, Rig, account, make_job, make_jobs

from kling_batch.catalog.registry import cost_of
from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.emulator import Fault
from kling_batch.engine.engine import Engine
from kling_batch.errors import ExitCode
from kling_batch.output.store import OutputStore


def test_every_post_is_an_attempt_that_the_caps_have_seen(tmp_path: Path) -> None:
    """Put off, it holds no money: others may take the room, and it asks for its own again."""
    busy = Fault(
        stage="submit.before", what="status", status=429, headers={"Retry-After": "60"}, nth=1
    )
    rig = Rig(tmp_path, faults=[busy])
    jobs = make_jobs(2)
    cap = Cap(limit=MicroUSD(500_000))

    run_result = rig.run(jobs, caps=(cap,))

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert rig.world.books.total_charged_micro_usd == 420_000
    with rig.ledger() as ledger:
        tried = [len(ledger.attempts_of(job.key)) for job in jobs]
    assert sum(tried) == len(rig.world.books.posts) == 2


def test_the_cap_holds_over_jobs_retries_and_runs(tmp_path: Path) -> None:
    fault = Fault(stage="job", what="fail", error="internal_error", probability=0.3)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(10)
    caps = (Cap(limit=MicroUSD(2_000_000), batches=("test",)),)

    for _ in range(3):
        run_result = rig.run(jobs, caps=caps)
        assert ExitCode.BUDGET in run_result.stopped_by()

    assert rig.world.books.total_charged_micro_usd <= 2_000_000
    assert rig.states(jobs).count(State.SUCCEEDED) == 4


def test_the_daily_cap_counts_every_batch_and_lets_go_after_a_day(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(5)
    caps = (Cap(limit=MicroUSD(900_000), window=timedelta(days=1)),)

    rig.run(jobs, caps=caps)
    rig.run(jobs, caps=caps)
    assert rig.world.books.total_charged_micro_usd == 840_000
    rig.epoch += timedelta(hours=24, minutes=5)
    rig.run(jobs, caps=caps)

    assert rig.world.books.total_charged_micro_usd == 1_680_000


@pytest.mark.parametrize("loop_start", [0.0, 1e6])
def test_the_daily_cap_holds_although_the_clock_is_set_forward_in_the_run(
    tmp_path: Path, loop_start: float
) -> None:
    rig = Rig(tmp_path, loop_start=loop_start)
    caps = (Cap(limit=MicroUSD(900_000), window=timedelta(days=1)),)

    async def jump(engine: Engine) -> None:
        await anyio.sleep(5)
        rig.epoch += timedelta(hours=30)

    run_result = rig.run(make_jobs(5), caps=caps, rate=0.1, stop=jump)

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert rig.world.books.total_charged_micro_usd == 840_000


def test_a_job_far_over_its_estimate_stops_further_submissions(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(6, estimate=100_000)

    run_result = rig.run(
        jobs, concurrency=1, cost_of=lambda _endpoint, units: round(units * 140_000)
    )

    assert ExitCode.BUDGET in run_result.stopped_by()
    assert len(rig.world.books.posts) == 1


# -- the end of buying -------------------------------------------------------------------------


def test_a_price_alarm_stops_what_stands_in_line_too(tmp_path: Path) -> None:
    """Eight wait for their turn at five seconds each: the alarm rings before most have had it."""
    rig = Rig(tmp_path, account())
    jobs = make_jobs(8, estimate=100_000)  # fal bills 420,000

    run_result = rig.run(
        jobs, rate=0.05, concurrency=8, cost_of=lambda _e, units: MicroUSD(420_000)
    )

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert len(rig.world.books.posts) < 4


def test_two_price_alarms_are_one_reason_to_stop(tmp_path: Path) -> None:
    """Of two endpoints: each has an estimate of its own to be far above."""
    rig = Rig(tmp_path, account())
    jobs = [make_job("a", estimate=100_000), make_job("b", endpoint=PRO, estimate=100_000)]

    run_result = rig.run(jobs, cost_of=lambda _e, units: MicroUSD(420_000))

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert rig.kinds().count("stopping") == 1
    paid_once(rig, 2)


def test_a_price_alarm_stops_what_fal_throttled_meanwhile_too(tmp_path: Path) -> None:
    """Put off by a 429, and not to be sent again after buying has ended."""
    busy = Fault(
        stage="submit.before", what="status", status=429, headers={"Retry-After": "60"}, nth=2
    )
    rig = Rig(tmp_path, account(), [busy])
    jobs = make_jobs(2, estimate=100_000)

    run_result = rig.run(jobs, cost_of=lambda _e, units: MicroUSD(420_000))

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert len(rig.world.books.accepted) == 1
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    paid_once(rig, 2)


# -- one and the others --------------------------------------------------------------------------


def test_one_batchs_cap_is_not_held_against_another(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    rig.store = lambda: OutputStore(  # type: ignore[method-assign]
        dict.fromkeys(("test", "small"), tmp_path), tmp_path
    )
    small = [
        make_job(f"s{n}")._replace(batch="small", path=f"small/s{n}{{output}}{{ext}}")
        for n in range(3)
    ]
    jobs = [small[0], *make_jobs(2), *small[1:]]
    caps = (
        Cap(limit=MicroUSD(500_000), batches=("small",), name="max_cost"),
        Cap(limit=MicroUSD(5_000_000), batches=("test",), name="max_cost"),
    )

    run_result = rig.run(jobs, caps=caps, concurrency=1)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3 + [None] * 2
    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert "s1 would pass" in run_result.stops[0].reason
    paid_once(rig, 3)


def test_a_price_that_turns_out_higher_is_reckoned_with_from_then_on(tmp_path: Path) -> None:
    """Each render is billed 2.5 times its estimate: not enough for an alarm, and known by then."""
    units = {"X-Fal-Billable-Units": "7.5"}
    rig = Rig(tmp_path, account(), [Fault(stage="result", what="headers", headers=units)])
    cap = Cap(limit=MicroUSD(4_000_000), batches=("test",))

    run_result = rig.run(make_jobs(20), cost_of=cost_of, concurrency=3, caps=(cap,))

    with rig.ledger() as ledger:
        charged = ledger.money().charged
    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert 3_000_000 <= charged <= cap.limit


def test_a_failure_that_is_billed_many_times_over_stops_the_buying_too(tmp_path: Path) -> None:
    failing = Fault(
        stage="job", what="fail", error="content_policy_violation", billed=True, request=1
    )
    units = {"X-Fal-Billable-Units": "30"}
    dear = Fault(stage="result", what="headers", headers=units, request=1)
    rig = Rig(tmp_path, account(), [failing, dear])

    run_result = rig.run(make_jobs(6), cost_of=cost_of, concurrency=1)

    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert len(rig.world.books.posts) == 1


# -- adopted files and several names -----------------------------------------------------------


def test_a_cap_is_kept_by_retries_twins_takes_and_doubts_together(tmp_path: Path) -> None:
    faults = [
        Fault(stage="submit.after", what="reset", probability=0.2),
        Fault(stage="job", what="fail", error="internal_error", probability=0.3),
        Fault(
            stage="job", what="fail", error="content_policy_violation", probability=0.1, billed=True
        ),
    ]
    rig = Rig(tmp_path, account(), faults)
    jobs = [
        *make_jobs(8),
        *(make_job("take", take=n) for n in (1, 2, 3)),
        *(make_job(name, prompt="same") for name in ("twin", "twin-2")),
    ]
    cap = Cap(limit=MicroUSD(jobs[0].estimate * 6 + 1), batches=("test",))

    for _ in range(4):
        rig.run(jobs, caps=(cap,), retry=True)
        assert rig.world.books.total_committed_micro_usd <= cap.limit
        with rig.ledger() as ledger:
            assert ledger.committed() <= cap.limit
            assert rig.world.books.total_committed_micro_usd <= ledger.committed()


# -- bills --------------------------------------------------------------------------------------


def test_a_price_that_an_earlier_run_learnt_is_reckoned_with_by_the_next(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(concurrency=20))
    jobs = make_jobs(20, estimate=168_000)  # fal bills 0.42 for each: 2.5 times, no alarm
    cap = Cap(limit=MicroUSD(2_000_000), name="max_cost")
    rig.run(jobs[:1], caps=(cap,), cost_of=cost_of)

    rig.run(jobs, caps=(cap,), cost_of=cost_of, concurrency=20)

    assert rig.world.books.total_committed_micro_usd <= 2_000_000


def test_what_is_rendered_without_a_bill_is_reckoned_at_the_price_that_is_known(
    tmp_path: Path,
) -> None:
    class Silent(Bent):
        told = 0

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if "x-fal-billable-units" in answer.headers:
                self.told += 1
                if self.told > 1:
                    del answer.headers["x-fal-billable-units"]
            return answer

    rig = Rig(tmp_path, account(concurrency=20))
    cap = Cap(limit=MicroUSD(2_000_000), name="max_cost")
    jobs = make_jobs(20, estimate=168_000)

    rig.run(jobs, caps=(cap,), cost_of=cost_of, concurrency=1, transport=Silent(rig.world))

    assert rig.world.books.total_committed_micro_usd <= 2_000_000


# -- estimates -------------------------------------------------------------------------------------


def test_an_estimate_that_was_a_slip_tells_nothing_about_those_of_today(tmp_path: Path) -> None:
    """A `price:` a hundred times too low, put right since: the render was not too dear."""
    rig = Rig(tmp_path, account(concurrency=20))
    cap = Cap(limit=MicroUSD(40_000_000), name="max_cost")
    rig.run([make_job("slip", estimate=4_200)], caps=(cap,), cost_of=cost_of)
    jobs = [make_job("slip"), *make_jobs(10)]

    run_result = rig.run(jobs, caps=(cap,), cost_of=cost_of)

    assert not run_result.stops
    assert rig.states(jobs) == [State.SUCCEEDED] * 11


def test_a_price_that_is_known_to_be_another_is_reported_where_it_meets_the_cap(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, account(concurrency=20))
    jobs = make_jobs(3)
    rig.run(jobs[:1], cost_of=lambda _e, _u: MicroUSD(840_000))

    run_result = rig.run(jobs, caps=(Cap(limit=MicroUSD(1_000_000)),), cost_of=cost_of)

    assert "have cost 2.0 times their estimate" in run_result.stops[0].reason
    assert len(rig.world.books.posts) == 1
