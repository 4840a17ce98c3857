"""The ledger: the only truth about money, and its only writer.

Every method is synchronous on purpose: nothing else can run between its read and its commit.
Each change of an attempt is one `begin immediate` transaction that checks the transition, updates
the row and appends the event. Reading for reports is `records.py`'s; opening is `database.py`'s.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from kling_batch.core.jobs import JSON, Batch, Job, JobKey, LocalFile, canonical_json
from kling_batch.core.lifecycle import Event, State, step
from kling_batch.core.outcomes import CancelAnswer, Charged
from kling_batch.core.quantities import MicroUSD, iso
from kling_batch.core.records import Attempt, Cap, OverCap
from kling_batch.errors import LedgerError, UsageError
from kling_batch.ledger import artifacts as placements
from kling_batch.ledger.artifacts import Placed
from kling_batch.ledger.database import RunLock, connect, explained, this_host, transaction
from kling_batch.ledger.names import write_names
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.rows import MOMENTS, columns_of, plain


class RequestClaimedError(Exception):
    """fal's request id already belongs to another attempt."""


class Ledger(Reader):
    """The run's exclusive hold on a ledger file; a context manager.

    Args:
        path: the SQLite file; its folder is made where missing.
        service: `fal` or `emulator`; a ledger belongs to one of them for ever. None for a
            person's word about what is in it, which talks to neither.
        now: the clock, aware UTC.

    Raises:
        LedgerError: locked by another run, damaged, newer, or not writable.
    """

    def __init__(self, path: Path, *, service: str | None, now: Callable[[], datetime]) -> None:
        """Take the lock, then open; either fails with a sentence and changes nothing."""
        self._now = now
        self._lock = RunLock(path)
        self._lock.acquire()
        try:
            super().__init__(path, connect(path, writable=True))
        except BaseException:
            self._lock.release()
            raise
        try:
            if service is not None:
                self._claim(service)
        except BaseException:
            self.close()
            raise
        self.run_id = 0

    def close(self) -> None:
        """Close the file, then let others in."""
        super().close()
        self._lock.release()

    def _claim(self, service: str) -> None:
        with self.transaction() as db:
            row = db.execute("select service from ledger where id = 1").fetchone()
            if row is None:
                db.execute(
                    "insert into ledger (id, uuid, service, created_at) values (1, ?, ?, ?)",
                    [str(uuid.uuid4()), service, iso(self._now())],
                )
            elif row[0] != service:
                raise UsageError(
                    f"{self.path}: this ledger belongs to {_SERVICE[row[0]]}; "
                    f"a run on {_SERVICE[service]} needs another --output or --ledger"
                )

    def must_belong_to(self, service: str) -> None:
        """Raise `UsageError` where this ledger's requests live elsewhere."""
        self._claim(service)

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """All or nothing; see `database.transaction`."""
        with transaction(self.db, self.path):
            yield self.db

    # -- runs ----------------------------------------------------------------------------------

    def begin_run(
        self, *, command: str, batches: Sequence[str], pid: int, version: str, cap: MicroUSD | None
    ) -> int:
        """Write down that this process works from now on."""
        with self.transaction() as db:
            cursor = db.execute(
                "insert into runs (command, batches, pid, host, version, cap_micro_usd, started_at)"
                " values (?, ?, ?, ?, ?, ?, ?)",
                [command, json.dumps(list(batches)), pid, this_host(), version, cap, self.stamp()],
            )
            self.run_id = int(cursor.lastrowid or 0)
        return self.run_id

    def end_run(self, exit_code: int) -> None:
        """Write down how it ended; a run without an end was killed."""
        with self.transaction() as db:
            db.execute(
                "update runs set ended_at = ?, exit_code = ? where id = ?",
                [self.stamp(), exit_code, self.run_id],
            )

    def register(self, batch: Batch, *, whole: bool = True) -> None:
        """Write down every job of the manifest and what it is called; only what is new.

        `whole`: the batch lists every job of its name, so that a missing one has been dropped.
        """
        write_names(self, batch, whole=whole, at=self.stamp(), transaction=self.transaction)

    # -- attempts ------------------------------------------------------------------------------

    def recover(self) -> list[int]:
        """Put in doubt what a dead run left between intent and answer; ids of those attempts.

        Holding the run lock proves that no POST of ours is in flight.
        """
        left = self.attempt_ids_in(State.SUBMITTING)
        for attempt_id in left:
            self.record(
                attempt_id, Event.RUN_RECOVERED, reason="the program ended before fal's answer"
            )
        return left

    def intend(
        self,
        job: Job,
        payload: JSON,
        *,
        tries: int,
        caps: Iterable[Cap] = (),
        cost_ratios: Mapping[str, float] | None = None,
        moment: datetime | None = None,
    ) -> int | OverCap:
        """Commit the intent to pay for `job`: the row that must stand before the POST leaves.

        The caps are checked in the same transaction, so that no other job can slip in between.
        `cost_ratios`: by endpoint, how many times their estimates renders have cost; what is not
        billed yet is reckoned at that.
        `moment`: from where the windows of caps reach back, if not now.

        Raises:
            LedgerError: a live or paid attempt at this job exists (the unique index says so).
        """
        try:
            with self.transaction() as db:
                for cap in (cap for cap in caps if cap.covers(job)):
                    since = iso((moment or self._now()) - cap.window) if cap.window else None
                    committed = self.committed(cap.batches, since, cap.key)
                    needed = job.estimate
                    if cost_ratios:
                        unsure = self.unsure(cap.batches, since, cap.key)
                        more = sum(n * (cost_ratios.get(name, 1) - 1) for name, n in unsure.items())
                        committed = MicroUSD(committed + ceil(more))
                        needed = MicroUSD(ceil(needed * cost_ratios.get(job.endpoint, 1)))
                    if committed + needed > cap.limit:
                        return OverCap(cap=cap, committed=committed, estimate=needed)
                cursor = db.execute(
                    "insert into attempts (job_key, batch, run_id, try, state, endpoint, payload,"
                    " estimate_micro_usd, intended_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        job.key,
                        job.batch,
                        self.run_id,
                        tries,
                        step(None, Event.SUBMIT_INTENDED),
                        job.endpoint,
                        canonical_json(payload),
                        job.estimate,
                        self.stamp(),
                    ],
                )
                attempt_id = int(cursor.lastrowid or 0)
                self.append(attempt_id, Event.SUBMIT_INTENDED, None, State.SUBMITTING, {})
                return attempt_id
        except sqlite3.IntegrityError as error:
            raise LedgerError(
                f"{job.label}: a live or paid attempt already stands; refusing to pay again"
            ) from error

    def record(self, attempt_id: int, event: Event, **data: JSON) -> State:
        """Move an attempt by `event`, with what belongs to it; returns the new state.

        `data` goes into the event; `handle`, `failure`, `output`, `remote_status`,
        `billable_units` and `cost` also into the row.

        Raises:
            RequestClaimedError: the handle's request belongs to another attempt already.
        """
        try:
            with self.transaction():
                return self.move(attempt_id, event, data)
        except sqlite3.IntegrityError as error:
            if "attempts.request_id" in str(error):
                raise RequestClaimedError(str(error)) from error
            raise

    def move(self, attempt_id: int, event: Event, data: dict[str, Any]) -> State:
        """Compare-and-set inside the caller's transaction."""
        row = self.db.execute("select state from attempts where id = ?", [attempt_id]).fetchone()
        before = State(row[0])
        after = step(before, event)
        columns = columns_of(data) | {"state": after}
        if event is Event.ARTIFACT_LOST:
            placements.forget_all(self.db, attempt_id)
        # Asked to cancel, and not granted: nothing about the request has changed.
        if event is not Event.CANCEL_REQUESTED or data.get("answer") == CancelAnswer.REQUESTED:
            columns |= self._moments(event)
        if after in (State.RENDERED, State.SUCCEEDED) and event is not Event.FILE_ADOPTED:
            columns.setdefault("charged", Charged.YES)
        elif event is Event.COST_LEARNT and data.get("cost") is not None:
            # A bill has the last word on what a failure left open.
            columns["charged"] = Charged.YES if data["cost"] else Charged.NO
        assignments = ", ".join(f"{name} = ?" for name in columns)
        cursor = self.db.execute(
            f"update attempts set {assignments} where id = ? and state = ?",  # noqa: S608
            [*columns.values(), attempt_id, before],
        )
        if cursor.rowcount != 1:
            raise LedgerError(f"attempt {attempt_id} moved under our hands; this is a bug")
        self.append(attempt_id, event, before, after, data)
        return after

    def _moments(self, event: Event) -> dict[str, str]:
        column = MOMENTS.get(event)
        return {column: self.stamp()} if column else {}

    def append(
        self,
        attempt_id: int,
        event: Event,
        before: State | None,
        after: State,
        data: dict[str, Any],
    ) -> None:
        """Write down what happened, inside the caller's transaction."""
        self.db.execute(
            "insert into events (attempt_id, run_id, at, event, from_state, to_state, data)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            [
                attempt_id,
                self.run_id or None,
                self.stamp(),
                event,
                before,
                after,
                json.dumps(plain(data), ensure_ascii=False) if data else None,
            ],
        )

    # -- files ---------------------------------------------------------------------------------

    def save_artifacts(
        self, attempt: Attempt, placed: Sequence[Placed], *, lost: Sequence[int] = ()
    ) -> None:
        """Write down that every file of the attempt lies safe under its name: it has succeeded.

        Call only after rename and folder sync. A file saved before under the same index (it went
        missing and was fetched again) keeps its row. `lost`: outputs that fal no longer has; they
        are expected nowhere from now on.
        """
        data: dict[str, Any] = {"paths": [item.path for item in placed]}
        if lost:
            data["lost"] = list(lost)
        with self.transaction() as db:
            placements.save(db, attempt.id, placed, self.stamp())
            placements.forget(db, attempt.id, lost)
            self.move(attempt.id, Event.ARTIFACTS_SAVED, data)

    def save_some(self, attempt: Attempt, placed: Sequence[Placed]) -> None:
        """Write down files that lie safe under their names, while others are still to come."""
        with self.transaction() as db:
            placements.save(db, attempt.id, placed, self.stamp())

    def place(self, attempt_id: int, index: int, path: str) -> None:
        """Write down that an artifact lies under one more name."""
        with self.transaction() as db:
            placements.name(db, attempt_id, index, path, self.stamp())

    def supersede(self, path: str, kept_as: str) -> None:
        """Write down that the file at `path` now also lies at `kept_as`, before it is replaced."""
        with self.transaction() as db:
            placements.supersede(db, path, kept_as, self.stamp())

    # -- besides -------------------------------------------------------------------------------

    def remember_upload(self, file: LocalFile, url: str) -> None:
        """Write down where fal holds a copy of a local input."""
        with self.transaction() as db:
            db.execute(
                "insert into uploads (sha256, url, size, content_type, uploaded_at)"
                " values (?, ?, ?, ?, ?) on conflict (sha256) do update set url = excluded.url,"
                " uploaded_at = excluded.uploaded_at",
                [file.sha256, url, file.size, file.content_type, self.stamp()],
            )

    def check_writable(self) -> None:
        """Fail now, in words, where the ledger could not take a row later."""
        with explained(self.path), self.transaction() as db:
            db.execute("update ledger set service = service where id = 1")

    def stamp(self) -> str:
        """Now, as the ledger writes it."""
        return iso(self._now())


_SERVICE = {"fal": "fal", "emulator": "the emulator"}

__all__ = ["Cap", "JobKey", "Ledger", "OverCap", "Placed", "RequestClaimedError", "iso"]
