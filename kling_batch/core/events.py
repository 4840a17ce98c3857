"""Events of a run, as displays get them, and what only the run knows of its own end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from kling_batch.core.jobs import JSON, Job
from kling_batch.errors import ExitCode


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One thing a person may want to see; displays turn it into lines, tables or NDJSON."""

    kind: str
    job: str = ""
    batch: str = ""
    message: str = ""
    data: dict[str, JSON] = field(default_factory=dict)


JobName: TypeAlias = tuple[str, str, int]
"""Batch, id and take: one name of a job."""


def name_of(job: Job) -> JobName:
    """The name that this manifest gives the job."""
    return (job.batch, job.id, job.take)


@dataclass(slots=True)
class StopReason:
    """Why no further job may be bought in this run."""

    code: ExitCode
    reason: str
    #: Whose word a cap is that was reached; empty where it was something else.
    cap: str = ""


@dataclass(slots=True)
class RunResult:
    """What only the run knows; everything else about its end is in the ledger."""

    #: Why a job is not done, where no row of the ledger says so.
    reasons: dict[JobName, str] = field(default_factory=dict)
    blocked: set[JobName] = field(default_factory=set)
    #: Ended without an attempt to show for it, or in one that says why.
    failed: set[JobName] = field(default_factory=set)
    #: Whose files are back under all their names.
    restored: set[JobName] = field(default_factory=set)
    stops: list[StopReason] = field(default_factory=list)

    def stopped_by(self) -> tuple[ExitCode, ...]:
        """The codes of all stops, each once."""
        return tuple(dict.fromkeys(stop.code for stop in self.stops))
