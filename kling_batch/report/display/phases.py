"""Phases of a job during a run, and how each kind of event is shown: the tables of every display.

Whoever adds an event kind adds its row here. Must hold no state.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from kling_batch.core.events import EventKind
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.text import Tone
from kling_batch.planning.plan import Action


class Phase(StrEnum):
    """Where a job stands in this run; finer than `status`, which is shown."""

    WAITING = "waiting"
    #: The POST is being repeated: fal is busy, locked or out of reach.
    SENDING = "sending"
    SUBMITTED = "accepted"
    QUEUED = "queued"
    RENDERING = "rendering"
    DOWNLOADING = "downloading"
    RETRYING = "retrying"
    #: In doubt; the request list is being searched for it.
    LOOKING = "looking it up"
    DONE = "done"
    #: Was done before this run.
    UNCHANGED = "unchanged"
    FAILED = "failed"
    BLOCKED = "blocked"
    #: In doubt, and this run can learn no more.
    IN_DOUBT = "in doubt"
    UNDELIVERED = "undelivered"
    #: Open at fal, which has answered no status check for hours.
    UNHEARD = "unanswered"
    #: A person has not said yet whether it is wanted, or has said that it is not.
    UNJUDGED = "waiting for a verdict"
    DECLINED = "declined"

    @property
    def status(self) -> JobStatus:
        """The status that people read."""
        return _STATUS[self]


_STATUS: dict[Phase, JobStatus] = {
    Phase.WAITING: JobStatus.WAITING,
    Phase.SENDING: JobStatus.WAITING,
    Phase.SUBMITTED: JobStatus.QUEUED,
    Phase.QUEUED: JobStatus.QUEUED,
    Phase.RENDERING: JobStatus.RENDERING,
    Phase.DOWNLOADING: JobStatus.DOWNLOADING,
    Phase.RETRYING: JobStatus.WAITING,
    Phase.LOOKING: JobStatus.IN_DOUBT,
    Phase.DONE: JobStatus.DONE,
    Phase.UNCHANGED: JobStatus.DONE,
    Phase.FAILED: JobStatus.FAILED,
    Phase.BLOCKED: JobStatus.BLOCKED,
    Phase.IN_DOUBT: JobStatus.IN_DOUBT,
    Phase.UNDELIVERED: JobStatus.DOWNLOADING,
    Phase.UNHEARD: JobStatus.QUEUED,
    Phase.UNJUDGED: JobStatus.WAITING,
    Phase.DECLINED: JobStatus.WAITING,
}


#: Something is happening to these: the rows of the live table.
MOVING = frozenset(
    {
        Phase.SENDING,
        Phase.SUBMITTED,
        Phase.QUEUED,
        Phase.RENDERING,
        Phase.DOWNLOADING,
        Phase.RETRYING,
        Phase.LOOKING,
    }
)

#: This run can do no more for these.
ENDED = frozenset(
    {
        Phase.DONE,
        Phase.UNCHANGED,
        Phase.FAILED,
        Phase.BLOCKED,
        Phase.IN_DOUBT,
        Phase.UNDELIVERED,
        Phase.UNHEARD,
        Phase.UNJUDGED,
        Phase.DECLINED,
    }
)

#: Nothing is rendered for these before a person says so: they are no part of what a run can do.
UNWANTED = (Phase.UNJUDGED, Phase.DECLINED)

#: Shown first among those that move.
TROUBLED = frozenset({Phase.LOOKING, Phase.SENDING, Phase.RETRYING})

#: The phase in which a planned job begins.
OF_ACTION: dict[Action, Phase] = {
    Action.SUBMIT: Phase.WAITING,
    Action.COLLECT: Phase.SUBMITTED,
    Action.RECONCILE: Phase.LOOKING,
    Action.RECOVER: Phase.DOWNLOADING,
    Action.DOWNLOAD: Phase.DOWNLOADING,
    Action.PLACE: Phase.DOWNLOADING,
    Action.RESTORE: Phase.DOWNLOADING,
    Action.KEEP: Phase.UNCHANGED,
    Action.SETTLED: Phase.FAILED,
    Action.BLOCKED: Phase.BLOCKED,
    Action.HOLD: Phase.UNJUDGED,
    Action.DECLINED: Phase.DECLINED,
}


class RemoteStatus(NamedTuple):
    """How a status of fal's queue is shown."""

    phase: Phase
    text: str


#: fal's statuses of an open request, as events of the kind `progress` carry them.
OF_STATUS: dict[str, RemoteStatus] = {
    "IN_QUEUE": RemoteStatus(Phase.QUEUED, "queued at fal"),
    "IN_PROGRESS": RemoteStatus(Phase.RENDERING, "rendering"),
}


class EventStyle(NamedTuple):
    """How one kind of event is shown."""

    #: The phase that it brings its job to; None: it changes none.
    phase: Phase | None = None
    #: Text before a message that does not say by itself what it is.
    lead: str = ""
    tone: Tone = Tone.PLAIN
    #: Needs a person's attention: shown even when quiet.
    notable: bool = False
    #: A line of its own above the live table.
    stays: bool = False
    #: What the job waits for, in a few words for its row in the table; empty: the message.
    why: str = ""


def _notable(
    phase: Phase | None, lead: str, tone: Tone, *, stays: bool = True, why: str = ""
) -> EventStyle:
    return EventStyle(phase, lead, tone, notable=True, stays=stays, why=why)


EVENT_STYLES: dict[EventKind, EventStyle] = {
    EventKind.UNREACHABLE: EventStyle(Phase.SENDING, "not accepted yet: ", why="no connection"),
    EventKind.THROTTLED: EventStyle(Phase.SENDING, "not accepted yet: ", why="fal asks to wait"),
    EventKind.LOCKED: EventStyle(Phase.SENDING, "not accepted yet: ", why="account locked"),
    EventKind.BRAKING: EventStyle(Phase.SENDING, "not sent yet: ", why="others are in doubt"),
    EventKind.SUBMITTED: EventStyle(Phase.SUBMITTED),
    EventKind.IN_DOUBT: _notable(Phase.LOOKING, "", Tone.WARNING, why="looked up in fal's list"),
    EventKind.ADOPTED: EventStyle(Phase.SUBMITTED, stays=True),
    EventKind.RECOVERED: EventStyle(Phase.DOWNLOADING, stays=True),
    EventKind.HELD: _notable(Phase.IN_DOUBT, "", Tone.WARNING),
    EventKind.PROGRESS: EventStyle(),  # its phase is in `OF_STATUS`
    EventKind.UNREADABLE: _notable(None, "", Tone.WARNING),
    EventKind.UNHEARD: _notable(Phase.UNHEARD, "", Tone.BAD),
    EventKind.RENDERED: EventStyle(Phase.DOWNLOADING),
    EventKind.DOWNLOAD_AGAIN: EventStyle(
        Phase.DOWNLOADING, "download failed: ", why="once more after an error"
    ),
    EventKind.PUT_AGAIN: EventStyle(
        Phase.DOWNLOADING, "not in its place yet: ", why="once more after an error"
    ),
    EventKind.UNDELIVERED: _notable(Phase.UNDELIVERED, "", Tone.BAD),
    EventKind.SAVED: EventStyle(Phase.DONE, "saved ", Tone.GOOD),
    EventKind.RENDITION: EventStyle(None, "rendition ", Tone.GOOD),
    EventKind.RENDITION_FAILED: _notable(None, "rendition not made: ", Tone.BAD),
    EventKind.RETRYING: EventStyle(Phase.RETRYING, "failed for now: "),
    EventKind.FAILED: _notable(Phase.FAILED, "failed: ", Tone.BAD),
    # One failure may block thousands: the table's totals say so.
    EventKind.BLOCKED: _notable(Phase.BLOCKED, "blocked: ", Tone.BAD, stays=False),
    EventKind.WARNING: _notable(None, "warning: ", Tone.WARNING),
    EventKind.STOPPING: _notable(None, "stopping: ", Tone.BAD),
}
