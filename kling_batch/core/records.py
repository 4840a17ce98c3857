"""Rows of the ledger as values: attempts, standings, files, totals, caps. Pure; knows no SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeAlias

from kling_batch.core.jobs import JSON, Job, JobKey
from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import Charged, Failure, Handle
from kling_batch.core.quantities import MicroUSD


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One paid try, as the ledger has it."""

    id: int
    job_key: JobKey
    batch: str
    tries: int
    state: State
    endpoint: str
    payload: JSON
    estimate: MicroUSD
    intended_at: str
    submitted_at: str | None
    handle: Handle | None
    remote_status: str | None
    output: JSON
    failure: Failure | None
    charged: Charged | None
    billable_units: float | None
    cost: MicroUSD | None
    settled_at: str | None
    rendered_at: str | None
    origin: str
    #: When fal took a request to cancel it.
    cancel_asked_at: str | None


Placement: TypeAlias = tuple[int, str, str]


class Standing(NamedTuple):
    """Where a job stands: its latest attempt in a few words, for planning thousands."""

    attempt_id: int
    state: State
    tries: int
    failure: Failure | None = None
    #: A person has asked for another attempt since.
    granted: bool = False
    #: Where the files of a succeeded one lie: (output index, extension, stored path).
    placed: tuple[Placement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A verified file: which output of which attempt, and every name it lies under."""

    attempt_id: int
    index: int
    path: str
    sha256: str
    size: int
    ext: str
    content_type: str
    url: str | None
    superseded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """Totals in micro-USD: owed for certain, and possibly owed."""

    charged: MicroUSD
    exposed: MicroUSD
    #: Of what is exposed: settled, and whether it was billed is not known.
    unknown: MicroUSD


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """No more than `limit` over these batches, or one job, in a time; None: all, ever."""

    limit: MicroUSD
    batches: tuple[str, ...] | None = None
    key: JobKey | None = None
    #: Back from the moment of each attempt, or None.
    window: timedelta | None = None
    #: Whose word it is, for the sentence that says so.
    name: str = "the cap"

    def covers(self, job: Job) -> bool:
        """Whether this job's money counts against it."""
        mine = self.batches is None or job.batch in self.batches
        return mine and self.key in (None, job.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverCap:
    """The attempt was not created: it would have passed `cap`."""

    cap: Cap
    committed: MicroUSD
    estimate: MicroUSD
