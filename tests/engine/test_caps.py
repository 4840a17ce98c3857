"""Costs never look smaller than they are: units, names and sums that caps count by.

Judged by the emulator's books.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from support.engine import T2I, Rig, account, make_job, make_jobs

from kling_batch.catalog.registry import cost_of
from kling_batch.core.events import EventKind
from kling_batch.core.jobs import Batch, Job
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.emulator import Fault
from kling_batch.output.store import OutputStore
from kling_batch.settings import RunOptions, resolve

UHD = "fal-ai/kling-video/o3/4k/text-to-video"
CAP = Cap(limit=MicroUSD(1_120_000), batches=("test",), name="max_cost")


def units_times(scale: float) -> Fault:
    """fal's units on a scale nobody knows."""
    return Fault(stage="result", what="units", scale=scale)


def cap_of(limit: int, jobs: Sequence[Job], name: str = "test") -> tuple[Cap, ...]:
    """The caps of a run of one manifest with this batch name."""
    batch = Batch(name=name, source="t.yaml", jobs=tuple(jobs))
    return resolve([batch], RunOptions(max_cost=MicroUSD(limit))).budget.caps


# -- units that say too little ---------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 0.1, 0.4, 1 / 3])
def test_units_below_an_exact_estimate_open_no_cap(tmp_path: Path, scale: float) -> None:
    rig = Rig(tmp_path, account(), [units_times(scale)])

    for _ in range(3):
        rig.run(make_jobs(8), caps=(CAP,), cost_of=cost_of, concurrency=2)

    assert rig.world.books.total_committed_micro_usd == 840_000 <= CAP.limit
    assert rig.kinds().count(EventKind.WARNING) == 2
    with rig.ledger() as ledger:
        assert ledger.money().charged == 840_000


def test_units_as_they_should_be_give_no_warning(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(2)

    rig.run(jobs, cost_of=cost_of)

    assert EventKind.WARNING not in rig.kinds()
    with rig.ledger() as ledger:
        assert [ledger.attempts_of(job.key)[0].cost for job in jobs] == [420_000] * 2


def test_an_upper_bound_is_reported_as_it_cost_and_capped_as_it_could(tmp_path: Path) -> None:
    """A series of up to nine pictures: fewer may come back, and only a bill is certain of that."""
    note = "the model chooses the number of images: up to 9"
    jobs = [
        make_job(
            f"series-{n}",
            endpoint=T2I,
            estimate=252_000,
            num_images=2,
            duration=None,
            generate_audio=None,
            shot_type=None,
        )._replace(estimate_note=note)
        for n in range(3)
    ]
    cap = Cap(limit=MicroUSD(510_000), batches=("test",))
    rig = Rig(tmp_path, account())

    run_result = rig.run(jobs, caps=(cap,), cost_of=cost_of, concurrency=1)

    assert run_result.stops
    assert rig.world.books.total_charged_micro_usd == 2 * 56_000
    with rig.ledger() as ledger:
        assert ledger.money().charged == 2 * 56_000
        for attempt in ledger.attempts_in(State.SUCCEEDED):
            ledger.record(attempt.id, Event.COST_LEARNT, cost=MicroUSD(56_000))
    rig.run(jobs, caps=(cap,), cost_of=cost_of)
    assert rig.states(jobs) == [State.SUCCEEDED] * 3


def test_a_bill_below_the_estimate_is_believed(tmp_path: Path) -> None:
    """A discount: only a billing event knows of it."""
    rig = Rig(tmp_path, account())
    jobs = make_jobs(4)
    rig.run(jobs, caps=(CAP,), cost_of=cost_of)
    with rig.ledger() as ledger:
        for attempt in ledger.attempts_in(State.SUCCEEDED):
            ledger.record(attempt.id, Event.COST_LEARNT, cost=MicroUSD(300_000))

    rig.run(jobs, caps=(CAP,), cost_of=cost_of)

    assert rig.states(jobs).count(State.SUCCEEDED) == 3


def test_uhd_clips_count_by_the_unit_of_their_endpoint(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(8, endpoint=UHD, estimate=2_100_000)
    caps = cap_of(4_500_000, jobs)

    for _ in range(3):
        rig.run(jobs, caps=caps, cost_of=cost_of, concurrency=2)

    assert rig.world.books.total_committed_micro_usd == 4_200_000
    with rig.ledger() as ledger:
        assert ledger.money().charged == 4_200_000


# -- names -----------------------------------------------------------------------------------------


def test_a_new_name_of_the_batch_leaves_its_cap_where_it_was(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    names = ("test", "test-2", "test-3")
    rig.store = lambda: OutputStore(  # type: ignore[method-assign]
        dict.fromkeys(names, tmp_path), tmp_path
    )

    for name in names:
        jobs = [job._replace(batch=name) for job in make_jobs(8)]
        assert rig.run(jobs, caps=cap_of(1_120_000, jobs, name)).stops

    assert rig.world.books.total_committed_micro_usd == 840_000


def test_a_job_that_left_the_manifest_still_counts_under_its_name(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(4)
    rig.run(jobs[:2], caps=cap_of(1_120_000, jobs[:2]))

    rig.run(jobs[2:], caps=cap_of(1_120_000, jobs[2:]))

    assert rig.world.books.total_committed_micro_usd == 840_000


# -- sums that are kept ----------------------------------------------------------------------------


def test_a_window_lets_go_of_what_lies_before_it_within_one_run(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    cap = Cap(limit=MicroUSD(900_000), window=timedelta(days=1))

    run_result = rig.run(make_jobs(6), caps=(cap,), rate=1 / 50_000)

    assert not run_result.stops
    assert rig.world.books.total_charged_micro_usd == 6 * 420_000
