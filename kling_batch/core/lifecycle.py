"""The states of an attempt and the only ways between them; says nothing of how they come about.

A state exists if and only if the next run does something different in it. State lives on the
attempt, one paid try at a job; a job without a live attempt is *pending*, which is no row at all.
Must not do I/O, know the clock, or import anything of the house.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where an attempt stands; what the next run does is in `NEXT`."""

    SUBMITTING = "submitting"
    IN_DOUBT = "in_doubt"
    SUBMITTED = "submitted"
    RENDERED = "rendered"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """A fact that moved an attempt, or that was learnt about it."""

    SUBMIT_INTENDED = "submit_intended"
    SUBMIT_ACCEPTED = "submit_accepted"
    SUBMIT_REFUSED = "submit_refused"
    SUBMIT_UNCONFIRMED = "submit_unconfirmed"
    RUN_RECOVERED = "run_recovered"
    RECONCILED_FOUND = "reconciled_found"
    RECONCILED_ABSENT = "reconciled_absent"
    REMOTE_OBSERVED = "remote_observed"
    REMOTE_COMPLETED = "remote_completed"
    REMOTE_FAILED = "remote_failed"
    REMOTE_LOST = "remote_lost"
    CANCEL_REQUESTED = "cancel_requested"
    CANCEL_CONFIRMED = "cancel_confirmed"
    ARTIFACTS_SAVED = "artifacts_saved"
    ARTIFACT_LOST = "artifact_lost"
    ARTIFACT_MISSING = "artifact_missing"
    FILE_ADOPTED = "file_adopted"
    COST_LEARNT = "cost_learnt"
    RETRY_GRANTED = "retry_granted"


#: (from, event) → to. None stands for "no attempt yet".
TRANSITIONS: dict[tuple[State | None, Event], State] = {
    (None, Event.SUBMIT_INTENDED): State.SUBMITTING,
    (None, Event.FILE_ADOPTED): State.SUCCEEDED,
    (State.SUBMITTING, Event.SUBMIT_ACCEPTED): State.SUBMITTED,
    (State.SUBMITTING, Event.SUBMIT_REFUSED): State.FAILED,
    (State.SUBMITTING, Event.SUBMIT_UNCONFIRMED): State.IN_DOUBT,
    (State.SUBMITTING, Event.RUN_RECOVERED): State.IN_DOUBT,
    (State.IN_DOUBT, Event.RECONCILED_FOUND): State.SUBMITTED,
    (State.IN_DOUBT, Event.RECONCILED_ABSENT): State.FAILED,
    (State.SUBMITTED, Event.REMOTE_OBSERVED): State.SUBMITTED,
    (State.SUBMITTED, Event.CANCEL_REQUESTED): State.SUBMITTED,
    (State.SUBMITTED, Event.REMOTE_COMPLETED): State.RENDERED,
    (State.SUBMITTED, Event.REMOTE_FAILED): State.FAILED,
    (State.SUBMITTED, Event.REMOTE_LOST): State.IN_DOUBT,
    (State.SUBMITTED, Event.CANCEL_CONFIRMED): State.CANCELLED,
    (State.RENDERED, Event.ARTIFACTS_SAVED): State.SUCCEEDED,
    (State.RENDERED, Event.ARTIFACT_LOST): State.FAILED,
    (State.RENDERED, Event.COST_LEARNT): State.RENDERED,
    (State.SUCCEEDED, Event.ARTIFACT_MISSING): State.RENDERED,
    (State.SUCCEEDED, Event.COST_LEARNT): State.SUCCEEDED,
    (State.SUCCEEDED, Event.FILE_ADOPTED): State.SUCCEEDED,
    (State.FAILED, Event.COST_LEARNT): State.FAILED,
    (State.FAILED, Event.RETRY_GRANTED): State.FAILED,
    (State.CANCELLED, Event.COST_LEARNT): State.CANCELLED,
    (State.CANCELLED, Event.RETRY_GRANTED): State.CANCELLED,
}

#: What each state means, what money says, what the next run does. DESIGN.md is checked against it.
NEXT: dict[State, tuple[str, str, str]] = {
    State.SUBMITTING: ("intent committed; the POST may be in flight", "exposed", "in doubt"),
    State.IN_DOUBT: ("fal may have accepted it, we cannot tell", "exposed", "look it up, wait"),
    State.SUBMITTED: ("fal gave a request id", "exposed", "poll"),
    State.RENDERED: ("finished remotely, files not yet safe", "charged", "download"),
    State.SUCCEEDED: ("every file verified and in place", "charged", "nothing"),
    State.FAILED: ("settled without files", "as recorded", "nothing, unless retried"),
    State.CANCELLED: ("fal confirmed the cancellation", "as recorded", "nothing, unless retried"),
}

#: At most one attempt of a job may be in one of these; the ledger's unique index repeats it.
LIVE_OR_PAID = (
    State.SUBMITTING,
    State.IN_DOUBT,
    State.SUBMITTED,
    State.RENDERED,
    State.SUCCEEDED,
)

#: Requests that fal may be working on, or may be billing, right now.
OPEN = (State.SUBMITTING, State.IN_DOUBT, State.SUBMITTED)

SETTLED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class IllegalTransitionError(AssertionError):
    """A bug of ours: an event that the state does not know."""


def step(state: State | None, event: Event) -> State:
    """The state after `event`; raises `IllegalTransitionError` where there is none."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransitionError(f"{event} in state {state or 'pending'}") from None
