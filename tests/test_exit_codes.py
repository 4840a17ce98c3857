"""Which code a run ends with, whatever happened in it."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_batch.errors import EXIT_MEANINGS, EXIT_PRIORITY, ExitCode
from kling_batch.report import Ending, JobLine, exit_code

#: What each ending alone asks for (design §5).
ALONE = {
    Ending.SUCCEEDED: ExitCode.OK,
    Ending.UNCHANGED: ExitCode.OK,
    Ending.FAILED: ExitCode.SOME_FAILED,
    Ending.BLOCKED: ExitCode.SOME_FAILED,
    Ending.IN_DOUBT: ExitCode.IN_DOUBT,
    Ending.RUNNING: ExitCode.STILL_RUNNING,
    Ending.UNDELIVERED: ExitCode.SOME_FAILED,
    Ending.NOT_STARTED: ExitCode.OK,
}
#: "The one that needs a person most: 3, 4, 7, 8, then 5, 6, 1."
ORDER = (3, 4, 7, 8, 5, 6, 1)


def code(*endings: Ending, stops: tuple[ExitCode, ...] = ()) -> ExitCode:
    return exit_code(tuple(JobLine(batch="b", job="j", ending=e) for e in endings), stops)


def test_the_numbers_are_the_designs() -> None:
    assert [int(each) for each in ExitCode] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 130, 143]
    assert set(EXIT_MEANINGS) == set(ExitCode)
    assert tuple(map(int, EXIT_PRIORITY)) == ORDER


@pytest.mark.parametrize("ending", Ending)
def test_each_ending_alone(ending: Ending) -> None:
    assert code(ending) is ALONE[ending]


def test_nothing_to_do_is_well_done() -> None:
    assert code() is ExitCode.OK


@pytest.mark.parametrize(("one", "other"), list(combinations(Ending, 2)))
def test_of_two_endings_the_one_that_needs_a_person_more(one: Ending, other: Ending) -> None:
    wanted = {ALONE[one], ALONE[other]} - {ExitCode.OK}

    expected = next((ExitCode(n) for n in ORDER if n in wanted), ExitCode.OK)
    assert code(one, other) is code(other, one) is expected


@pytest.mark.parametrize("signal", [ExitCode.INTERRUPTED, ExitCode.TERMINATED])
@pytest.mark.parametrize("ending", Ending)
def test_a_signal_is_told_by_its_own_code(signal: ExitCode, ending: Ending) -> None:
    assert code(ending, stops=(ExitCode.BUDGET, signal)) is signal


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.sampled_from(list(Ending)), max_size=6),
    st.lists(st.sampled_from([ExitCode(n) for n in ORDER]), max_size=3),
)
def test_a_run_is_well_done_only_where_nothing_is_left(
    endings: list[Ending], stops: list[ExitCode]
) -> None:
    got = code(*endings, stops=tuple(stops))

    held = {int(ALONE[e]) for e in endings} | {int(s) for s in stops}
    assert int(got) == next((n for n in ORDER if n in held), 0)
