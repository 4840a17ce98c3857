"""A retry is a decision: from a typed failure to what happens next. Pure.

The tables follow docs/fal-api.md#request-errors and docs/fal-api.md#model-errors: retryable and
unbilled failures get a new attempt, content policy and validation never do, and what was no verdict
at all waits for the next run.
"""

from __future__ import annotations

from enum import StrEnum

from kling_batch.core.outcomes import Charged, Failure, FailureKind


class Decision(StrEnum):
    """What follows a failed attempt."""

    #: Another attempt in this run, after a pause.
    RETRY = "retry"
    #: Settled: only a person's `retry` pays again.
    GIVE_UP = "give_up"
    #: Not the job's fault and nothing paid: the next run tries again by itself.
    NEXT_RUN = "next_run"
    #: As NEXT_RUN, and no further job may be submitted in this one.
    STOP_RUN = "stop_run"


_FIXED: dict[FailureKind, Decision] = {
    FailureKind.INVALID: Decision.GIVE_UP,
    FailureKind.POLICY: Decision.GIVE_UP,
    FailureKind.ABANDONED: Decision.GIVE_UP,
    FailureKind.EXPIRED: Decision.GIVE_UP,
    FailureKind.NO_TRACE: Decision.GIVE_UP,
    FailureKind.UNREACHABLE: Decision.NEXT_RUN,
    FailureKind.UNROUTED: Decision.NEXT_RUN,
    FailureKind.THROTTLED: Decision.NEXT_RUN,
    FailureKind.INPUT: Decision.NEXT_RUN,
    FailureKind.NOT_SUBMITTED: Decision.NEXT_RUN,
    FailureKind.LOCKED: Decision.STOP_RUN,
    FailureKind.AUTH: Decision.STOP_RUN,
}


def decide(failure: Failure, tries: int, attempts: int) -> Decision:
    """What follows `failure`, after `tries` attempts of at most `attempts`.

    fal's own word (`retryable`) outranks the table, except that nothing which may have been
    charged is ever tried again by itself.
    """
    if (fixed := _FIXED.get(failure.kind)) is not None:
        return fixed
    if failure.charged is not Charged.NO or failure.retryable is False:
        return Decision.GIVE_UP
    return Decision.RETRY if tries < attempts else Decision.GIVE_UP


#: Failures that the same request meets again, and what has to change.
_UNCHANGED_FAILS: dict[FailureKind, str] = {
    FailureKind.POLICY: "the prompt or the inputs",
    FailureKind.INVALID: "the parameters or the inputs",
}


def to_change(failure: Failure | None) -> str:
    """What has to change before another payment can help; empty where the same may pass."""
    return "" if failure is None else _UNCHANGED_FAILS.get(failure.kind, "")


def may_try_again(kind: FailureKind | None) -> bool:
    """Whether a later run may, unasked, make another attempt after a failure of this kind."""
    if kind is None:
        return False
    return _FIXED.get(kind) in (Decision.NEXT_RUN, Decision.STOP_RUN)


def is_rendered(failure: Failure | None) -> bool:
    """Whether this was a finished render whose files were given up."""
    return failure is not None and failure.kind is FailureKind.EXPIRED
