"""Write access to the ledger: runs, names, attempts with their events, files, uploads.

Every method is synchronous on purpose: nothing else can run between its read and its commit.
Each change of an attempt is one `begin immediate` transaction that checks the transition, updates
the row and appends the event. Must not open the file by itself (`database.py`) or know fal.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from math import ceil
from pathlib import Path
from sqlite3 import Connection
from typing import Unpack

from kling_batch.core.jobs import JSON, Batch, Job, JobKey, LocalFile, canonical_json
from kling_batch.core.lifecycle import ONLY_BEFORE, Event, State, step
from kling_batch.core.outcomes import CancelAnswer, Charged
from kling_batch.core.quantities import MicroUSD, format_time
from kling_batch.core.records import Attempt, Cap, Facts, OverCap
from kling_batch.errors import LedgerError
from kling_batch.ledger import artifacts as placements
from kling_batch.ledger.artifacts import Placed
from kling_batch.ledger.cap_sums import CapSums
from kling_batch.ledger.database import (
    LONG_LOG,
    FileIdentity,
    RunLock,
    connect,
    is_free,
    remove,
    sync_commits,
    this_host,
    transaction,
)
from kling_batch.ledger.durability import DURABILITY, Durability, Log
from kling_batch.ledger.names import write_names
from kling_batch.ledger.owner import claim
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.rows import columns_of, json_text, moments_of, plain


class RequestClaimedError(Exception):
    """fal's request id already belongs to another attempt."""


class Ledger(Reader):
    """Exclusive write access to a ledger file; a context manager.

    Args:
        path: the SQLite file; its folder is made where missing.
        service: `fal` or `emulator`; a ledger belongs to one of them for ever. None for commands
            that talk to neither.
        now: the clock, aware UTC.

    Raises:
        LedgerError: locked by another run, damaged, newer, or not writable.
    """

    def __init__(self, path: Path, *, service: str | None, now: Callable[[], datetime]) -> None:
        """Take the lock, then open the file; where either fails, nothing has changed."""
        self._now = now
        self.service = service
        self._lock = RunLock(path)
        self._lock.acquire()
        #: Whether this is the program that makes the file, and whether it takes it away again.
        self._made, self._discarded = not path.exists(), False
        try:
            super().__init__(path, connect(path, writable=True))
        except BaseException:
            if self._made:
                remove(path)
            self._lock.release()
            raise
        #: Whether somebody waits for `log.sync` before acting on a commit (`Durability`).
        self.synced_apart = False
        #: Whether commits sync now: SQLite keeps it until it is set again.
        self._syncs = True
        self.run_id = 0
        self._file = FileIdentity(path)
        #: To be synced and checkpointed apart from the commits in it.
        self.log = Log(path)
        try:
            if service is not None:
                self.must_belong_to(service)
        except BaseException:
            self.close()
            raise

    @cached_property
    def cap_sums(self) -> CapSums:
        """What counts against each cap, kept from payment to payment."""
        return CapSums(self)

    def close(self) -> None:
        """Sync what is committed, close the file, then release the lock."""
        try:
            self.log.close()
        finally:
            super().close()
            if self._discarded and self._file.unchanged:
                remove(self.path)
            self._lock.release()

    def discard_new(self) -> None:
        """Take the file away again when it is closed, where it is new and has no attempt.

        A run that was refused leaves no ledger, which would stand for one that has been paid with.
        """
        self._discarded = self._made and not any(self._rows("select 1 from attempts limit 1"))

    def is_free(self) -> bool:
        """Whether a transaction can begin at once: no other program is writing.

        Raises:
            LedgerError: the ledger or its lock file is gone, so that what is written is lost, or
                another run may use this ledger.
        """
        self._must_be_in_place()
        self._lock.must_be_held()
        return is_free(self.db, self.path)

    def must_belong_to(self, service: str) -> None:
        """Raise `UsageError` where this ledger's requests live elsewhere."""
        with self.transaction() as db:
            claim(db, self.path, service, self.stamp())

    @contextmanager
    def transaction(self, durability: Durability = Durability.AT_ONCE) -> Iterator[Connection]:
        """All or nothing; see `database.transaction`."""
        synced, db = durability.synced(apart=self.synced_apart), self.db.conn
        changes = db.total_changes
        if synced is not self._syncs:
            sync_commits(self.db, self.path, at_once=synced)
            self._syncs = synced
        with transaction(self.db, self.path):
            yield db
        if db.total_changes != changes:  # a commit of nothing syncs nothing
            self.log.note(synced=synced)

    def leave_syncs(self) -> None:
        """Leave syncs and checkpoints to somebody who calls `log` for them."""
        self.synced_apart = True
        self.db.execute(f"pragma wal_autocheckpoint = {LONG_LOG}")

    @property
    def displaced(self) -> str:
        """Why nothing may be bought any more; empty while the ledger is where it was opened."""
        return self._file.displaced

    def _must_be_in_place(self) -> None:
        if displaced := self.displaced:
            raise LedgerError(displaced)

    # -- runs ----------------------------------------------------------------------------------

    def begin_run(
        self, *, command: str, batches: Sequence[str], pid: int, version: str, cap: MicroUSD | None
    ) -> int:
        """Record the start of this process's run; its id."""
        with self.transaction() as db:
            cursor = db.execute(
                "insert into runs (command, batches, pid, host, version, cap_micro_usd, started_at)"
                " values (?, ?, ?, ?, ?, ?, ?)",
                [command, json.dumps(list(batches)), pid, this_host(), version, cap, self.stamp()],
            )
            self.run_id = int(cursor.lastrowid or 0)
        return self.run_id

    def end_run(self, exit_code: int) -> None:
        """Record the end of the run; one without an end was killed."""
        with self.transaction(Durability.LATER) as db:
            db.execute(
                "update runs set ended_at = ?, exit_code = ? where id = ?",
                [self.stamp(), exit_code, self.run_id],
            )

    def register(self, batch: Batch, *, whole: bool = True) -> None:
        """Record every job of the batch with its name, where it is new or has changed.

        `whole`: the batch lists every job of its name, so that a missing one has been dropped.
        """
        write_names(self, batch, whole=whole, at=self.stamp(), transaction=self.transaction)

    # -- attempts ------------------------------------------------------------------------------

    def recover(self) -> list[int]:
        """Mark attempts in doubt that a killed run left between intent and answer; their ids.

        Holding the run lock proves that no POST of this ledger is in flight.
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
        """Commit the intent to pay for `job`; the row must exist before the POST leaves.

        The caps are checked in the same transaction, so that no other job can slip in between.
        `cost_ratios`: by endpoint, how many times their estimates renders have cost; what is not
        billed yet counts with that factor.
        `moment`: from where the windows of caps reach back, if not now.

        Raises:
            LedgerError: a live or paid attempt at this job exists (the unique index says so), or
                the file is no longer the ledger: what is written would be lost.
        """
        ratios, moment = cost_ratios or {}, moment or self._now()
        try:
            with self.transaction() as db:
                self._must_be_in_place()
                self.log.must_be_sound()
                for cap in caps:
                    if cap.covers(job) and (over := self._over(cap, job, ratios, moment)):
                        return over
                at = self.stamp()
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
                        at,
                    ],
                )
                attempt_id = int(cursor.lastrowid or 0)
                self.append(attempt_id, Event.SUBMIT_INTENDED, None, State.SUBMITTING, {}, at=at)
                return attempt_id
        except sqlite3.IntegrityError as error:
            raise LedgerError(
                f"{job.label}: a live or paid attempt already stands; refusing to pay again"
            ) from error

    def _over(
        self, cap: Cap, job: Job, ratios: Mapping[str, float], moment: datetime
    ) -> OverCap | None:
        """The cap, where another attempt at the job would pass it."""
        since = format_time(moment - cap.window) if cap.window else ""
        committed = self.cap_sums.committed(cap, since, ratios)
        needed = MicroUSD(ceil(job.estimate * ratios.get(job.endpoint, 1)))
        if committed + needed <= cap.limit:
            return None
        return OverCap(cap=cap, committed=committed, estimate=needed)

    def record(self, attempt_id: int, event: Event, **facts: Unpack[Facts]) -> State:
        """Commit an event of an attempt, with the facts that belong to it; the new state.

        `durability.DURABILITY` says which events are on the disk when this returns.
        The facts are stored with the event; `rows.columns_of` says which are also columns.

        Raises:
            RequestClaimedError: the handle's request belongs to another attempt already.
        """
        try:
            with self.transaction(DURABILITY.get(event, Durability.AT_ONCE)):
                return self.move(attempt_id, event, facts)
        except sqlite3.IntegrityError as error:
            if "attempts.request_id" in str(error):
                raise RequestClaimedError(str(error)) from error
            raise

    def move(self, attempt_id: int, event: Event, facts: Facts) -> State:
        """As `record`, inside the caller's transaction: compare-and-set of the state."""
        db, at = self.db.conn, self.stamp()
        before = ONLY_BEFORE.get(event) or self._state_of(attempt_id)
        after = step(before, event)
        columns = columns_of(facts)
        if event is Event.ARTIFACT_LOST:
            placements.forget_all(db, attempt_id)
        # A refused cancellation changes nothing about the request.
        if event is not Event.CANCEL_REQUESTED:
            columns |= moments_of(event, at)
        elif (answer := facts.get("answer")) in (CancelAnswer.REQUESTED, CancelAnswer.REMOVED):
            columns |= moments_of(event, at) | {"cancel_answer": answer}
        if after in (State.RENDERED, State.SUCCEEDED) and event is not Event.FILE_ADOPTED:
            columns.setdefault("charged", Charged.YES)
        elif event is Event.COST_LEARNT and (cost := facts.get("cost")) is not None:
            # A bill decides what a failure left open.
            columns["charged"] = Charged.YES if cost else Charged.NO
        if after is not before or not columns:
            # A state that stays is not written: five indexes hold it.
            columns["state"] = after
        assignments = ", ".join([f"{name} = ?" for name in columns])
        cursor = db.execute(
            f"update attempts set {assignments} where id = ? and state = ?",  # noqa: S608
            [*columns.values(), attempt_id, before],
        )
        if cursor.rowcount != 1:
            step(self._state_of(attempt_id), event)  # raises where the event is not allowed
            raise LedgerError(
                f"internal error: attempt {attempt_id} changed state concurrently; please report it"
            )
        self.append(attempt_id, event, before, after, facts, at=at)
        return after

    def _state_of(self, attempt_id: int) -> State:
        sql = "select state from attempts where id = ?"
        (state,) = self.db.conn.execute(sql, [attempt_id]).fetchone()
        return State(state)

    def append(
        self,
        attempt_id: int,
        event: Event,
        before: State | None,
        after: State,
        facts: Facts,
        *,
        at: str,
    ) -> None:
        """Store an event of this moment, inside the caller's transaction."""
        self.cap_sums.changed(attempt_id)
        self.db.conn.execute(
            "insert into events (attempt_id, run_id, at, event, from_state, to_state, data)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            [
                attempt_id,
                self.run_id or None,
                at,
                event,
                before,
                after,
                json_text(plain(facts)) if facts else None,
            ],
        )

    # -- files ---------------------------------------------------------------------------------

    def save_artifacts(self, attempt: Attempt, placed: Sequence[Placed]) -> None:
        """Record that every file of the attempt is safe under its name: it has succeeded.

        Call only after rename and folder sync. A file saved before under the same index (it went
        missing and was fetched again) keeps its row.
        """
        facts: Facts = {"paths": [item.path for item in placed]}
        with self.transaction(Durability.BEFORE_NEXT) as db:
            placements.save(db, attempt.id, placed, self.stamp())
            self.move(attempt.id, Event.ARTIFACTS_SAVED, facts)

    def save_some(self, attempt: Attempt, placed: Sequence[Placed]) -> None:
        """Record files that are safe under their names, while others are still to come."""
        with self.transaction() as db:
            placements.save(db, attempt.id, placed, self.stamp())

    def place(self, attempt_id: int, index: int, path: str) -> None:
        """Record one more name of an artifact."""
        with self.transaction(Durability.BEFORE_NEXT) as db:
            placements.name(db, attempt_id, index, path, self.stamp())

    def supersede(self, path: str, kept_as: str) -> None:
        """Record that the file at `path` is also kept at `kept_as`, before it is replaced."""
        with self.transaction() as db:
            placements.supersede(db, path, kept_as, self.stamp())

    # -- uploads -------------------------------------------------------------------------------

    def remember_upload(self, file: LocalFile, url: str) -> None:
        """Record where fal holds a copy of a local input."""
        with self.transaction(Durability.LATER) as db:
            db.execute(
                "insert into uploads (sha256, url, size, content_type, uploaded_at)"
                " values (?, ?, ?, ?, ?) on conflict (sha256) do update set url = excluded.url,"
                " uploaded_at = excluded.uploaded_at",
                [file.sha256, url, file.size, file.content_type, self.stamp()],
            )

    def stamp(self) -> str:
        """The current time in the ledger's format."""
        return format_time(self._now())


__all__ = ["Cap", "JobKey", "Ledger", "OverCap", "Placed", "RequestClaimedError"]
