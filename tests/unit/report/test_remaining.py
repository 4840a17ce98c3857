"""Time left of a run and its throughput: what is known, learned, and when nothing is said."""

from __future__ import annotations

import pytest

from kling_batch.core.events import Pace
from kling_batch.report.display.remaining import (
    DURATIONS,
    ENOUGH,
    LATEST,
    SHORTEST,
    Durations,
    Throughput,
    time_left,
)


def test_what_the_ledger_knows_holds_until_enough_renders_say_otherwise() -> None:
    known = Durations({"clip": 100.0})

    for seconds in (10.0, 20.0):
        known.learn("clip", seconds)
    assert known.of("clip") == 100.0, "two renders are no median"
    known.learn("clip", 30.0)

    assert known.of("clip") == 20.0
    assert known.of("image") is None


def test_without_a_history_the_first_render_is_the_best_guess() -> None:
    unknown = Durations({})

    unknown.learn("clip", 50.0)
    assert unknown.of("clip") == 50.0
    unknown.learn("clip", 10.0)

    assert unknown.of("clip") == 50.0, "until there are three"


def test_a_service_that_becomes_slower_is_followed() -> None:
    known = Durations({"clip": 10.0})
    for _ in range(DURATIONS):
        known.learn("clip", 10.0)
    for _ in range(DURATIONS // 2 + 1):
        known.learn("clip", 90.0)

    assert known.of("clip") == 90.0


def ended(*times: float, work: float = 1.0) -> Throughput:
    found = Throughput()
    for at in times:
        found.ended(at, work)
    return found


def test_throughput_needs_enough_renders_over_enough_time() -> None:
    few, hasty = ended(*[0.0] * (ENOUGH - 1)), ended(0.0, 1.0, 2.0)

    assert few.per_second(100.0) is None
    assert hasty.per_second(SHORTEST - 0.1) is None
    assert hasty.per_second(SHORTEST) == pytest.approx(2 / SHORTEST)


def test_throughput_falls_while_nothing_ends() -> None:
    found = ended(0.0, 5.0, 10.0)

    assert found.per_second(10.0) == pytest.approx(0.2)
    assert found.per_second(20.0) == pytest.approx(0.1)


def test_work_is_measured_only_over_the_length_of_a_render() -> None:
    """Of many that began together the first ends tell nothing about the pace of the rest."""
    found = ended(100.0, 101.0, 102.0, work=60.0)

    assert found.work_per_second(110.0) is None
    assert found.work_per_second(160.0) == pytest.approx(2.0)


def test_throughput_forgets_the_beginning() -> None:
    found = ended(*(float(n) for n in range(LATEST)), work=1.0)
    for n in range(LATEST):
        found.ended(LATEST + n / 10, 3.0)
    now = LATEST + (LATEST - 1) / 10

    assert found.per_second(now) == pytest.approx(10.0)
    assert found.work_per_second(now) == pytest.approx(30.0)


def left(**more: float | None) -> float:
    given = {"work": 600.0, "longest": 30.0, "unsent": 0, "parallel": 10, "measured": None}
    pace = more.pop("pace", None)
    return time_left(**{**given, **more}, pace=pace)  # type: ignore[arg-type]


def test_work_is_shared_by_what_runs_at_once_until_something_is_measured() -> None:
    assert left() == 60.0
    assert left(measured=20.0) == 30.0
    assert left(parallel=0) == 600.0, "nothing runs: one at a time"


def test_nothing_is_over_before_its_longest_render() -> None:
    assert left(longest=500.0) == 500.0
    assert left(work=0.0, longest=0.0) == 0.0


def test_the_rate_and_a_pause_count_while_something_is_unsent() -> None:
    slow = Pace(most=1.0, rate=0.5, held=20.0, open=1, window=10)

    assert left(unsent=100, pace=slow) == 20 + 100 / 0.5 + 30
    assert left(unsent=0, pace=slow) == 60.0
