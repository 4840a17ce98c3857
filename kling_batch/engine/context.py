"""Shared context of one run: policy, service clients, clock, random source, event callback.

The engine knows the outside only through these protocols. Must decide nothing about jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol

from kling_batch.core.events import EventKind, Pace, RunEvent
from kling_batch.core.jobs import JSON, Job, JobKey
from kling_batch.core.outcomes import (
    BillingEvents,
    CancelAnswer,
    Finished,
    Handle,
    ListOutcome,
    ResultOutcome,
    StatusOutcome,
    SubmitOutcome,
    Unread,
)
from kling_batch.core.quantities import FailureLimit, MicroUSD
from kling_batch.core.records import Attempt, Cap
from kling_batch.core.wakeup import Wakeup
from kling_batch.engine.account import AccountWatch
from kling_batch.engine.event_data import attempt_data, job_data
from kling_batch.engine.log_sync import LogSync
from kling_batch.engine.pacing import Rate, StopSwitch, Window
from kling_batch.engine.reads import Reads
from kling_batch.errors import ExitCode
from kling_batch.ledger.ledger import Ledger
from kling_batch.output.download import Fetcher
from kling_batch.output.store import OutputStore
from kling_batch.output.worker import FileWorker

#: Downloads at once on this machine; more would only share the same disk and network.
DOWNLOADS = 8


class Queue(Protocol):
    """fal's queue and request list, as the engine needs them; implemented by `FalQueue`."""

    async def submit(
        self,
        endpoint: str,
        payload: JSON,
        *,
        tags: Mapping[str, str] | None = None,
        start_timeout: float | None = None,
    ) -> SubmitOutcome:
        """Send the paid POST, once."""

    async def status(self, handle: Handle) -> StatusOutcome:
        """The status of a request."""

    async def result(
        self, handle: Handle, finished: Finished, *, media: bool, cancelled: bool = False
    ) -> ResultOutcome:
        """The result of a finished request."""

    async def cancel(self, handle: Handle) -> CancelAnswer:
        """Ask to stop a request."""

    async def billing_events(self, *, since: str) -> BillingEvents | Unread:
        """Every billing event of the account since a moment."""

    async def listing(
        self, endpoint: str, *, since: str, request_id: str | None = None
    ) -> ListOutcome:
        """Every request of an endpoint since a time."""

    def handle(self, endpoint: str, request_id: str) -> Handle:
        """The URLs of a request known only by its id."""


class Uploader(Protocol):
    """Uploads local files to fal's storage."""

    async def upload(self, path: Path, data: bytes, content_type: str) -> str:
        """The URL of the uploaded bytes; `path` only names them. Raises `UploadError`."""


class RunPolicy(NamedTuple):
    """The limits in force, resolved from flag, environment, manifest and default."""

    concurrency: int = 8
    #: Submissions per second.
    rate: float = 10.0
    caps: tuple[Cap, ...] = ()
    #: The limit over all hosts of the account, or None.
    account: Cap | None = None
    #: Seconds since the intent for which a trace of a submission in doubt is looked for.
    doubt_wait: float = 3600.0
    attempts: int = 3
    #: Seconds within which fal must begin a request, its queue included; None: no limit.
    start_timeout: float | None = None
    #: After which failures nothing more is submitted.
    max_failures: FailureLimit | None = None
    #: End the run once everything allowed is submitted.
    detach: bool = False
    #: Whether this run was approved to pay for a job: what was only to be collected may fail, and a
    #: new attempt at it is one more payment.
    payable: Callable[[JobKey], bool] = lambda _key: True
    #: Whether a person took back, since the plan was made, what lets a job be paid for. Asked
    #: before each intent.
    withdrawn: Callable[[Job], bool] = lambda _job: False
    #: Why nothing may be submitted in this run, or empty.
    alarm: str = ""
    alarm_code: ExitCode = ExitCode.BUDGET


@dataclass(slots=True, kw_only=True)
class RunContext:
    """Services and limits of one run, shared by its tasks; all in one thread."""

    ledger: Ledger
    queue: Queue
    fetcher: Fetcher
    uploader: Uploader
    store: OutputStore
    #: Downloads at once.
    downloads: int = DOWNLOADS
    #: Does what blocks: digests, syncs and names of files.
    worker: FileWorker
    #: Syncs the ledger's log; apart, so that an answer does not wait behind files.
    log_worker: FileWorker
    policy: RunPolicy
    now: Callable[[], datetime]
    rng: Random
    notify: Callable[[RunEvent], None]
    #: Endpoint and billable units → what it cost, where the unit's price is known.
    cost_of: Callable[[str, float], MicroUSD | None] = lambda _endpoint, _units: None
    #: Whether an endpoint's result must hold files.
    media: Callable[[str], bool] = lambda _endpoint: True
    #: Endpoints whose unit price at fal is above the catalogue's, and how many times it.
    price_factors: dict[str, float] = field(default_factory=dict)
    #: Endpoints whose renders cost more than was estimated, and how many times that.
    cost_ratios: dict[str, float] = field(default_factory=dict)
    #: The bills of the account, which its limit is held against.
    account: AccountWatch = field(default_factory=AccountWatch)
    #: Waits until what is committed is on the disk.
    log_sync: LogSync = field(init=False)
    window: Window = field(init=False)
    #: Set once nothing more may be submitted; jobs that wait for their turn wait no longer.
    submit_stop: StopSwitch = field(init=False)
    submit_rate: Rate = field(init=False)
    #: The turns of reads. They are free of charge; their budget spares the service.
    reads: Reads = field(init=False)
    #: Set when the engine may be able to start another job.
    feeder: Wakeup = field(init=False)

    def __post_init__(self) -> None:
        self.log_sync = LogSync(self.ledger, self.log_worker)
        self.window = Window(self.policy.concurrency)
        self.submit_stop = StopSwitch()
        # A burst of a twentieth of a second: below, timers are too coarse for an even spacing.
        self.submit_rate = Rate(self.policy.rate, burst=max(1, int(self.policy.rate / 20)))
        self.reads = Reads()
        self.feeder = Wakeup()

    @property
    def caps(self) -> tuple[Cap, ...]:
        """Every cap that a payment must keep within now."""
        account = self.policy.account
        return (
            self.policy.caps
            if account is None
            else (*self.policy.caps, replace(account, bills=self.account.bills))
        )

    def emit(self, kind: EventKind, job: Job | None, message: str, **data: JSON) -> None:
        """Report one event, about a job or, where that is None, about the run."""
        self._tell(kind, job, message, {**job_data(job), **data} if job else data)

    def emit_attempt(
        self, kind: EventKind, job: Job, attempt: Attempt | int, message: str, /, **data: JSON
    ) -> None:
        """Report one event about an attempt at a job; a number is read from the ledger."""
        known = self.ledger.attempt(attempt) if isinstance(attempt, int) else attempt
        self._tell(kind, job, message, {**attempt_data(known, self.policy.attempts), **data})

    def _tell(self, kind: EventKind, job: Job | None, message: str, data: dict[str, JSON]) -> None:
        name, batch = (job.label, job.batch) if job else ("", "")
        self.notify(RunEvent(kind=kind, job=name, batch=batch, message=message, data=data))

    def pace(self) -> Pace:
        """How fast jobs may be submitted now, for displays."""
        rate, window = self.submit_rate, self.window
        return Pace(
            most=rate.most,
            rate=rate.now,
            held=rate.held,
            open=window.open,
            window=window.limit,
        )

    def leave_window(self) -> None:
        """Free the window place of a request that is open no more."""
        self.window.leave()
        self.feeder.wake()
