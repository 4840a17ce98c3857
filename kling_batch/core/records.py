"""Rows of the ledger as values: attempts, standings, files, totals, report rows, caps.

Must not know SQL. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias, TypedDict

from kling_batch.core.jobs import JSON, Job, JobKey, job_label
from kling_batch.core.lifecycle import JobStatus, State, status_of
from kling_batch.core.outcomes import CancelAnswer, Charged, Failure, Handle
from kling_batch.core.quantities import MicroUSD


class Attempt(NamedTuple):
    """A row of `attempts`: one paid try at a job."""

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
    rendered_at: str | None
    origin: str
    #: When fal took a request to cancel it, and its answer.
    cancel_asked_at: str | None
    cancel_answer: CancelAnswer | None = None


class Service(NamedTuple):
    """How long a render took that an earlier run collected."""

    endpoint: str
    #: The length that was asked for, as the payload has it.
    length: str
    #: From acceptance to the read of its result.
    seconds: float
    #: By fal's own measure, without the time in the queue.
    told: float | None


class Facts(TypedDict, total=False):
    """What is known with an event; stored with it, and partly in the attempt's row."""

    handle: Handle | None
    failure: Failure | None
    output: JSON
    remote_status: str | None
    billable_units: float | None
    cost: MicroUSD | None
    inference_seconds: float | None
    #: The output came before a status was read that could tell these seconds.
    unmeasured: bool
    #: Why the event happened, for people.
    reason: str
    #: `person`, where it is not fal that says so.
    by: str
    #: fal's answer to a request to cancel.
    answer: CancelAnswer
    #: Stored names of saved files.
    paths: list[str]
    #: The adopted file.
    path: str
    sha256: str


Placement: TypeAlias = tuple[int, str, str, int]
"""A file that should be on the disk: output index, extension, stored path, size."""


class GrantedTakes(NamedTuple):
    """Takes of a job that a person asked for (`reroll`)."""

    #: How many there shall be in all.
    takes: int
    #: Of the job's first take then; None in what older programs recorded: whatever it is now.
    key: JobKey | None


class Standing(NamedTuple):
    """The latest attempt of a job, as far as planning needs it; small, for 100,000 jobs."""

    attempt_id: int
    state: State
    tries: int
    failure: Failure | None = None
    #: A person has asked for another attempt since.
    granted: bool = False
    #: Where the files of a succeeded one lie.
    placed: tuple[Placement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A verified file: which output of which attempt, and one of its names."""

    attempt_id: int
    index: int
    path: str
    sha256: str
    size: int
    ext: str
    content_type: str
    url: str | None
    superseded: bool


class Money(NamedTuple):
    """Totals in micro-USD: owed for certain, and possibly owed."""

    charged: MicroUSD
    exposed: MicroUSD
    #: Of what is exposed: settled, and whether it was billed is not known.
    unknown: MicroUSD


# -- rows of reports ---------------------------------------------------------------------------


class StatusRow(NamedTuple):
    """A job with its latest attempt; its fields are keys of `list --json`.

    The fields up to `attempt_id` are the columns of the view `job_status`.
    """

    batch: str
    job_id: str
    take: int
    #: A `State`, or `pending`.
    state: str
    mode: str
    tier: str
    prompt: str | None
    estimate_usd: float
    cost_usd: float | None
    request_id: str | None
    remote_status: str | None
    failure_kind: str | None
    failure: str | None
    files: str | None
    endpoint: str
    job_key: str
    attempt_id: int | None
    #: When the latest attempt began.
    tried_at: str | None
    #: Whether a failed or cancelled one was billed: `no`, `yes`, `unknown`.
    charged: str | None
    #: Whether it was paid for or adopted.
    origin: str | None
    #: What it made in place of a file, such as the id of a voice.
    value: str | None = None

    @property
    def label(self) -> str:
        """As `Job.label`."""
        return job_label(self.job_id, self.take)

    @property
    def status(self) -> JobStatus:
        """The status that people read."""
        state = None if self.state == "pending" else State(self.state)
        return status_of(state, self.remote_status)


class SpendRow(NamedTuple):
    """A row of the view `spend`; its fields are the keys of `report --json`."""

    batch: str
    day: str
    attempts: int
    charged_usd: float
    exposed_usd: float
    unknown_usd: float


class DriftRow(NamedTuple):
    """A row of the view `drift`; its fields are the keys of `report --json`."""

    endpoint: str
    renders: int
    estimated_usd: float
    cost_usd: float
    ratio: float | None


class JobTotals(NamedTuple):
    """The cost of all attempts at a job, and when and as what the latest one was sent."""

    cost: MicroUSD
    intended_at: str
    rendered_at: str | None
    settled_at: str | None
    request_id: str | None
    remote_status: str | None


class LoggedEvent(NamedTuple):
    """An event of an attempt; its fields are the keys of `show --json`."""

    at: str
    event: str
    from_state: str | None
    to_state: str
    data: dict[str, Any] | None


class NamedRender(NamedTuple):
    """A name of a job, current or retired, with its latest attempt: a card of the gallery."""

    job_key: JobKey
    batch: str
    job_id: str
    take: int
    path: str
    estimate: MicroUSD
    retired: bool
    mode: str
    tier: str
    endpoint: str
    arguments: dict[str, Any]
    attempt_id: int | None
    state: State | None
    remote_status: str | None
    request_id: str | None
    submitted_at: str | None
    rendered_at: str | None
    #: How many attempts there have been.
    attempts: int
    failure: str | None
    #: Why it is in doubt.
    doubt: str | None
    charged: MicroUSD
    exposed: MicroUSD


class JobSource(NamedTuple):
    """What the key of a job was made of; the arguments are canonical JSON."""

    key: JobKey
    endpoint: str
    take: int
    arguments: str


class AttemptCheck(NamedTuple):
    """What `verify` compares of an attempt."""

    id: int
    state: str
    charged: str | None
    origin: str
    estimate: MicroUSD
    cost: MicroUSD | None


class EventCheck(NamedTuple):
    """What `verify` replays of an event."""

    attempt_id: int
    event: str
    to_state: str


# -- caps --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AccountBills:
    """What fal says it billed the whole account, as of one look; each look is another value."""

    #: In the 24 hours before the look, whichever host or program asked for it.
    total: MicroUSD
    #: Every request whose bill is known, earlier ones too: none of them is still to be billed.
    requests: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """No more than `limit` over these batches, or one job, in a time; None: all, ever."""

    limit: MicroUSD
    batches: tuple[str, ...] | None = None
    #: The jobs that the batches have now: what was attempted for them under another name of the
    #: batch counts too.
    keys: frozenset[JobKey] = frozenset()
    #: The one job that the cap is about, or None.
    key: JobKey | None = None
    #: Back from the moment of each attempt, or None.
    window: timedelta | None = None
    #: Where it was set, for messages.
    name: str = "the cap"
    #: Bills of the whole account; with them, only attempts that are not among them count beside.
    bills: AccountBills | None = None

    def covers(self, job: Job) -> bool:
        """Whether this job's money counts against it."""
        return self.counts(job.batch, job.key)

    def counts(self, batch: str, key: JobKey) -> bool:
        """Whether an attempt that was made for a batch and a job counts against it."""
        mine = self.batches is None or batch in self.batches or key in self.keys
        return mine and self.key in (None, key)


class OverCap(NamedTuple):
    """The attempt was not created: it would have passed `cap`."""

    cap: Cap
    committed: MicroUSD
    estimate: MicroUSD


# -- renditions ----------------------------------------------------------------------------------


class RenditionRow(NamedTuple):
    """A row of `renditions`: what was made of a file, or is to be."""

    #: Stored name of the rendition, and of the file that it is made of.
    path: str
    source_path: str
    source_sha256: str
    name: str
    #: Canonical JSON of the recipe, and its digest.
    recipe: str
    recipe_digest: str
    #: None until it is made.
    sha256: str | None = None
    size: int | None = None
    content_type: str | None = None
    made_at: str | None = None
    #: Why the last try made nothing.
    failure: str | None = None


class SourceFile(NamedTuple):
    """A paid file, as renditions are made of it."""

    job_key: JobKey
    output_index: int
    ext: str
    path: str
    sha256: str
    size: int
    content_type: str
