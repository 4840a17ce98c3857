"""State machine of an attempt, and the status of a job as people read it.

A state exists if and only if the next run does something different in it. State lives on the
attempt, one paid try at a job; a job without a live attempt is *pending*, which is no row at all.
Must not do I/O or know the clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from kling_batch.core.text import Tone


class State(StrEnum):
    """State of an attempt, as the ledger stores it; what the next run does is in `NEXT`."""

    SUBMITTING = "submitting"
    IN_DOUBT = "in_doubt"
    SUBMITTED = "submitted"
    RENDERED = "rendered"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """Event of an attempt: a fact that changed its state, or was learnt about it."""

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
    #: A later answer of fal names other files of the same render.
    OUTPUT_CHANGED = "output_changed"
    ARTIFACTS_SAVED = "artifacts_saved"
    ARTIFACT_LOST = "artifact_lost"
    ARTIFACT_MISSING = "artifact_missing"
    FILE_ADOPTED = "file_adopted"
    #: Paid for under another ledger, and found again: the file, or the request.
    FILE_RECOVERED = "file_recovered"
    REQUEST_RECOVERED = "request_recovered"
    COST_LEARNT = "cost_learnt"
    RETRY_GRANTED = "retry_granted"


#: (from, event) → to. None stands for "no attempt yet".
TRANSITIONS: dict[tuple[State | None, Event], State] = {
    (None, Event.SUBMIT_INTENDED): State.SUBMITTING,
    (None, Event.FILE_ADOPTED): State.SUCCEEDED,
    (None, Event.FILE_RECOVERED): State.SUCCEEDED,
    (None, Event.REQUEST_RECOVERED): State.SUBMITTED,
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
    (State.RENDERED, Event.OUTPUT_CHANGED): State.RENDERED,
    (State.RENDERED, Event.ARTIFACTS_SAVED): State.SUCCEEDED,
    (State.RENDERED, Event.ARTIFACT_LOST): State.FAILED,
    (State.RENDERED, Event.COST_LEARNT): State.RENDERED,
    (State.SUCCEEDED, Event.OUTPUT_CHANGED): State.SUCCEEDED,
    (State.SUCCEEDED, Event.ARTIFACT_MISSING): State.RENDERED,
    (State.SUCCEEDED, Event.COST_LEARNT): State.SUCCEEDED,
    (State.SUCCEEDED, Event.FILE_ADOPTED): State.SUCCEEDED,
    (State.FAILED, Event.COST_LEARNT): State.FAILED,
    (State.FAILED, Event.RETRY_GRANTED): State.FAILED,
    (State.CANCELLED, Event.COST_LEARNT): State.CANCELLED,
    (State.CANCELLED, Event.RETRY_GRANTED): State.CANCELLED,
}

_BEFORE = [(event, state) for state, event in TRANSITIONS if state is not None]

#: The state of an attempt before an event, of the events that can happen in one state only.
ONLY_BEFORE: dict[Event, State] = {
    event: state for event, state in _BEFORE if [each for each, _ in _BEFORE].count(event) == 1
}

#: Of each state: what it means, what it costs, what the next run does. DESIGN.md is checked against
#: it.
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


class JobStatus(StrEnum):
    """Status of a job in the one word that every display, report and command shows for it.

    Machine formats (NDJSON, `--json`, the view `job_status`) keep the names of `State`.
    """

    WAITING = "waiting"
    QUEUED = "queued"
    RENDERING = "rendering"
    DOWNLOADING = "downloading"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    IN_DOUBT = "in doubt"
    CANCELLED = "cancelled"

    @property
    def tone(self) -> Tone:
        """How it is coloured."""
        return STATUSES[self].tone


class StatusInfo(NamedTuple):
    """What a status means, and how reports treat it."""

    meaning: str
    #: Why a job has no file yet, where nothing more exact is known.
    note: str
    tone: Tone
    #: Element of a JUnit test case; empty: passed.
    junit: str


STATUSES: dict[JobStatus, StatusInfo] = {
    JobStatus.WAITING: StatusInfo("no attempt yet", "", Tone.PLAIN, "skipped"),
    JobStatus.QUEUED: StatusInfo("accepted by fal", "queued at fal", Tone.PLAIN, "skipped"),
    JobStatus.RENDERING: StatusInfo("fal renders it", "rendering at fal", Tone.PLAIN, "skipped"),
    JobStatus.DOWNLOADING: StatusInfo(
        "rendered and paid, files not yet here",
        "paid and rendered; the next run downloads it",
        Tone.BAD,
        "error",
    ),
    JobStatus.DONE: StatusInfo("every file verified and in place", "", Tone.GOOD, ""),
    JobStatus.FAILED: StatusInfo("settled without files", "failed", Tone.BAD, "failure"),
    JobStatus.BLOCKED: StatusInfo("needs the output of another job", "", Tone.BAD, "skipped"),
    JobStatus.IN_DOUBT: StatusInfo(
        "fal may have accepted it, we cannot tell",
        "fal may have accepted it",
        Tone.WARNING,
        "error",
    ),
    JobStatus.CANCELLED: StatusInfo(
        "fal confirmed the cancellation", "cancelled", Tone.BAD, "failure"
    ),
}

_STATUS_OF: dict[State, JobStatus] = {
    State.SUBMITTING: JobStatus.IN_DOUBT,
    State.IN_DOUBT: JobStatus.IN_DOUBT,
    State.SUBMITTED: JobStatus.QUEUED,
    State.RENDERED: JobStatus.DOWNLOADING,
    State.SUCCEEDED: JobStatus.DONE,
    State.FAILED: JobStatus.FAILED,
    State.CANCELLED: JobStatus.CANCELLED,
}


#: fal's answer about a request whose render has ended; how, only its result says.
COMPLETED = "COMPLETED"
#: fal's answers about a request that does not wait in its queue.
BEGUN = ("IN_PROGRESS", COMPLETED)


def status_of(state: State | None, remote_status: str | None = None) -> JobStatus:
    """The status of a job whose latest attempt is in `state`; None: it never had one.

    `remote_status`: fal's latest answer about an open request.
    """
    if state is None:
        return JobStatus.WAITING
    if state is State.SUBMITTED and remote_status in BEGUN:
        return JobStatus.RENDERING
    return _STATUS_OF[state]


class IllegalTransitionError(AssertionError):
    """An event that is not allowed in the attempt's state: an internal error."""


def step(state: State | None, event: Event) -> State:
    """The state after `event`; raises `IllegalTransitionError` where there is none."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransitionError(f"{event} in state {state or 'pending'}") from None
