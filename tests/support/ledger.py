"""A ledger of the emulator's with jobs in it, and the writes that a run makes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from kling_batch.core.jobs import Batch, Job
from kling_batch.core.lifecycle import Event
from kling_batch.core.outcomes import Charged, Failure, FailureKind, Fetched, Handle
from kling_batch.core.records import Cap
from kling_batch.ledger.ledger import Ledger, Placed
from support.engine import START, make_jobs


class Clock:
    """A clock that goes where it is told."""

    def __init__(self) -> None:
        self.moment = START

    def __call__(self) -> datetime:
        return self.moment

    def pass_(self, **by: float) -> None:
        self.moment += timedelta(**by)


def opened(path: Path, clock: Clock | None = None, jobs: list[Job] | None = None) -> Ledger:
    ledger = Ledger(path, service="emulator", now=clock or Clock())
    ledger.begin_run(command="test", batches=["test"], pid=42, version="0", cap=None)
    ledger.register(Batch(name="test", source="t", jobs=tuple(jobs or make_jobs(4))))
    return ledger


def intend(ledger: Ledger, job: Job, *caps: Cap, tries: int = 1) -> int:
    attempt = ledger.intend(job, dict(job.arguments), tries=tries, caps=caps)
    assert isinstance(attempt, int)
    return attempt


def handle(request_id: str = "r-1") -> Handle:
    base = f"https://queue.fal.run/a/b/requests/{request_id}"
    return Handle(
        request_id=request_id, response_url=base, status_url=f"{base}/status", cancel_url=base
    )


def failure(charged: Charged = Charged.NO) -> Failure:
    return Failure(kind=FailureKind.INVALID, message="no", charged=charged)


def rendered(ledger: Ledger, job: Job, **facts: Any) -> int:
    attempt = intend(ledger, job)
    ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle(f"r-{attempt}"))
    ledger.record(attempt, Event.REMOTE_COMPLETED, output={"video": {"url": "https://v"}}, **facts)
    return attempt


def placed(path: str, digit: str = "a", url: str = "https://v?sig=x", index: int = 0) -> Placed:
    fetched = Fetched(temporary="", sha256=digit * 64, size=3, ext=".mp4", content_type="video/mp4")
    return Placed(index=index, path=path, fetched=fetched, url=url)


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"select count(*) from {table}").fetchone()[0])
