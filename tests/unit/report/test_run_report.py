"""Which code a run ends with, whatever happened in it."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import EXIT_MEANINGS, EXIT_PRIORITY, ExitCode
from kling_batch.report.run_report import JobLine, JobOutcome, RunReport, exit_code

#: What each ending alone asks for (docs/exit-codes.md).
ALONE = {
    JobOutcome.SUCCEEDED: ExitCode.OK,
    JobOutcome.UNCHANGED: ExitCode.OK,
    JobOutcome.FAILED: ExitCode.SOME_FAILED,
    JobOutcome.BLOCKED: ExitCode.SOME_FAILED,
    JobOutcome.IN_DOUBT: ExitCode.IN_DOUBT,
    JobOutcome.RUNNING: ExitCode.STILL_RUNNING,
    JobOutcome.UNDELIVERED: ExitCode.SOME_FAILED,
    JobOutcome.NOT_STARTED: ExitCode.OK,
    JobOutcome.AWAITING: ExitCode.OK,
    JobOutcome.DECLINED: ExitCode.OK,
}
#: With these alone, a run has nothing more to do.
ENDED = {
    JobOutcome.SUCCEEDED,
    JobOutcome.UNCHANGED,
    JobOutcome.AWAITING,
    JobOutcome.DECLINED,
}
#: "The one that needs a person most: 3, 4, 7, 8, then 5, 6, 1."
ORDER = (3, 4, 7, 8, 5, 6, 1)


def code(*outcomes: JobOutcome, stops: tuple[ExitCode, ...] = ()) -> ExitCode:
    return exit_code(tuple(JobLine(batch="b", job="j", outcome=e) for e in outcomes), stops)


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


@pytest.mark.parametrize("outcome", JobOutcome)
def test_each_ending_alone(outcome: JobOutcome) -> None:
    assert code(outcome) is ALONE[outcome]


def test_nothing_to_do_is_well_done() -> None:
    assert code() is ExitCode.OK


@pytest.mark.parametrize(("one", "other"), list(combinations(JobOutcome, 2)))
def test_of_two_endings_the_one_that_needs_a_person_more(
    one: JobOutcome, other: JobOutcome
) -> None:
    wanted = {ALONE[one], ALONE[other]} - {ExitCode.OK}

    expected = next((ExitCode(n) for n in ORDER if n in wanted), ExitCode.OK)
    assert code(one, other) is code(other, one) is expected


@pytest.mark.parametrize("signal", [ExitCode.INTERRUPTED, ExitCode.TERMINATED])
@pytest.mark.parametrize("outcome", JobOutcome)
def test_a_signal_is_reported_by_its_own_code(signal: ExitCode, outcome: JobOutcome) -> None:
    assert code(outcome, stops=(ExitCode.BUDGET, signal)) is signal


@pytest.mark.parametrize("outcome", JobOutcome)
def test_a_deadline_is_6_only_where_something_is_open_at_fal(outcome: JobOutcome) -> None:
    """6 sends somebody to collect; a job that was merely not started is no reason to."""
    collected = {JobOutcome.UNDELIVERED: ExitCode.STILL_RUNNING}
    wanted = {**ALONE, JobOutcome.NOT_STARTED: ExitCode.SOME_FAILED, **collected}[outcome]

    assert code(outcome, JobOutcome.SUCCEEDED, stops=(ExitCode.STILL_RUNNING,)) is wanted
    both = code(outcome, JobOutcome.RUNNING, stops=(ExitCode.STILL_RUNNING,))
    assert both is (ExitCode.IN_DOUBT if outcome is JobOutcome.IN_DOUBT else ExitCode.STILL_RUNNING)


def test_a_run_that_was_stopped_before_some_jobs_does_not_say_that_they_failed() -> None:
    def meaning(*outcomes: JobOutcome) -> str:
        lines = tuple(JobLine(batch="b", job="j", outcome=each) for each in outcomes)
        return ended(lines, code(*outcomes, stops=(ExitCode.STILL_RUNNING,))).meaning

    assert "fetched" in meaning(JobOutcome.UNDELIVERED)
    assert meaning(JobOutcome.NOT_STARTED) == "stopped before its end, some jobs are not done"
    assert meaning(JobOutcome.NOT_STARTED, JobOutcome.FAILED) == EXIT_MEANINGS[ExitCode.SOME_FAILED]
    assert (
        meaning(JobOutcome.RUNNING, JobOutcome.NOT_STARTED) == EXIT_MEANINGS[ExitCode.STILL_RUNNING]
    )
    assert meaning(JobOutcome.SUCCEEDED) == EXIT_MEANINGS[ExitCode.OK]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@example([JobOutcome.SUCCEEDED, JobOutcome.UNCHANGED], [ExitCode.BUDGET])
@example([JobOutcome.SUCCEEDED, JobOutcome.NOT_STARTED], [ExitCode.BUDGET])
@example([JobOutcome.UNDELIVERED], [ExitCode.STILL_RUNNING])
@given(
    st.lists(st.sampled_from(list(JobOutcome)), max_size=6),
    st.lists(st.sampled_from([ExitCode(n) for n in ORDER]), max_size=3),
)
def test_a_run_is_well_done_only_where_nothing_is_left(
    outcomes: list[JobOutcome], stops: list[ExitCode]
) -> None:
    got = code(*outcomes, stops=tuple(stops))

    held = {int(ALONE[e]) for e in outcomes} | {int(s) for s in stops}
    if outcomes and set(outcomes) <= ENDED:
        held -= {4}  # nothing was left that a budget could have stopped
    if not {JobOutcome.RUNNING, JobOutcome.UNDELIVERED} & set(outcomes) and 6 in held:
        held = held - {6} | ({1} if JobOutcome.NOT_STARTED in outcomes else set())
    assert int(got) == next((n for n in ORDER if n in held), 0)


def test_counts_for_people_tell_unchanged_and_cancelled_apart() -> None:
    lines = (
        JobLine(batch="b", job="a", outcome=JobOutcome.SUCCEEDED),
        JobLine(batch="b", job="b", outcome=JobOutcome.UNCHANGED),
        JobLine(batch="b", job="c", outcome=JobOutcome.FAILED),
        JobLine(batch="b", job="d", outcome=JobOutcome.FAILED, exact=JobStatus.CANCELLED),
        JobLine(batch="b", job="e", outcome=JobOutcome.RUNNING, exact=JobStatus.RENDERING),
        JobLine(batch="b", job="f", outcome=JobOutcome.NOT_STARTED),
        JobLine(batch="b", job="g", outcome=JobOutcome.AWAITING),
    )
    report = replace(ended(lines, ExitCode.SOME_FAILED), unlisted=2)

    assert list(report.status_counts().items()) == [
        ("done", 1),
        ("unchanged", 3),
        ("failed", 1),
        ("cancelled", 1),
        ("rendering", 1),
        ("waiting", 1),
        ("waiting for a verdict", 1),
    ]
    assert report.counts()[JobOutcome.FAILED] == 2


@pytest.mark.parametrize("outcome", JobOutcome)
def test_every_outcome_is_counted_for_people(outcome: JobOutcome) -> None:
    report = ended((JobLine(batch="b", job="a", outcome=outcome),), ExitCode.OK)

    assert sum(report.status_counts().values()) == 1
