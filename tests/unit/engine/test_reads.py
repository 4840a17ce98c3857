"""Turns of reads on virtual time: order, budget, what fal's answers do to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest
import trio
import trio.testing

from kling_batch.core.outcomes import Unread, Waiting
from kling_batch.engine.reads import (
    BASE_RATE,
    LONGEST_HOLD,
    MOST_UNDER_WAY,
    START_RATE,
    WHILE_SUBMITTING,
    ReadBudget,
    Reads,
)

GOOD = Waiting("IN_PROGRESS")
STRAIN = [Unread("HTTP 429: slow down"), Unread("HTTP 503: x"), Unread("ReadTimeout")]
DENIALS = [Unread("x", not_found=True), Unread("x", refused=True), Unread("x", empty=True)]


def served(work: Callable[[Reads], Awaitable[None]], *, limit: float = 1e6) -> None:
    """Run `work` beside the task that gives turns."""

    async def main() -> None:
        reads = Reads()
        with anyio.fail_after(limit):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reads.serve)
                await work(reads)
                tasks.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


class Fal:
    """Answers reads, and remembers when each began."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.answer: object = GOOD
        self.seconds = seconds
        self.begun: list[float] = []
        self.names: list[str] = []
        self.under_way = self.most_under_way = 0

    async def __call__(self, name: str = "") -> object:
        self.begun.append(anyio.current_time())
        self.names.append(name)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await anyio.sleep(self.seconds)
            return self.answer
        finally:
            self.under_way -= 1

    def since(self, begin: float, end: float) -> int:
        return sum(begin <= at < end for at in self.begun)


def at(moment: float) -> Callable[[float], float]:
    return lambda _now: moment


# -- turns -------------------------------------------------------------------------------------


def test_looks_are_few_while_jobs_are_submitted_and_results_are_not() -> None:
    looks, results = Fal(), Fal()

    async def work(reads: Reads) -> None:
        reads.budget.open = 1000
        reads.submitting(yes=True)
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(reads.read, looks, at(0.0))
            await anyio.sleep(0.1)
            for _ in range(20):
                tasks.start_soon(reads.read, results)
            await anyio.sleep(0.1 + WHILE_SUBMITTING / 2)
            reads.submitting(yes=False)

    served(work)

    held = 0.2 + WHILE_SUBMITTING / 2
    assert 9 <= looks.since(0.0, held) <= 11
    assert results.since(0.1, 0.11 + 20 / START_RATE) == 20
    assert looks.since(held, held + 1e-3) > 1  # at once, and not when the next would have been due


def test_each_read_begins_when_it_is_due() -> None:
    fal = Fal()

    async def work(reads: Reads) -> None:
        async with anyio.create_task_group() as tasks:
            for due in (5.0, 1.0, 3.0, 2.0, 4.0):
                tasks.start_soon(reads.read, partial(fal, str(due)), at(due))

    served(work)

    assert fal.names == ["1.0", "2.0", "3.0", "4.0", "5.0"]
    assert fal.begun == pytest.approx([1, 2, 3, 4, 5])


def test_what_is_due_at_once_goes_before_what_was_due_long_ago() -> None:
    fal = Fal()

    async def work(reads: Reads) -> None:
        async with anyio.create_task_group() as tasks:
            for n in range(300):
                tasks.start_soon(reads.read, partial(fal, f"look {n}"), at(0.0))
            await anyio.sleep(0.5)
            tasks.start_soon(reads.read, partial(fal, "result"))

    served(work)

    place = fal.names.index("result")
    assert place < 299
    assert fal.begun[place] == pytest.approx(0.5, abs=0.05)


def test_a_look_that_became_due_later_is_not_made_yet() -> None:
    fal = Fal()
    due = [2.0]

    async def work(reads: Reads) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reads.read, fal, lambda _now: due[0])
            await anyio.sleep(1)
            due[0] = 7.0

    served(work)

    assert fal.begun == pytest.approx([7.0])


def test_a_look_that_became_due_earlier_is_made_then() -> None:
    fal = Fal()
    due = [600.0]

    async def work(reads: Reads) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(reads.read, fal, lambda _now: due[0])
            await anyio.sleep(10)
            due[0] = 20.0
            reads.reconsider()

    served(work)

    assert len(fal.begun) == 50
    assert fal.begun[0] == pytest.approx(20.0)
    assert fal.begun[-1] < 21


def test_one_who_gives_up_frees_his_place() -> None:
    fal = Fal(seconds=100.0)

    async def work(reads: Reads) -> None:
        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(50) as leaving:
                async with anyio.create_task_group() as leavers:
                    for _ in range(MOST_UNDER_WAY + 20):
                        leavers.start_soon(reads.read, fal)
            assert leaving.cancelled_caught
            assert fal.under_way == 0
            for _ in range(MOST_UNDER_WAY):
                tasks.start_soon(reads.read, fal)

    served(work)

    assert fal.most_under_way == MOST_UNDER_WAY
    assert len(fal.begun) == 2 * MOST_UNDER_WAY


# -- the budget --------------------------------------------------------------------------------


def test_two_thousand_found_open_are_asked_within_seconds_and_not_at_once() -> None:
    fal = Fal(seconds=0.05)

    async def work(reads: Reads) -> None:
        reads.budget.open = 2000
        async with anyio.create_task_group() as tasks:
            for _ in range(2000):
                tasks.start_soon(reads.read, fal, at(0.0))

    served(work)

    assert len(fal.begun) == 2000
    assert fal.since(0, 0.2) < 0.2 * 2 * START_RATE + 10
    assert fal.since(0, 1) < 2 * START_RATE + 10
    assert max(fal.begun) < 10


def test_the_rate_grows_with_what_is_open() -> None:
    rates = []
    for opened in (0, 40, 200, 2000, 10_000):
        budget = ReadBudget()
        budget.open = opened
        for second in range(60):
            budget.note(GOOD, float(second))
        rates.append(budget.rate)

    assert rates == sorted(rates)
    assert rates[0] == BASE_RATE
    assert rates[1] >= 3 * 40  # 40 renders of a second each: two looks and a result
    assert rates[-1] < 10_000  # a tenth of what fal's own client would ask


@pytest.mark.parametrize(
    "strain",
    [STRAIN[0], *(pytest.param(each, marks=pytest.mark.acceptance) for each in STRAIN[1:])],
)
def test_signs_of_strain_shrink_the_rate_and_good_answers_bring_it_back(strain: Unread) -> None:
    fal = Fal()

    async def ask(reads: Reads) -> None:
        while anyio.current_time() < 60:
            await reads.read(fal)

    async def work(reads: Reads) -> None:
        reads.budget.open = 100
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask, reads)
            await anyio.sleep(20)
            fal.answer = strain
            await anyio.sleep(20)
            fal.answer = GOOD

    served(work)

    before, during, after = fal.since(10, 20), fal.since(30, 40), fal.since(50, 60)
    assert before > 2000
    assert during <= 11  # one a second
    assert after > 0.9 * before


def test_a_limit_of_fal_is_met_without_asking_in_vain_all_the_time() -> None:
    """Ten reads a second are answered; what exceeds them is a 429."""
    fal = Fal()
    refused: list[float] = []
    allowance = [10.0, 0.0]

    async def limited() -> object:
        now = anyio.current_time()
        allowance[:] = min(10.0, allowance[0] + 10 * (now - allowance[1])), now
        await fal()
        if allowance[0] < 1:
            refused.append(now)
            return STRAIN[0]
        allowance[0] -= 1
        return GOOD

    async def ask(reads: Reads) -> None:
        while anyio.current_time() < 120:
            await reads.read(limited)

    async def work(reads: Reads) -> None:
        reads.budget.open = 40
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(ask, reads)

    served(work)

    good = len(fal.begun) - len(refused)
    assert good > 0.7 * 10 * 120
    assert len(refused) < 0.25 * good


@pytest.mark.parametrize("denial", DENIALS)
def test_a_denial_is_an_answer_and_no_strain(denial: Unread) -> None:
    budget = ReadBudget()
    budget.open = 100
    before = budget.rate

    for second in range(10):
        budget.note(denial, float(second))

    assert budget.rate >= before


def test_one_that_always_fails_slows_the_others_little() -> None:
    budget = ReadBudget()
    budget.open = 40
    for tenth in range(600):
        budget.note(GOOD, tenth / 10)
        if tenth % 100 == 0:
            budget.note(STRAIN[1], tenth / 10)

    assert budget.rate > 0.9 * budget.most


@pytest.mark.parametrize(("hint", "held"), [(8.0, 8.0), (86_400.0, LONGEST_HOLD)])
def test_a_retry_after_holds_all_reads_for_a_bounded_time(hint: float, held: float) -> None:
    fal = Fal()

    async def work(reads: Reads) -> None:
        fal.answer = Unread("HTTP 429", retry_after=hint)
        await reads.read(fal)
        fal.answer = GOOD
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(reads.read, fal)

    served(work)

    assert fal.begun[0] < 0.1
    assert fal.begun[1] >= held - 1
    assert fal.begun[-1] <= held + 1


def test_slow_answers_bound_what_is_under_way() -> None:
    fal = Fal(seconds=20.0)

    async def work(reads: Reads) -> None:
        reads.budget.open = 10_000
        async with anyio.create_task_group() as tasks:
            for _ in range(3000):
                tasks.start_soon(reads.read, fal, at(0.0))

    served(work)

    assert len(fal.begun) == 3000
    assert fal.most_under_way == MOST_UNDER_WAY


@pytest.mark.acceptance
def test_an_outage_with_ten_thousand_open_is_no_storm_and_nobody_is_forgotten() -> None:
    """Each asks again after a pause of its own, as the poller does."""
    fal = Fal(seconds=0.02)
    answered = 0

    async def ask(reads: Reads) -> None:
        nonlocal answered
        while await reads.read(fal, at(0.0)) is not GOOD:  # noqa: ASYNC110
            await anyio.sleep(10)
        answered += 1

    async def work(reads: Reads) -> None:
        reads.budget.open = 10_000
        fal.answer = STRAIN[0]
        async with anyio.create_task_group() as tasks:
            for _ in range(10_000):
                tasks.start_soon(ask, reads)
            await anyio.sleep(600)
            fal.answer = GOOD

    served(work)

    assert answered == 10_000
    assert fal.since(0, 10) < 150
    assert fal.since(10, 600) <= 600
    assert max(fal.begun) < 600 + 45
