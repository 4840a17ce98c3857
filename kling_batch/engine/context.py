"""What every part of a run works with: its limits, its services, and how it tells what happens.

The engine knows the outside only through these protocols. Must hold no logic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Protocol

from kling_batch.core.events import RunEvent
from kling_batch.core.jobs import JSON, JobKey
from kling_batch.core.outcomes import (
    CancelAnswer,
    Finished,
    Handle,
    ListOutcome,
    ResultOutcome,
    StatusOutcome,
    SubmitOutcome,
)
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.engine.pacing import Rate, Window
from kling_batch.ledger.ledger import Ledger
from kling_batch.output.download import Fetcher
from kling_batch.output.store import OutputStore


class Queue(Protocol):
    """fal's queue and request list, as the engine needs them; `fal.FalQueue` is the real one."""

    async def submit(self, endpoint: str, payload: JSON) -> SubmitOutcome:
        """Send the paid POST, once."""

    async def status(self, handle: Handle) -> StatusOutcome:
        """Where a request stands."""

    async def result(self, handle: Handle, finished: Finished, *, media: bool) -> ResultOutcome:
        """What a finished request gave."""

    async def cancel(self, handle: Handle) -> CancelAnswer:
        """Ask to stop a request."""

    async def listing(
        self, endpoint: str, *, since: str, request_id: str | None = None
    ) -> ListOutcome:
        """Every request of an endpoint since a moment."""

    def handle(self, endpoint: str, request_id: str) -> Handle:
        """The URLs of a request known only by its id."""


class Uploader(Protocol):
    """Brings local files to where fal can read them."""

    async def upload(self, path: Path, content_type: str) -> str:
        """The URL of the uploaded file. Raises `UploadError` in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPolicy:
    """The limits in force, after flag, environment, manifest and default have spoken."""

    concurrency: int = 8
    #: Submissions per second. An older fal FAQ names 10 requests a second per user.
    rate: float = 5.0
    caps: tuple[Cap, ...] = ()
    #: `hold` or `resubmit`.
    on_doubt: str = "hold"
    #: Seconds since the intent.
    doubt_wait: float = 3600.0
    attempts: int = 3
    #: Leave once everything allowed is submitted.
    detach: bool = False
    #: Whether anybody has agreed to pay for this in this run: what is collected may fail, and a new
    #: attempt at it is one more payment.
    payable: Callable[[JobKey], bool] = lambda _key: True
    #: Why nothing may be bought at all in this run, or nothing.
    alarm: str = ""


@dataclass(slots=True, kw_only=True)
class RunContext:
    """One run's tools, shared by its tasks; all in one thread."""

    ledger: Ledger
    queue: Queue
    fetcher: Fetcher
    uploader: Uploader
    store: OutputStore
    policy: RunPolicy
    now: Callable[[], datetime]
    rng: Random
    notify: Callable[[RunEvent], None]
    #: Endpoint and billable units → what it cost, where the unit's price is known.
    cost_of: Callable[[str, float], MicroUSD | None] = lambda _endpoint, _units: None
    #: Whether an endpoint's result must hold files.
    media: Callable[[str], bool] = lambda _endpoint: True
    #: Set once nothing more may be bought: also by those who stand in line already.
    halted: bool = False
    #: Endpoints whose renders cost more than was estimated, and how many times that.
    cost_ratios: dict[str, float] = field(default_factory=dict)
    window: Window = field(init=False)
    submissions: Rate = field(init=False)
    #: Reads cost nothing but politeness.
    reads: Rate = field(init=False)

    def __post_init__(self) -> None:
        self.window = Window(self.policy.concurrency)
        self.submissions = Rate(self.policy.rate)
        self.reads = Rate(20.0, burst=20)
