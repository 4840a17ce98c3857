"""A retry is a decision: every kind of failure, who pays, and what fal says of it."""

from __future__ import annotations

import pytest

from kling_batch.core.outcomes import Charged, Failure, FailureKind
from kling_batch.planning.retry import Decision, decide, is_rendered, may_try_again, to_change

#: What follows the first of three tries, where nothing was charged.
FIRST = {
    FailureKind.INVALID: Decision.GIVE_UP,
    FailureKind.POLICY: Decision.GIVE_UP,
    FailureKind.TRANSIENT: Decision.RETRY,
    FailureKind.ABANDONED: Decision.GIVE_UP,
    FailureKind.UNREACHABLE: Decision.NEXT_RUN,
    FailureKind.UNROUTED: Decision.NEXT_RUN,
    FailureKind.THROTTLED: Decision.NEXT_RUN,
    FailureKind.LOCKED: Decision.STOP_RUN,
    FailureKind.AUTH: Decision.STOP_RUN,
    FailureKind.EXPIRED: Decision.GIVE_UP,
    FailureKind.INPUT: Decision.NEXT_RUN,
    FailureKind.NOT_SUBMITTED: Decision.NEXT_RUN,
    FailureKind.NO_TRACE: Decision.GIVE_UP,
}


def failure(
    kind: FailureKind, charged: Charged = Charged.NO, retryable: bool | None = None
) -> Failure:
    return Failure(kind=kind, message="words", charged=charged, retryable=retryable)


def test_every_kind_of_failure_has_its_decision() -> None:
    assert {kind: decide(failure(kind), 1, 3) for kind in FailureKind} == FIRST


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("tries", [3, 4, 99])
def test_nothing_is_tried_more_often_than_allowed(kind: FailureKind, tries: int) -> None:
    assert decide(failure(kind), tries, 3) is not Decision.RETRY


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_a_transient_failure_is_tried_again_until_the_last_attempt(attempts: int) -> None:
    followed = [decide(failure(FailureKind.TRANSIENT), n, attempts) for n in range(1, 7)]

    assert followed.count(Decision.RETRY) == attempts - 1


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("charged", [Charged.YES, Charged.UNKNOWN])
@pytest.mark.parametrize("retryable", [True, False, None])
def test_what_may_be_billed_is_never_bought_again_by_itself(
    kind: FailureKind, charged: Charged, retryable: bool | None
) -> None:
    why = Failure(kind=kind, message="", charged=charged, retryable=retryable)

    assert decide(why, 1, 3) is not Decision.RETRY


@pytest.mark.parametrize("kind", FailureKind)
def test_fals_no_is_a_no_and_its_yes_changes_no_verdict_on_the_input(kind: FailureKind) -> None:
    refused = decide(failure(kind, retryable=False), 1, 3)
    invited = decide(failure(kind, retryable=True), 1, 3)

    assert refused is not Decision.RETRY
    assert invited is FIRST[kind]


@pytest.mark.parametrize("kind", FailureKind)
def test_a_later_run_tries_unasked_exactly_what_was_never_bought(kind: FailureKind) -> None:
    left_for_later = FIRST[kind] in (Decision.NEXT_RUN, Decision.STOP_RUN)

    assert may_try_again(kind) is left_for_later
    assert not may_try_again(None)


def test_what_has_to_change_is_said_of_what_the_same_request_meets_again() -> None:
    assert to_change(None) == ""
    assert {kind: to_change(failure(kind)) for kind in FailureKind} == dict.fromkeys(
        FailureKind, ""
    ) | {
        FailureKind.POLICY: "the prompt or the inputs",
        FailureKind.INVALID: "the parameters or the inputs",
    }


def test_only_a_render_whose_files_were_given_up_was_rendered() -> None:
    assert not is_rendered(None)
    assert [kind for kind in FailureKind if is_rendered(failure(kind))] == [FailureKind.EXPIRED]
