"""Makes `ledger-v1.db`, a ledger as the first release writes it.

    python -m support.ledger_v1      (in tests/)

To be run until the first release, whenever its one migration is rewritten; and never after that.
`ledger-schema.sql` is the schema of the newest version; `tests/unit/ledger/test_migrations.py`
renews it with `UPDATE_DOCS=1`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kling_batch.core.jobs import Batch, Job, LocalFile, OutputOf
from kling_batch.core.lifecycle import Event
from kling_batch.core.outcomes import Charged, Failure, FailureKind, Fetched, Handle
from kling_batch.core.quantities import MicroUSD
from kling_batch.ledger.ledger import Ledger, Placed
from kling_batch.ledger.overrides import grant_take
from support.engine import make_job

HERE = Path(__file__).parent.parent / "data"
LEDGER, SCHEMA = HERE / "ledger-v1.db", HERE / "ledger-schema.sql"


class Ticking:
    """A clock that moves a second with each look."""

    moment = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment


PHOTO = LocalFile(path="photo.png", sha256="f" * 64, size=12, content_type="image/png")
PARENT = make_job("parent", prompt="ein Würfel 🎲")
JOBS = [
    PARENT,
    make_job("child", video_url=OutputOf(key=PARENT.key, job_id="parent", take=1)),
    make_job("local", image_url=PHOTO),
    make_job("take", take=2),
    *(make_job(name) for name in ("submitting", "doubt", "open", "rendered", "failed", "gone")),
    *(make_job(name) for name in ("cancelled", "unknown", "twice", "never")),
]


def by(name: str) -> Job:
    return next(job for job in JOBS if job.id == name)


def handle(number: int) -> Handle:
    request_id = f"019e0000-0000-7000-8000-{number:012}"
    base = f"https://queue.fal.run/fal-ai/kling-video/requests/{request_id}"
    return Handle(
        request_id=request_id,
        response_url=base,
        status_url=f"{base}/status",
        cancel_url=f"{base}/cancel",
    )


def failed(kind: FailureKind, charged: Charged) -> Failure:
    return Failure(kind=kind, message=f"it is {kind}", charged=charged, loc=("body", 0, "prompt"))


def placed(path: str, digit: str) -> Placed:
    fetched = Fetched(
        temporary="", sha256=digit * 64, size=99, ext=".mp4", content_type="video/mp4"
    )
    return Placed(index=0, path=path, fetched=fetched, url="https://v3b.fal.media/files/b/0a/x.mp4")


def tell(ledger: Ledger) -> None:
    """Every state, every kind of money, every table."""
    ledger.register(Batch(name="test", source="test.yaml", jobs=tuple(JOBS)))
    ledger.register(Batch(name="test", source="test.yaml", jobs=tuple(JOBS[:-1])))
    ledger.remember_upload(PHOTO, "https://v3.fal.media/files/photo.png")
    grant_take(ledger, "test", "take")

    def begun(name: str, number: int = 0, tries: int = 1) -> int:
        job = by(name)
        attempt = ledger.intend(job, dict(by("open").arguments), tries=tries)
        assert isinstance(attempt, int)
        if number:
            ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle(number))
            ledger.record(attempt, Event.REMOTE_OBSERVED, remote_status="IN_PROGRESS")
        return attempt

    def rendered(name: str, number: int, cost: int | None) -> int:
        attempt = begun(name, number)
        output = {"video": {"url": "https://v3b.fal.media/files/b/0a/x.mp4", "file_size": 99}}
        ledger.record(attempt, Event.REMOTE_COMPLETED, output=output, cost=cost, billable_units=3.0)
        return attempt

    for number, name in enumerate(("parent", "child", "local", "take"), 1):
        attempt = rendered(name, number, 420_000 if number % 2 else None)
        ledger.save_artifacts(ledger.attempt(attempt), [placed(f"test/{name}.mp4", str(number))])
    ledger.supersede("test/take.mp4", "test/take.44444444.mp4")
    rendered("rendered", 5, 130_000)
    begun("open", 6)
    ledger.record(begun("doubt"), Event.SUBMIT_UNCONFIRMED, reason="ReadError")
    no, unknown = Charged.NO, Charged.UNKNOWN
    ledger.record(begun("failed"), Event.SUBMIT_REFUSED, failure=failed(FailureKind.INVALID, no))
    ledger.record(
        begun("unknown", 7), Event.REMOTE_FAILED, failure=failed(FailureKind.POLICY, unknown)
    )
    ledger.record(
        begun("cancelled", 8),
        Event.CANCEL_CONFIRMED,
        failure=failed(FailureKind.ABANDONED, unknown),
    )
    gone = rendered("gone", 9, None)
    ledger.record(gone, Event.ARTIFACT_LOST, failure=failed(FailureKind.EXPIRED, Charged.YES))
    first = begun("twice", 10)
    ledger.record(first, Event.REMOTE_FAILED, failure=failed(FailureKind.TRANSIENT, no))
    begun("twice", 11, tries=2)
    begun("submitting")


def main() -> None:
    LEDGER.unlink(missing_ok=True)
    with Ledger(LEDGER, service="fal", now=Ticking()) as ledger:
        ledger.begin_run(
            command="run test.yaml", batches=["test"], pid=1, version="0.1.0", cap=MicroUSD(9)
        )
        tell(ledger)
        ledger.end_run(130)
    Path(f"{LEDGER}.lock").unlink()
    LEDGER.chmod(0o644)


def schema(path: Path) -> str:
    """Every table, index, trigger and view, as the file has them."""
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as db:
        rows = db.execute("select sql from sqlite_master where sql is not null order by name")
        return "".join(f"{sql};\n" for (sql,) in rows)


if __name__ == "__main__":
    main()
