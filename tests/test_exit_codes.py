"""Which code a run ends with, whatever happened in it."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import EXIT_MEANINGS, EXIT_PRIORITY, ExitCode
from kling_batch.report.run_report import Ending, JobLine, RunReport, exit_code

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


def ended(lines: tuple[JobLine, ...], exit_code: ExitCode) -> RunReport:
    nothing = MicroUSD(0)
    return RunReport(
        exit_code=exit_code,
        reasons=("the time is over",),
        batches=("b",),
        started_at="",
        ended_at="",
        seconds=1.0,
        lines=lines,
        charged=nothing,
        exposed=nothing,
        spent_now=nothing,
        cap=None,
        output="outputs",
        ledger="outputs/ledger.db",
        emulated=True,
    )


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


@pytest.mark.parametrize("ending", Ending)
def test_a_deadline_is_6_only_where_something_is_open_at_fal(ending: Ending) -> None:
    """6 sends somebody to collect; a job that was merely not started is no reason to."""
    collected = {Ending.UNDELIVERED: ExitCode.STILL_RUNNING}
    wanted = {**ALONE, Ending.NOT_STARTED: ExitCode.SOME_FAILED, **collected}[ending]

    assert code(ending, Ending.SUCCEEDED, stops=(ExitCode.STILL_RUNNING,)) is wanted
    both = code(ending, Ending.RUNNING, stops=(ExitCode.STILL_RUNNING,))
    assert both is (ExitCode.IN_DOUBT if ending is Ending.IN_DOUBT else ExitCode.STILL_RUNNING)


def test_a_run_that_was_stopped_before_some_jobs_does_not_say_that_they_failed() -> None:
    def meaning(*endings: Ending) -> str:
        lines = tuple(JobLine(batch="b", job="j", ending=each) for each in endings)
        return ended(lines, code(*endings, stops=(ExitCode.STILL_RUNNING,))).meaning

    assert "fetched" in meaning(Ending.UNDELIVERED)
    assert meaning(Ending.NOT_STARTED) == "stopped before its end, some jobs are not done"
    assert meaning(Ending.NOT_STARTED, Ending.FAILED) == EXIT_MEANINGS[ExitCode.SOME_FAILED]
    assert meaning(Ending.RUNNING, Ending.NOT_STARTED) == EXIT_MEANINGS[ExitCode.STILL_RUNNING]
    assert meaning(Ending.SUCCEEDED) == EXIT_MEANINGS[ExitCode.OK]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@example([Ending.SUCCEEDED, Ending.UNCHANGED], [ExitCode.BUDGET])
@example([Ending.SUCCEEDED, Ending.NOT_STARTED], [ExitCode.BUDGET])
@example([Ending.UNDELIVERED], [ExitCode.STILL_RUNNING])
@given(
    st.lists(st.sampled_from(list(Ending)), max_size=6),
    st.lists(st.sampled_from([ExitCode(n) for n in ORDER]), max_size=3),
)
def test_a_run_is_well_done_only_where_nothing_is_left(
    endings: list[Ending], stops: list[ExitCode]
) -> None:
    got = code(*endings, stops=tuple(stops))

    held = {int(ALONE[e]) for e in endings} | {int(s) for s in stops}
    if endings and set(endings) <= {Ending.SUCCEEDED, Ending.UNCHANGED}:
        held -= {4}  # nothing was left that a budget could have stopped
    if not {Ending.RUNNING, Ending.UNDELIVERED} & set(endings) and 6 in held:
        held = held - {6} | ({1} if Ending.NOT_STARTED in endings else set())
    assert int(got) == next((n for n in ORDER if n in held), 0)
