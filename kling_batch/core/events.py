"""Values that a running batch produces: its events, and the result that no ledger row holds. Pure.

Displays turn events into lines, tables and NDJSON. Must not know how anything is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from kling_batch.core.jobs import JSON, Job
from kling_batch.errors import ExitCode


class EventKind(StrEnum):
    """What a run event reports. The values are names of the NDJSON contract: add, never rename."""

    # -- about one job, in the order in which they happen
    #: The POST is repeated: no connection.
    UNREACHABLE = "unreachable"
    #: The POST is repeated: 429.
    THROTTLED = "throttled"
    #: The POST is repeated: fal says that the account is locked.
    LOCKED = "locked"
    #: The circuit breaker delays the POST: several before it are in doubt.
    BRAKING = "braking"
    SUBMITTED = "submitted"
    IN_DOUBT = "in_doubt"
    #: fal's request list shows a submission that was in doubt.
    ADOPTED = "adopted"
    #: Paid for before, under a ledger that is not this one: taken over or collected, not bought.
    RECOVERED = "recovered"
    #: Still in doubt, and this run can learn nothing more about it.
    HELD = "held"
    #: The message is fal's own status, `IN_QUEUE` or `IN_PROGRESS`.
    PROGRESS = "progress"
    #: Reads of the request have failed for a minute; they go on.
    UNREADABLE = "unreadable"
    #: Reads of the request have failed for hours; the next run goes on.
    UNHEARD = "unheard"
    RENDERED = "rendered"
    DOWNLOAD_AGAIN = "download_again"
    #: A store did not take a file, which is put again.
    PUT_AGAIN = "put_again"
    #: Paid and rendered, but a file is not in its place.
    UNDELIVERED = "undelivered"
    SAVED = "saved"
    #: A rendition of a saved file was made, or was not.
    RENDITION = "rendition"
    RENDITION_FAILED = "rendition_failed"
    RETRYING = "retrying"
    FAILED = "failed"
    BLOCKED = "blocked"
    # -- about a job or the run
    WARNING = "warning"
    # -- about the run
    #: Nothing more is submitted.
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One event of a run; about the run itself where `job` is empty."""

    kind: EventKind
    job: str = ""
    batch: str = ""
    message: str = ""
    data: dict[str, JSON] = field(default_factory=dict)


class Pace(NamedTuple):
    """How fast a run may submit at this moment."""

    #: Submissions a second: what the options allow, and what fal's answers have left of it.
    most: float
    rate: float
    #: Seconds for which nothing is submitted, because fal asked to wait.
    held: float = 0.0
    #: Places of the window that are taken, and how many there are.
    open: int = 0
    window: int = 0


JobName: TypeAlias = tuple[str, str, int]
"""Batch, id and take: one name of a job."""


def name_of(job: Job) -> JobName:
    """The name that this manifest gives the job."""
    return (job.batch, job.id, job.take)


@dataclass(slots=True)
class StopReason:
    """Why this run submits nothing more."""

    code: ExitCode
    reason: str
    #: Where a cap set it (a flag, a manifest); empty where the reason is no cap.
    cap: str = ""
    #: Only fal's support can remove the reason.
    support: bool = False


@dataclass(slots=True)
class RenditionTotals:
    """What became of the renditions of a run."""

    made: int = 0
    #: A sentence each.
    failed: list[str] = field(default_factory=list)
    #: Not made because the run was stopped.
    left: int = 0
    #: Saved files that were found to be no longer what was saved.
    damaged: int = 0


#: Ends of a run after which nothing more is made.
_LEAVING = {
    *(ExitCode.INTERRUPTED, ExitCode.TERMINATED),
    *(ExitCode.STILL_RUNNING, ExitCode.LEDGER),
}


@dataclass(slots=True)
class RunResult:
    """Result of a run that the ledger does not record: stop reasons, blocked and failed jobs."""

    #: Why a job is not done, where the ledger has no reason.
    reasons: dict[JobName, str] = field(default_factory=dict)
    blocked: set[JobName] = field(default_factory=set)
    #: Ended without an attempt, or with one that has a failure.
    failed: set[JobName] = field(default_factory=set)
    #: Every file was restored under all its names.
    restored: set[JobName] = field(default_factory=set)
    stops: list[StopReason] = field(default_factory=list)
    renditions: RenditionTotals = field(default_factory=RenditionTotals)

    @property
    def leaving(self) -> bool:
        """Whether nothing may hold up the end, or nothing can be recorded any more."""
        return not _LEAVING.isdisjoint(self.stopped_by())

    def stopped_by(self) -> tuple[ExitCode, ...]:
        """The codes of all stops, each once."""
        return tuple(dict.fromkeys(stop.code for stop in self.stops))
