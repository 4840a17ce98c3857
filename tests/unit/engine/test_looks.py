"""When the status of a request is read: lateness against requests, over kinds of durations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from heapq import heapreplace
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.look_simulation import LATENCY, Draw, Measured, Simulation, around, fixed

from kling_batch.core.records import Service
from kling_batch.engine.looks import CLOSEST, FARTHEST, Look, Looks
from kling_batch.engine.service_times import LOOK_COST_SECONDS, LOOK_COST_SHARE, ServiceTimes, plan

thorough = settings(max_examples=40, deadline=None, derandomize=True, database=None)

#: Besides 2 % of the service time. Service times that are not constant need more looks the closer
#: they are placed; at two seconds, 40 ms more are one request less.
CONSTANT = 0.04


def history(seconds: float, spread: float, *, told: bool = True) -> list[Service]:
    """What an earlier run left in the ledger."""
    random, draw = Random(3), around(seconds, spread)
    services = [draw(random, 0.0) for _ in range(60)]
    return [Service("0", "5", 1.03 * each + 0.1, each if told else None) for each in services]


# -- known durations ---------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    ("seconds", "spread", "most"),
    [
        (2, 0.0, 5),
        (2, 0.15, 6),
        (10, 0.0, 6),
        (10, 0.15, 9),
        (94, 0.0, 8),
        (94, 0.15, 12),
        (318, 0.15, 12),
    ],
)
def test_an_end_is_noticed_within_two_percent_of_the_service_time(
    seconds: float, spread: float, most: float, told: bool
) -> None:
    learned = Measured.of(
        [
            each
            for seed in (1, 2)
            for each in Simulation(count=300, draws=[around(seconds, spread)], told=told, seed=seed)
            .run()
            .requests[100:]
        ]
    )
    assert learned.lateness <= 0.02 * learned.service + CONSTANT
    assert learned.requests <= most


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    ("seconds", "spread", "most"), [(2, 0.0, 6), (2, 0.15, 6.5), (10, 0.15, 9), (94, 0.15, 12)]
)
def test_what_the_ledger_knows_holds_from_the_first_request_on(
    seconds: float, spread: float, most: float, told: bool
) -> None:
    known = history(seconds, spread, told=told)
    simulation = Simulation(
        count=80, draws=[around(seconds, spread)], told=told, history=known
    ).run()

    first = Measured.of(simulation.requests)
    # Without fal's own measure, the ledger has the time of the read only, which was late itself.
    assert first.lateness <= (0.02 if told else 0.03) * first.service + 2 * CONSTANT
    assert first.requests <= most


@pytest.mark.parametrize("told", [True, False])
def test_two_kinds_of_renders_behind_one_endpoint(told: bool) -> None:
    """Some take 20 seconds and some 90: nothing is noticed a minute late for that."""

    def draw(random: Random, now: float) -> float:
        return random.choice([20, 90]) * random.uniform(0.9, 1.1)

    simulation = Simulation(count=600, draws=[draw], told=told).run()

    learned = simulation.requests[100:]
    assert Measured.of(learned).lateness <= 0.02 * Measured.of(learned).service + CONSTANT
    assert Measured.of(learned).requests <= 14
    assert max(each.found - each.ended for each in learned) < 15


def test_durations_that_vary_widely_cost_more_looks_and_not_minutes() -> None:
    def draw(random: Random, now: float) -> float:
        return 94 * random.lognormvariate(0, 0.25)

    learned = Measured.of(Simulation(count=500, draws=[draw]).run().requests[100:])

    assert learned.lateness <= 0.04 * learned.service
    assert learned.requests <= 18


def test_what_cannot_be_done_yet_is_not_asked() -> None:
    """One early look for what the runner refuses within seconds, and none before the shortest."""
    known = history(94, 0.1)
    simulation = Simulation(count=200, draws=[around(94, 0.1)], history=known).run()

    for request in simulation.requests:
        before = [at for at in request.looks if at - request.accepted < 0.85 * 94]
        assert len(before) <= 1


def test_what_fails_at_once_again_and_again_is_noticed_early() -> None:
    def draw(random: Random, now: float) -> float:
        return 0.5 if random.random() < 0.2 else 94 * random.uniform(0.9, 1.1)

    simulation = Simulation(count=500, draws=[draw]).run()

    failed = [each for each in simulation.requests[200:] if each.service == 0.5]
    assert Measured.of(failed).lateness < 10


def test_a_service_that_becomes_slower_or_faster_is_learned_anew() -> None:
    for seconds in (20.0, 150.0):
        known = history(94, 0.1)
        simulation = Simulation(count=400, draws=[around(seconds, 0.1)], history=known).run()

        later = Measured.of(simulation.requests[200:])
        assert later.lateness <= 0.02 * later.service + CONSTANT


def test_one_that_waited_unseen_does_not_put_off_looks_at_the_others() -> None:
    times = ServiceTimes()
    for _ in range(20):
        times.learn(2.05, 2.15, 2.0)
    for _ in range(8):
        times.learn(9.0, 11.0, 2.0)

    assert times.next_after(-1.0) < 2.5


def test_what_fal_does_not_measure_is_learned_where_it_is_always_long() -> None:
    times = ServiceTimes()
    for n in range(30):
        times.learn(78.0 + n / 10, 80.0 + n / 10, 60.0)

    assert times.next_after(0.0) > 70


@pytest.mark.parametrize("ahead", [0.002, 0.5])
def test_what_began_before_its_acceptance_was_known_is_learned_as_fal_measures_it(
    ahead: float,
) -> None:
    """All end at one age: the plan is that age, and not a guess between the two looks."""
    times = ServiceTimes()
    for n in range(20):
        times.learn(13.0 + n / 10, 20.0 - ahead + n / 1000, 20.0)

    assert 20.0 - ahead <= times.next_after(13.0) <= 20.02 - ahead


def test_what_fal_measured_as_nothing_stops_no_plan() -> None:
    """Less than a head start, it would end before it was accepted."""
    times = ServiceTimes()
    for _ in range(20):
        times.learn(19.0, 19.5, 20.0)
    times.remember(0.0)
    times.remember(0.3)

    assert 0.0 < times.next_after(0.0) < 20.0


def test_a_measure_that_is_always_nothing_is_none() -> None:
    times = ServiceTimes()
    for _ in range(20):
        times.learn(0.0, 2.0, 0.0)

    assert 1.8 <= times.next_after(0.0) <= 2.0


def test_a_measure_far_above_the_age_at_the_end_is_not_believed() -> None:
    times = ServiceTimes()
    for _ in range(20):
        times.learn(19.0, 20.0, 200.0)

    assert 19.0 <= times.next_after(18.0) <= 20.0
    assert times.longest <= 20.0


def test_a_measure_in_other_units_puts_off_no_look_of_a_later_run() -> None:
    known = [each._replace(told=1000 * each.seconds) for each in history(94, 0.0)]
    looks = Looks(lambda: None, known)

    look = looks.follow("0", {"duration": "5"}, 0.0, 0.0)
    look.asked = 10.0
    look.waiting(queued=False, position=None)

    assert look.due(10.0) < 100


@pytest.mark.parametrize("told", [94.0, None])
def test_a_clock_that_was_set_back_leaves_no_negative_durations(told: float | None) -> None:
    looks = Looks(lambda: None, [Service("e", "", -3600.0, told)] * 9)

    look = looks.follow("e", {}, 0.0, 0.0)
    look.asked = 1.0
    look.waiting(queued=True, position=3)
    look.asked = 2.0
    look.waiting(queued=True, position=2)

    assert 2.0 < look.due(2.0) < 60.0


def test_a_head_start_that_is_over_is_forgotten() -> None:
    times = ServiceTimes()
    for _ in range(20):
        times.learn(13.0, 19.0, 20.0)
    for _ in range(9):
        times.learn(19.9, 20.1, 20.0)

    assert times.longest >= 19.9


# -- nothing known -----------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [2.0, 10.0, 94.0, 318.0])
def test_the_first_batch_learns_from_the_first_that_end(seconds: float) -> None:
    simulation = Simulation(count=40, draws=[around(seconds, 0.15)]).run()

    first = Measured.of(simulation.requests)
    assert first.lateness <= 0.06 * first.service + CONSTANT
    assert first.requests <= 35


def test_two_thousand_that_nothing_is_known_of_are_not_asked_all_the_time() -> None:
    simulation = Simulation(count=2000, draws=[around(20, 0.15)], window=2000).run()

    first = Measured.of(simulation.requests)
    assert first.lateness <= 0.03 * first.service
    assert first.requests <= 17
    young = [at for each in simulation.requests for at in each.looks if at < 15]
    assert len(young) <= 6.5 * 2000


# -- a queue at fal ----------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    ("count", "window", "slots", "seconds", "spread", "most"),
    [
        (1000, 1000, 50, 2, 0.15, 6),
        (600, 400, 40, 2, 0.0, 6.5),  # all slots end at once: it moves in steps of forty
        (400, 60, 40, 2, 0.15, 7),
        (120, 40, 2, 2, 0.15, 7),
        (300, 100, 8, 10, 0.15, 9),
        pytest.param(1000, 1000, 50, 2, 0.0, 6, marks=pytest.mark.acceptance),
        pytest.param(1000, 1000, 50, 2, 0.3, 7, marks=pytest.mark.acceptance),
        pytest.param(1500, 400, 40, 2, 0.15, 6, marks=pytest.mark.acceptance),
        pytest.param(2000, 2000, 40, 2, 0.15, 6, marks=pytest.mark.acceptance),
        pytest.param(2000, 2000, 200, 10, 0.15, 9, marks=pytest.mark.acceptance),
        pytest.param(1000, 400, 40, 94, 0.15, 10, marks=pytest.mark.acceptance),
    ],
)
def test_in_a_queue_a_request_is_asked_when_its_turn_has_come(
    count: int, window: int, slots: int, seconds: float, spread: float, most: float, told: bool
) -> None:
    """From an empty ledger on; most of the time of a request is waiting."""
    simulation = Simulation(
        count=count,
        draws=[around(seconds, spread)],
        window=window,
        slots=fixed(slots),
        told=told,
    ).run()

    measured = Measured.of(simulation.requests)
    assert measured.requests <= most
    # Without fal's measure of the render itself, when a request started is known less exactly.
    assert measured.lateness <= (0.025 if told else 0.04) * measured.duration + 2 * CONSTANT


def changing(*durations: tuple[float, float]) -> Draw:
    """Service times from certain moments on, give or take a tenth."""

    def draw(random: Random, now: float) -> float:
        return [each for since, each in durations if since <= now][-1] * random.uniform(0.9, 1.1)

    return draw


def untold(position: int) -> None:
    """No position is told."""


#: What a queue may be like besides one of equal requests for a fixed number of slots: requests a
#: job at most.
UNSTEADY: dict[str, tuple[float, dict[str, Any]]] = {
    "two endpoints that share the slots": (
        7.5,
        {"draws": [around(2, 0.15), around(6, 0.15)], "window": 200},
    ),
    "two endpoints, few more open than slots": (
        8,
        {"draws": [around(2, 0.15), around(6, 0.15)], "window": 60},
    ),
    "other clients all the time": (8, {"others": [(0.1 * n, 2.0) for n in range(300)]}),
    "other clients at once": (7.5, {"others": [(8 + 0.001 * n, 2.0) for n in range(200)]}),
    "other clients before": (
        8.5,
        {
            "others": [(-1.0, 20.0 if n < 40 else 2.0) for n in range(120)],
            "window": 60,
            "count": 200,
        },
    ),
    "found open after a pause": (7, {"window": 200, "age": 4.0}),
    "longer and shorter renders": (
        7.5,
        {"draws": [changing((0, 2.0), (8, 6.0), (60, 2.0))], "window": 300, "count": 800},
    ),
    "fewer and more slots": (7, {"slots": ((0.0, 40), (8.0, 10), (25.0, 40)), "window": 200}),
    "fewer slots than are open, later": (7, {"slots": ((0.0, 40), (6.0, 10), (20.0, 40))}),
    "more slots": (7, {"slots": ((0.0, 10), (10.0, 40)), "window": 200}),
    "no positions": (6.5, {"position": untold, "window": 200}),
    "no positions, all slots end at once": (
        6.5,
        {"position": untold, "window": 200, "draws": [around(2, 0.0)]},
    ),
    "no positions, few more open than slots": (7, {"position": untold, "window": 60}),
}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.acceptance)])
@pytest.mark.parametrize("case", UNSTEADY)
def test_in_an_unsteady_queue_ends_are_noticed_all_the_same(case: str, seed: int) -> None:
    """And no later than it would be with a list schedule that knows each end."""
    most, changes = UNSTEADY[case]
    steady = Simulation(count=400, draws=[around(2, 0.15)], slots=fixed(40), seed=seed)
    batch = replace(steady, **changes)
    simulation, ideal = batch.run(), replace(batch, all_knowing=True).run()

    assert simulation.makespan <= 1.05 * ideal.makespan
    measured = Measured.of(simulation.requests)
    assert measured.requests <= most
    assert measured.lateness <= 0.03 * measured.duration + 2 * CONSTANT


def list_schedule(simulation: Simulation) -> float:
    """When the last request would end if all were submitted at once."""
    free: list[float] = [LATENCY] * simulation.slots[0][1]
    for request in simulation.requests:
        heapreplace(free, free[0] + request.service)
    return max(free)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("seconds", [2, 5, 30, 94])
@pytest.mark.parametrize("window", [40, 100, pytest.param(400, marks=pytest.mark.acceptance)])
@pytest.mark.parametrize("slots", [2, 8, 40])
def test_a_batch_takes_as_long_as_its_slots_need(
    slots: int, window: int, seconds: float, known: bool
) -> None:
    """With more requests open than slots, what is open never hides what has ended."""
    batch = Simulation(
        count=max(60, window * 3 // 2),
        draws=[around(seconds, 0.15)],
        window=window,
        slots=fixed(slots),
        history=history(seconds, 0.15) if known else [],
    )
    simulation, ideal = batch.run(), replace(batch, all_knowing=True).run()

    assert simulation.makespan <= 1.05 * ideal.makespan
    if window > slots:
        assert simulation.makespan <= 1.06 * list_schedule(simulation)
    measured = Measured.of(simulation.requests)
    # What waits for hours is looked at every ten minutes.
    assert measured.requests <= (10 if known else 23) + measured.duration / FARTHEST


@pytest.mark.parametrize("known", [False, True])
def test_no_stall_where_a_run_opens_five_requests_for_each_slot(known: bool) -> None:
    """Sixty jobs of five seconds, forty open, eight slots: an end is noticed within two seconds."""
    learned = history(5, 0.15) if known else []
    simulation = Simulation(
        count=60, draws=[around(5, 0.15)], slots=fixed(8), history=learned
    ).run()

    assert max(each.found - each.ended for each in simulation.requests) < 2.0


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(lambda position: 0, id="all are the first"),
        pytest.param(lambda position: 5, id="none ever moves"),
        pytest.param(lambda position: 37 * position % 101, id="any number"),
        pytest.param(lambda position: position if position % 3 else None, id="sometimes told"),
    ],
)
@pytest.mark.parametrize(("seconds", "window", "slots"), [(2, 200, 40), (94, 40, 8)])
def test_positions_that_say_nothing_make_no_batch_longer(
    seconds: float, window: int, slots: int, said: Callable[[int], int | None]
) -> None:
    batch = Simulation(
        count=window * 3 // 2,
        draws=[around(seconds, 0.15)],
        window=window,
        slots=fixed(slots),
        position=said,
    )
    simulation, ideal = batch.run(), replace(batch, all_knowing=True).run()

    assert simulation.makespan <= 1.05 * ideal.makespan
    assert Measured.of(simulation.requests).requests <= 20


# -- whatever is seen --------------------------------------------------------------------------


@st.composite
def sightings(draw: st.DrawFn) -> list[tuple[float, str, int | None, float | None]]:
    steps = st.tuples(
        st.floats(0, 5000),
        st.sampled_from(["queued", "running", "finished"]),
        st.one_of(st.none(), st.integers(-5, 10**6)),
        st.one_of(st.none(), st.floats(-10, 1e9)),
    )
    return draw(st.lists(steps, max_size=30))


@thorough
@given(sightings(), st.floats(0, 1e5))
def test_the_next_look_is_later_and_in_sight_whatever_fal_says(
    seen: list[tuple[float, str, int | None, float | None]], age: float
) -> None:
    looks = Looks(lambda: None)
    now = 1e6
    look: Look = looks.follow("e", {}, now - age, now)
    for later, what, position, told in seen:
        now += later
        look.asked = now
        if what == "finished":
            look.finished(told)
            look.left()
            look = looks.follow("e", {}, now - age, now)
            assert look.due(now) < float("inf")
        else:
            look.waiting(queued=what == "queued", position=position)
            assert now + CLOSEST <= look.due(now) <= now + FARTHEST


ages = st.floats(0, 1000)


@thorough
@given(st.lists(st.tuples(ages, ages, st.one_of(st.none(), ages)), min_size=1, max_size=120))
def test_ages_to_look_at_go_on_for_ever(seen: list[tuple[float, float, float | None]]) -> None:
    times = ServiceTimes()
    for lower, upper, told in seen:
        if lower == upper:
            times.remember(upper)
        else:
            times.learn(min(lower, upper), max(lower, upper), told)
    age = -1.0
    for _ in range(200):
        following = times.next_after(age)
        assert following > age
        age = max(following, age + 0.05)
    assert age > max(max(lower, upper) for lower, upper, _ in seen)


@thorough
@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=7))
def test_the_plan_costs_least_of_all(seconds: list[float]) -> None:
    points = sorted(seconds)

    def cost(ages: list[float]) -> float:
        total = 0.0
        for point in points:
            for age in ages:
                total += LOOK_COST_SHARE * age + LOOK_COST_SECONDS
                if age >= point:
                    total += age - point
                    break
        return total

    found = plan([(point, 1.0) for point in points])

    assert all(a < b for a, b in pairwise(found)) or len(set(points)) < len(points)
    assert found[-1] == points[-1]
    choices = range(2 ** (len(points) - 1))
    cheapest = min(
        cost([*(p for n, p in enumerate(points[:-1]) if chosen >> n & 1), points[-1]])
        for chosen in choices
    )
    assert cost(found) <= cheapest + 1e-9


# -- results in place of statuses ----------------------------------------------------------------


def followed(seconds: list[float], *, measured: bool = False) -> Look:
    """A request of a kind whose durations are known, ten seconds old."""
    looks = Looks(lambda: None, [Service("0", "5", each, each) for each in seconds])
    look = looks.follow("0", {"duration": "5"}, 0.0, 0.0, measured=measured)
    look.asked = 10.0
    return look


def test_a_result_is_asked_for_where_the_kind_is_steady_and_it_should_be_there() -> None:
    assert followed([9.5] * 8).result_likely
    assert not followed([9.5] * 7).result_likely
    assert not followed([10.5] * 8).result_likely
    assert not followed([5.0, *[9.5] * 7]).result_likely
    assert not followed([9.5] * 8, measured=True).result_likely


def test_a_result_is_asked_for_by_what_is_left_of_the_durations() -> None:
    """Seven of eight are over: of those that had not ended by then, one of one is."""
    durations = [9.0] * 7 + [9.9]
    early, late = followed(durations), followed(durations)
    early.asked = 8.5
    assert not early.result_likely
    early.waiting(queued=False, position=None)
    early.asked = 9.5
    assert early.result_likely
    late.asked = 9.5
    late.waiting(queued=False, position=None)
    late.asked = 9.8
    assert not late.result_likely
    late.asked = 9.9
    assert late.result_likely


def test_a_result_is_asked_for_once_and_no_more_of_a_kind_that_has_none() -> None:
    looks = Looks(lambda: None, [Service("0", "5", 9.5, 9.5)] * 40)
    nine = [looks.follow("0", {"duration": "5"}, 0.0, 0.0) for _ in range(9)]
    for look in nine:
        look.asked = 10.0
    likely = [look for look in nine if look.result_likely]
    assert len(likely) == 9
    for look in likely[:7]:
        look.gave_no_result()
        assert not look.result_likely
    assert likely[8].result_likely
    likely[7].gave_no_result()
    assert not likely[8].result_likely


@pytest.mark.parametrize(
    ("began", "asked", "expected"),
    [
        # Accepted together, those that end first are the short ones: as many must have ended as are
        # open.
        (0.0, 10.0, [False] * 19 + [True] * 11),
        # Found open long ago, eight ends are enough.
        (100.0, 100.0, [False] * 7 + [True] * 3),
    ],
)
def test_of_many_that_are_open_some_must_have_ended(
    began: float, asked: float, expected: list[bool]
) -> None:
    looks = Looks(lambda: None)
    many = [looks.follow("0", {"duration": "5"}, 0.0, began) for _ in range(40)]
    likely = []
    for look in many[: len(expected)]:
        look.asked = many[38].asked = asked
        look.finished(9.9)
        look.left()
        likely.append(many[38].result_likely)
    assert likely == expected
