"""How fast and how many, on virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_batch.engine.pacing import AdaptiveRate, Rate, Window

T = TypeVar("T")

thorough = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def virtually(work: Callable[[], Awaitable[T]]) -> T:
    return trio.run(work, clock=trio.testing.MockClock(autojump_threshold=0))


def times(
    rate: Rate, takers: list[float], holds: list[tuple[float, float]] | None = None
) -> list[float]:
    """When each taker, who comes at his moment, gets his token."""
    got: list[float] = []

    async def take(at: float) -> None:
        await anyio.sleep_until(at)
        if not rate.take_now():
            await rate.take()
        got.append(anyio.current_time())

    async def hold(at: float, seconds: float) -> None:
        await anyio.sleep_until(at)
        rate.hold(seconds)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for at in takers:
                tasks.start_soon(take, at)
            for at, seconds in holds or []:
                tasks.start_soon(hold, at, seconds)

    virtually(main)
    return got


# -- rate --------------------------------------------------------------------------------------


def test_takes_are_evenly_spaced() -> None:
    assert times(Rate(2.0), [0.0] * 5) == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])


def test_a_burst_is_allowed_after_a_pause_and_only_then() -> None:
    got = times(Rate(1.0, burst=3), [0.0] * 5 + [100.0] * 5)

    assert got == pytest.approx([0, 0, 0, 1, 2, 100, 100, 100, 101, 102])


def test_idle_time_is_not_saved_up() -> None:
    assert times(Rate(1.0), [0.0, 50.0, 50.0]) == pytest.approx([0, 50, 51])


def test_nobody_passes_those_who_wait_in_line() -> None:
    async def main() -> list[bool]:
        rate, got = Rate(1.0), list[bool]()
        async with anyio.create_task_group() as tasks:
            for at, waits in ((0.0, False), (0.1, True), (0.9, False), (1.5, False), (2.0, False)):
                await anyio.sleep_until(at)
                if waits:
                    tasks.start_soon(rate.take)
                else:
                    got.append(rate.take_now())
        return got

    assert virtually(main) == [True, False, False, True]


def test_a_hold_stops_everybody_also_the_one_who_waits_already() -> None:
    got = times(Rate(1.0), [0.0, 0.5, 0.6], holds=[(0.7, 30.0)])

    assert got == pytest.approx([0, 30.7, 31.7])


def test_a_shorter_hold_does_not_shorten_a_longer_one() -> None:
    got = times(Rate(1.0, burst=4), [5.0], holds=[(1.0, 60.0), (2.0, 1.0)])

    assert got == pytest.approx([61.0])


@thorough
@given(
    st.floats(0.05, 20),
    st.integers(1, 5),
    st.lists(st.floats(0, 30), min_size=1, max_size=25),
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 20)), max_size=3),
)
def test_no_window_of_time_holds_more_than_the_rate_allows(
    per_second: float, burst: int, takers: list[float], holds: list[tuple[float, float]]
) -> None:
    got = times(Rate(per_second, burst), takers, holds)

    assert len(got) == len(takers)
    assert got == sorted(got)
    for i, begun in enumerate(got):
        for j in range(i, len(got)):
            assert j - i + 1 <= (got[j] - begun) * per_second + burst + 1e-6
    for at, seconds in holds:
        assert not [t for t in got if at + 1e-9 < t < at + seconds - 1e-6]


@thorough
@given(st.floats(0.1, 5), st.lists(st.floats(0, 3), min_size=2, max_size=10))
def test_tokens_are_given_in_the_order_of_asking(per_second: float, gaps: list[float]) -> None:
    rate = Rate(per_second)
    order: list[int] = []

    async def take(number: int, at: float) -> None:
        await anyio.sleep_until(at)
        await rate.take()
        order.append(number)

    async def main() -> None:
        at = 0.0
        async with anyio.create_task_group() as tasks:
            for number, gap in enumerate(gaps):
                at += gap + 0.001
                tasks.start_soon(take, number, at)

    virtually(main)

    assert order == sorted(order)


def test_one_who_leaves_the_line_takes_no_token_with_him() -> None:
    rate = Rate(1.0)

    async def main() -> float:
        await rate.take()
        with anyio.move_on_after(0.2):
            await rate.take()
        await rate.take()
        return anyio.current_time()

    assert virtually(main) == pytest.approx(1.0)


# -- window ------------------------------------------------------------------------------------


@thorough
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 5)), min_size=1, max_size=20),
)
def test_never_more_inside_than_the_limit_and_everybody_gets_in(
    limit: int, visits: list[tuple[float, float]]
) -> None:
    window = Window(limit)
    inside: list[int] = []

    async def visit(at: float, stay: float) -> None:
        await anyio.sleep_until(at)
        await window.enter()
        inside.append(window.open)
        await anyio.sleep(stay)
        window.leave()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for at, stay in visits:
                tasks.start_soon(visit, at, stay)

    virtually(main)

    assert len(inside) == len(visits)
    assert max(inside) <= limit
    assert window.open == 0
    assert not window.full


def test_what_is_open_already_counts_but_never_waits() -> None:
    window = Window(2)
    for _ in range(3):
        window.enter_now()

    async def main() -> float:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave_later)
            await window.enter()
            tasks.cancel_scope.cancel()
        return anyio.current_time()

    async def leave_later() -> None:
        for _ in range(3):
            await anyio.sleep(5)
            window.leave()

    assert window.full
    assert virtually(main) == pytest.approx(10)


def test_one_who_gives_up_waiting_takes_no_place() -> None:
    window = Window(1)

    async def main() -> None:
        await window.enter()
        with anyio.move_on_after(1):
            await window.enter()
        window.leave()

    virtually(main)

    assert window.open == 0


# -- throttled -----------------------------------------------------------------------------------


def test_a_throttled_rate_is_slower_for_a_while_and_comes_back() -> None:
    rate = Rate(10.0)
    got: list[float] = []

    async def main() -> None:
        while anyio.current_time() < 120:
            await rate.take()
            got.append(anyio.current_time())
            if 10 <= got[-1] < 30:
                rate.throttled()
            else:
                rate.accepted()

    virtually(main)

    def between(begin: float, end: float) -> int:
        return sum(begin <= at < end for at in got)

    assert between(0, 10) == pytest.approx(100, abs=2)
    assert 2 <= between(20, 30) <= 4  # one in five seconds, so that the end of it is noticed
    assert between(110, 120) == pytest.approx(100, abs=2)


def test_a_rate_below_the_least_is_not_raised_by_a_throttle() -> None:
    rate = Rate(0.1)

    async def main() -> float:
        await rate.take()
        rate.throttled()
        await rate.take()
        return anyio.current_time()

    assert virtually(main) == pytest.approx(10.0)


def rate_after(share: float, answers: int = 4000) -> float:
    """An adaptive rate, of 1,000 at most, after answers of which a share is troubled."""
    rate, random, moment = AdaptiveRate(200.0, 1.0), Random(5), 0.0
    for _ in range(answers):
        moment += 1 / rate.now
        if random.random() < share:
            rate.cut(moment)
        else:
            rate.grow(moment, 1000.0)
    return rate.now


def test_one_troubled_answer_in_twenty_says_nothing_about_the_rate() -> None:
    assert rate_after(0.05) > 300


def test_trouble_of_every_third_answer_slows_down() -> None:
    assert rate_after(0.33) < 20


def test_an_outage_is_seen_within_a_few_answers() -> None:
    rate = AdaptiveRate(200.0, 1.0)
    for n in range(20):
        rate.cut(float(n))

    assert rate.now < 50
