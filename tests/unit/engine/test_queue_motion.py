"""How far fal's queue has moved, from few sightings and the ends that were noticed."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_batch.engine.queue_motion import Ends, QueueMotion

thorough = settings(max_examples=40, deadline=None, derandomize=True, database=None)

moments = st.floats(0, 1000)
sightings = st.lists(st.tuples(moments, st.floats(0, 500)), min_size=1, max_size=12)


def moved(
    *seen: tuple[float, float], ends: tuple[float, ...] = (), mean: float = 0.0
) -> QueueMotion:
    """A queue of which so many had left at these times."""
    account = Ends()
    for at in ends:
        account.end(at)
    if mean:
        account.learn(mean)
    motion = QueueMotion(account)
    for at, gone in seen:
        motion.see(at, gone)
    return motion


@thorough
@given(sightings, st.lists(moments, max_size=20), st.floats(0, 100), st.floats(0, 50))
def test_no_start_contradicts_what_was_seen(
    seen: list[tuple[float, float]], ends: list[float], mean: float, slots: float
) -> None:
    motion = moved(*seen, ends=tuple(ends), mean=mean)
    motion.slots = slots
    last = max(at for at, gone in seen if gone <= motion.gone)

    starts = [motion.start(float(place)) for place in range(0, 520, 3)]

    known = [each for each in starts if each is not None]
    assert all(earlier <= later for earlier, later in pairwise(known))
    for place, start in zip(range(0, 520, 3), starts, strict=True):
        if place < motion.gone:
            assert start is not None
            assert start <= last
        elif start is not None:
            assert motion.gone_by(start) >= motion.gone


@thorough
@given(sightings, st.lists(moments, max_size=20), st.lists(moments, min_size=2, max_size=20))
def test_a_queue_never_moves_back(
    seen: list[tuple[float, float]], ends: list[float], times: list[float]
) -> None:
    motion = moved(*seen, ends=tuple(ends), mean=5.0)

    gone = [motion.gone_by(at) for at in sorted(times)]

    assert all(before <= after + 1e-9 for before, after in pairwise(gone))
    assert motion.gone_by(seen[0][0]) >= seen[0][1]


def test_starts_between_two_sightings_are_the_ends_that_were_noticed() -> None:
    """Of the four places that became free, two ends are known; of eight, too few to tell."""
    motion = moved((10.0, 0.0), (20.0, 4.0), (30.0, 12.0), ends=(11.0, 12.0, 25.0))

    assert [motion.start(place) for place in range(4)] == [11.0, 11.0, 12.0, 12.0]
    assert motion.start(4) == 20.0 + 10.0 / 16
    assert motion.start(-1) == -math.inf


def test_starts_after_the_last_sighting_are_the_ends_since_and_then_the_speed() -> None:
    motion = moved((0.0, 0.0), (20.0, 40.0), ends=(*range(40), *(21.0, 21.5)), mean=10.0)

    assert motion.start(40) == pytest.approx(21.0, abs=1.0)
    assert motion.start(60) == pytest.approx(30.0, abs=1.5)


@pytest.mark.parametrize(
    ("seen", "slots", "speed"),
    [
        (((0.0, 0.0),), 0.0, None),
        (((0.0, 40.0),), 40.0, 4.0),  # 40 slots of ten seconds
        (((0.0, 40.0), (9.0, 44.0)), 40.0, 4.0),  # too early to say anything else
        (((0.0, 40.0), (10.0, 60.0)), 40.0, 2.0),
        (((0.0, 0.0), (30.0, 400.0), (50.0, 440.0)), 40.0, 2.0),  # the latest twenty seconds
        (((0.0, 40.0), (20.0, 40.0)), 40.0, 0.5 / 20),  # it stands
    ],
)
def test_the_speed_is_that_of_the_latest_service_times(
    seen: tuple[tuple[float, float], ...], slots: float, speed: float | None
) -> None:
    motion = moved(*seen, mean=10.0)
    motion.slots = slots

    assert motion.speed == speed
    assert motion.sight_interval <= 10.0
    assert not speed or motion.sight_interval >= 1.25


def test_years_of_sightings_and_ends_take_bounded_memory() -> None:
    motion = moved(*((float(at), float(at)) for at in range(20_000)), ends=(*range(20_000),))

    assert len(motion._at) <= 8192
    assert len(motion._ends.times) <= 8192
    assert motion.start(19_990) == pytest.approx(19_990, abs=1)
