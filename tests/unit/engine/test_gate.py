"""What closes the gate, for whom, and in which words; on a real ledger, without a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.engine import PRO, START, T2V, make_job, make_jobs
from support.ledger import opened, rendered

from kling_batch.core.events import EventKind, RunEvent, StopReason
from kling_batch.core.jobs import Job
from kling_batch.core.outcomes import Failure, FailureKind
from kling_batch.core.quantities import FailureLimit, MicroUSD
from kling_batch.core.records import Attempt, Cap, OverCap
from kling_batch.engine.context import RunContext, RunPolicy
from kling_batch.engine.gate import SubmissionGate
from kling_batch.errors import ExitCode
from kling_batch.ledger.ledger import Ledger
from kling_batch.planning.plan import OnDisk, make_plan

#: What the gate has no use for: a touch of it fails.
NOTHING: Any = None


@dataclass
class Gate:
    """A gate, and everything that it can do to a run."""

    ledger: Ledger
    factors: dict[str, float] = field(default_factory=dict)
    max_failures: FailureLimit | None = None

    def __post_init__(self) -> None:
        self.events: list[RunEvent] = []
        self.stops: list[StopReason] = []
        self.left = 0
        self.context = RunContext(
            ledger=self.ledger,
            queue=NOTHING,
            fetcher=NOTHING,
            uploader=NOTHING,
            store=NOTHING,
            worker=NOTHING,
            log_worker=NOTHING,
            policy=RunPolicy(max_failures=self.max_failures),
            now=lambda: START,
            rng=Random(1),
            notify=self.events.append,
            price_factors=self.factors,
        )
        self.gate = SubmissionGate(self.context, self.stops, self.leave)

    def leave(self) -> None:
        self.left += 1

    def opened_for(self, *jobs: Job) -> SubmissionGate:
        self.gate.open_for(make_plan(jobs, {}, on_disk=lambda *_: OnDisk.NO, attempts=3))
        return self.gate

    @property
    def closed(self) -> bool:
        return self.context.submit_stop.is_set

    def reported(self) -> list[tuple[EventKind, str, str]]:
        return [(event.kind, event.job, event.message) for event in self.events]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    jobs = [*make_jobs(4), make_job("x", endpoint=PRO)]
    with opened(tmp_path / "ledger.db", jobs=jobs) as ledger:
        yield ledger


def in_batch(batch: str, job: Job) -> Job:
    return job._replace(batch=batch)


def refusal(kind: FailureKind, message: str, status: int | None = None) -> Failure:
    return Failure(kind=kind, message=message, status=status)


def over(*, limit: int = 1_000_000, estimate: int = 420_000, batches: Any = None) -> OverCap:
    cap = Cap(limit=MicroUSD(limit), batches=batches, name="max_cost")
    return OverCap(cap=cap, committed=MicroUSD(840_000), estimate=MicroUSD(estimate))


def test_a_new_gate_is_open_and_says_nothing(ledger: Ledger) -> None:
    place = Gate(ledger)

    assert place.gate.allows(make_job("a"))
    assert place.context.cost_ratios == {}
    place.gate.ended(refusal(FailureKind.INVALID, "before it knows what the run is about"))
    assert (place.closed, place.stops, place.events, place.left) == (False, [], [], 0)


def test_a_gate_that_knows_of_no_batches_closes_at_the_cap_of_any(ledger: Ledger) -> None:
    place = Gate(ledger)

    place.gate.over_cap(make_job("a"), over(batches=("test",)))

    assert place.closed


def test_what_renders_have_cost_is_known_from_the_start_rounding_apart(ledger: Ledger) -> None:
    rendered(ledger, make_job("job-0"), cost=MicroUSD(840_000), billable_units=10.0)
    rendered(ledger, make_job("x", endpoint=PRO), cost=MicroUSD(424_200), billable_units=5.0)

    assert Gate(ledger).context.cost_ratios == {T2V: 2.0}


@pytest.mark.parametrize(("factor", "ratio"), [(1.5, 2.0), (3.0, 3.0)])
def test_a_price_above_the_catalogues_is_reported_and_the_dearer_counts(
    ledger: Ledger, factor: float, ratio: float
) -> None:
    rendered(ledger, make_job("job-0"), cost=MicroUSD(840_000), billable_units=10.0)

    place = Gate(ledger, {T2V: factor, PRO: 1.25})

    assert place.context.cost_ratios == {T2V: ratio, PRO: 1.25}
    assert place.reported() == [
        (
            EventKind.WARNING,
            "",
            f"fal's unit price of {name} is {times} times the catalogue's; caps count with it",
        )
        for name, times in ((T2V, f"{factor:.2f}"), (PRO, "1.25"))
    ]


def test_closing_stops_the_buying_and_leaving_the_collecting_too(ledger: Ledger) -> None:
    place = Gate(ledger)

    place.gate.close(ExitCode.BUDGET, "enough")

    assert place.closed
    assert place.left == 0
    assert place.stops == [StopReason(ExitCode.BUDGET, "enough", "", support=False)]
    assert place.reported() == [(EventKind.STOPPING, "", "enough")]

    place.gate.leave(ExitCode.INTERRUPTED, "stop")

    assert place.left == 1
    assert place.stops[1:] == [StopReason(ExitCode.INTERRUPTED, "stop", "", support=False)]


def test_one_reason_of_a_kind_is_reported_and_every_one_of_the_ledger(ledger: Ledger) -> None:
    place = Gate(ledger)

    for code in (ExitCode.BUDGET, ExitCode.LEDGER, ExitCode.AUTH):
        place.gate.close(code, "first")
        place.gate.close(code, "second")

    assert [(stop.code, stop.reason) for stop in place.stops] == [
        (ExitCode.BUDGET, "first"),
        (ExitCode.LEDGER, "first"),
        (ExitCode.LEDGER, "second"),
        (ExitCode.AUTH, "first"),
    ]
    assert [event.message for event in place.events] == ["first", "first", "second", "first"]


def test_a_cap_of_the_only_batch_ends_the_run(ledger: Ledger) -> None:
    place = Gate(ledger)
    job = make_job("a")

    place.opened_for(job).over_cap(job, over(batches=("test", "other")))

    reason = "a would pass max_cost of $1.00: $0.84 committed, $0.42 more needed"
    assert place.stops == [StopReason(ExitCode.BUDGET, reason, "max_cost", support=False)]
    assert place.closed


def test_a_cap_over_everything_ends_the_run(ledger: Ledger) -> None:
    place = Gate(ledger)
    jobs = [make_job("a"), in_batch("other", make_job("b"))]

    place.opened_for(*jobs).over_cap(jobs[0], over())

    assert place.closed


def test_caps_of_batches_leave_the_others_open(ledger: Ledger) -> None:
    place = Gate(ledger)
    jobs = {name: in_batch(name, make_job(name)) for name in ("one", "two", "three")}
    gate = place.opened_for(*jobs.values())

    for name in ("one", "two"):
        gate.over_cap(jobs[name], over(batches=(name,)))

    assert [gate.allows(job) for job in jobs.values()] == [False, False, True]
    assert not place.closed
    assert [(stop.code, stop.cap) for stop in place.stops] == [(ExitCode.BUDGET, "max_cost")]
    assert place.stops[0].reason.startswith("one would pass max_cost of $1.00")


@pytest.mark.parametrize(
    ("factors", "why"),
    [
        ({}, f" (renders of {T2V} have cost 2.0 times their estimate)"),
        ({T2V: 1.5}, f" (renders of {T2V} have cost 2.0 times their estimate)"),
        ({T2V: 1.99}, f" (fal's unit price of {T2V} is 2.0 times the catalogue's)"),
        ({T2V: 2.0}, f" (fal's unit price of {T2V} is 2.0 times the catalogue's)"),
    ],
)
def test_a_cap_that_is_met_by_a_dearer_price_says_which(
    ledger: Ledger, factors: dict[str, float], why: str
) -> None:
    place = Gate(ledger, factors)
    job = make_job("a")

    place.opened_for(job).over_cap(job, over(estimate=840_000))

    told = "a would pass max_cost of $1.00: $0.84 committed, $0.84 more needed"
    assert place.stops[0].reason == told + why


def test_failures_in_a_row_end_the_buying(ledger: Ledger) -> None:
    place = Gate(ledger, max_failures=FailureLimit(in_a_row=2))
    gate = place.opened_for(*make_jobs(5))
    no = refusal(FailureKind.INVALID, "no")

    for end in (no, None, no):
        gate.ended(end)
        assert not place.closed
    gate.ended(no)

    assert place.closed
    (stop,) = place.stops
    assert (stop.code, stop.cap) == (ExitCode.SOME_FAILED, "max_failures")
    assert stop.reason.startswith("2 failures in a row, the last one: no")


def test_a_share_of_failures_counts_what_may_be_rendered_in_this_run(ledger: Ledger) -> None:
    place = Gate(ledger, max_failures=FailureLimit(share=0.5))
    twins = make_jobs(4)
    gate = place.opened_for(*twins, *(job._replace(id=f"{job.id}-again") for job in twins[:3]))

    gate.ended(refusal(FailureKind.INVALID, "no"))
    assert not place.closed
    gate.ended(refusal(FailureKind.INVALID, "no"))

    assert place.closed
    assert place.stops[0].reason.startswith("2 of 4 jobs have failed")


LIFTED = "only fal's support can lift an administrator's lock (support@fal.ai)"


@pytest.mark.parametrize(
    ("failure", "code", "reason", "support", "left"),
    [
        (
            refusal(FailureKind.LOCKED, "User is locked. Reason: Exhausted balance", 403),
            ExitCode.BUDGET,
            "User is locked. Reason: Exhausted balance; still collecting",
            False,
            0,
        ),
        (
            refusal(FailureKind.LOCKED, "User is locked. Reason: Admin lock", 403),
            ExitCode.BUDGET,
            f"User is locked. Reason: Admin lock; still collecting; {LIFTED}",
            True,
            0,
        ),
        (
            refusal(FailureKind.AUTH, "HTTP 401: Invalid key", 401),
            ExitCode.AUTH,
            "fal refuses the key: HTTP 401: Invalid key",
            False,
            1,
        ),
        (
            refusal(FailureKind.AUTH, "HTTP 403: no", 403),
            ExitCode.AUTH,
            "the key has no access: HTTP 403: no",
            False,
            0,
        ),
    ],
)
def test_a_refusal_that_is_not_about_the_job(
    ledger: Ledger, failure: Failure, code: ExitCode, reason: str, support: bool, left: int
) -> None:
    place = Gate(ledger)

    place.gate.refused(failure)

    assert place.stops == [StopReason(code, reason, "", support=support)]
    assert [event.message for event in place.events] == [reason]
    assert (place.closed, place.left) == (True, left)


def billed(ledger: Ledger, cost: int, *, job: Job | None = None) -> tuple[Job, Attempt]:
    job = job or make_job("job-0")
    attempt = rendered(ledger, job, cost=MicroUSD(cost), billable_units=5.0)
    return job, ledger.attempt(attempt)


@pytest.mark.parametrize("cost", [0, 420_000, 424_200])
def test_a_cost_as_estimated_is_no_news(ledger: Ledger, cost: int) -> None:
    place = Gate(ledger)

    assert place.gate.billed(*billed(ledger, cost)) == ""
    assert place.context.cost_ratios == {}
    assert not place.closed


def test_a_cost_above_the_estimate_is_reported_and_learnt(ledger: Ledger) -> None:
    place = Gate(ledger)

    assert place.gate.billed(*billed(ledger, 630_000)) == "cost $0.63, estimated $0.42"
    assert place.context.cost_ratios == {T2V: 1.5}
    assert not place.closed


def test_a_cost_far_above_it_ends_the_buying(ledger: Ledger) -> None:
    place = Gate(ledger)

    assert place.gate.billed(*billed(ledger, 4_200_000)) == "cost $4.20, estimated $0.42"

    assert place.context.cost_ratios == {T2V: 10.0}
    (stop,) = place.stops
    assert stop.code is ExitCode.BUDGET
    assert stop.reason == (
        "job-0 cost $4.20, estimated $0.42: the prices are not the catalogue's; nothing more is "
        "submitted. To compare them: kling-batch plan MANIFEST --live-prices"
    )


def test_a_ratio_that_was_known_at_the_start_was_approved(ledger: Ledger) -> None:
    job, first = billed(ledger, 4_200_000)
    place = Gate(ledger)
    assert place.context.cost_ratios == {T2V: 10.0}

    assert place.gate.billed(job, first) == "cost $4.20, estimated $0.42"
    _, cheaper = billed(ledger, 840_000, job=make_job("job-1"))
    assert place.gate.billed(make_job("job-1"), cheaper)

    assert place.context.cost_ratios == {T2V: 10.0}
    assert not place.closed
