"""Who waits in fal's queue, and whose position is read to see it move."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kling_batch.engine.queue_line import QueueLine
from kling_batch.engine.queue_motion import Ends

thorough = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def line_of(count: int) -> QueueLine:
    """So many requests, numbered from 1; nothing was seen of them."""
    line = QueueLine(Ends())
    for number in range(1, count + 1):
        line.add(number, number / 100)
    return line


steps = st.tuples(
    st.sampled_from(["add", "waiting", "somewhere", "running", "removed"]),
    st.integers(0, 30),
    st.integers(0, 40),
)


@thorough
@given(st.lists(steps, max_size=60))
def test_while_any_waits_an_open_request_is_watched(seen: list[tuple[str, int, int]]) -> None:
    """Else nobody would notice that the queue moves."""
    line = line_of(3)
    still_open, newest = [1, 2, 3], 3
    for at, (what, which, position) in enumerate(seen, 1):
        number = still_open[which % len(still_open)] if still_open else 0
        if what == "add":
            newest += 1
            still_open.append(newest)
            line.add(newest, float(at))
        elif number and what == "waiting":
            line.sees_waiting(number, float(at), float(position), None)
        elif number and what == "somewhere":
            line.sees_waiting_somewhere(number, float(at))
        elif number:
            line.sees_running(number, float(at))
            if what == "removed":
                still_open.remove(number)
                line.remove(number, float(at))
        assert not line.waits or line.watched in still_open


def test_the_first_position_tells_how_many_are_rendered() -> None:
    """Of a hundred the sixtieth has nineteen before it: the others before it have a slot."""
    line = line_of(100)

    line.sees_waiting(60, 1.0, 19.0, None)

    assert line.waits
    assert line.motion.slots == 40
    assert line.motion.gone == 41  # places count from the number 1
    assert line.guess(70) == 70


def test_another_one_is_watched_before_the_one_that_is_watched_starts() -> None:
    """Both are read at once, so that the places of both are on one scale."""
    line = line_of(50)
    line.sees_waiting(50, 1.0, 9.0, None)
    assert line.watched == 50
    for number in range(51, 71):
        line.add(number, 2.0)

    line.sees_waiting(50, 3.0, 5.0, 50.0)

    assert (line.watched, line.former) == (70, 50)
    assert line.watch_from > 3.0


def test_once_the_newest_runs_nobody_waits() -> None:
    line = line_of(50)
    line.sees_waiting(50, 1.0, 9.0, None)

    line.sees_running(50, 7.0)

    assert (line.waits, line.watched, line.empty_since) == (False, None, 7.0)
    assert line.moved()


def test_who_was_seen_behind_the_newest_is_watched_next() -> None:
    """Those that are accepted together do not stand in the order of their numbers."""
    line = line_of(50)
    line.sees_waiting(50, 1.0, 2.0, None)
    line.sees_waiting(45, 1.1, 9.0, None)

    line.sees_running(50, 7.0)

    assert (line.waits, line.watched) == (True, 45)


def test_places_between_requests_are_learned_where_others_come_between() -> None:
    line = line_of(100)
    line.sees_waiting(20, 1.0, 10.0, None)

    line.sees_waiting(60, 1.1, 90.0, None)  # eighty places behind it

    assert line.guess(80) - line.guess(60) == 40
    assert not line.vague(1.0)  # nothing is known of how fast they come up


def found_by_looking(waiting_from: int, count: int) -> tuple[list[int], QueueLine]:
    """Whom the line looks at until it knows who waits first, where fal tells no positions."""
    line, asked = line_of(count), list[int]()
    line.sees_waiting_somewhere(10, 0.5)
    line._ends.learn(2.0)
    for step in range(1, 200):
        number = line.watched
        if number is None or (asked and number == asked[-1]):
            break
        asked.append(number)
        seen: Any = line.sees_waiting_somewhere if number >= waiting_from else line.sees_running
        seen(number, 0.5 + step / 100)
    return asked, line


def test_without_positions_the_first_that_waits_is_looked_for() -> None:
    asked, line = found_by_looking(waiting_from=21, count=60)

    assert asked[-1] in range(21, 25)
    assert len(asked) <= 12
    assert abs(line.motion.gone - 21) <= 2


def test_without_positions_a_queue_that_is_empty_is_noticed() -> None:
    _, line = found_by_looking(waiting_from=100, count=60)

    assert not line.waits
