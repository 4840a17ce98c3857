"""Durability of commits: which of them must be on the disk at once, and the sync of the log.

SQLite appends every commit to one log, so a power cut takes its last commits, never one out of the
middle: what makes a commit durable makes all before it durable, too. Must not commit anything.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from pathlib import Path

from kling_batch.core.lifecycle import Event
from kling_batch.errors import LedgerError
from kling_batch.ledger.database import log_of, open_beside


class Durability(Enum):
    """When a commit must be on the disk. It survives any death of the program in each case."""

    #: When the transaction returns (`synchronous = full`): what follows cannot be taken back.
    AT_ONCE = auto()
    #: Before what depends on it, which waits for `Log.sync` (`synchronous = normal`). In a ledger
    #: for which nobody does (`Ledger.synced_apart`): at once.
    BEFORE_NEXT = auto()
    #: With whatever is synced next (`synchronous = normal`): fal tells it again.
    LATER = auto()

    def synced(self, *, apart: bool) -> bool:
        """Whether the transaction syncs; `apart`: somebody else does, and is waited for."""
        return self is Durability.AT_ONCE or (self is Durability.BEFORE_NEXT and not apart)


#: What is not listed is on the disk at once: above all the intent, which the POST follows.
DURABILITY: dict[Event, Durability] = {
    Event.SUBMIT_ACCEPTED: Durability.BEFORE_NEXT,
    Event.SUBMIT_REFUSED: Durability.BEFORE_NEXT,
    Event.SUBMIT_UNCONFIRMED: Durability.BEFORE_NEXT,
    Event.REMOTE_COMPLETED: Durability.BEFORE_NEXT,
    Event.REMOTE_FAILED: Durability.BEFORE_NEXT,
    Event.ARTIFACTS_SAVED: Durability.BEFORE_NEXT,
    Event.REMOTE_OBSERVED: Durability.LATER,
}


class Log:
    """The write-ahead log of an open ledger: counts commits, syncs and checkpoints them.

    `sync` and `checkpoint` may run in another thread, beside transactions. SQLite takes its locks
    on the ledger's other two files, so that opening and closing this one is safe.
    """

    def __init__(self, path: Path) -> None:
        """Of the ledger at `path`, which this process has open for writing."""
        self._path = path
        self._handle: int | None = None
        self._failure = ""
        #: How many transactions were committed, and how many of those are on the disk.
        self.committed = self.synced = 0
        self._beside: sqlite3.Connection | None = None
        self._checkpointed = 0

    def note(self, *, synced: bool) -> None:
        """Count a commit; one that was synced has synced all before it."""
        self.committed += 1
        if synced:
            self.synced = self.committed
        elif self._handle is None:
            with self._failing():
                self._handle = os.open(log_of(self._path), os.O_RDWR | getattr(os, "O_BINARY", 0))

    def sync(self) -> None:
        """Make what is committed durable.

        Raises:
            LedgerError: the disk could not, now or in an earlier call. The system tells such an
                error once, and a later success would prove nothing.
        """
        committed = self.committed
        if self.synced < committed and self._handle is not None:
            with self._failing():
                _sync(self._handle)
        self.must_be_sound()
        self.synced = max(self.synced, committed)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failure = self._failure or error.strerror or str(error)

    def must_be_sound(self) -> None:
        """Raise `LedgerError` where a sync has failed."""
        if self._failure:
            raise LedgerError(
                f"{self._path}: the disk cannot keep the ledger ({self._failure}); nothing more is "
                "sent. Run the same command again when the disk works"
            )

    def checkpoint(self) -> None:
        """Write the log into the ledger's file, so that a copy of the file alone is never old.

        On a connection of its own, as much as no reader needs. Nothing depends on it, so a failure
        is none, and the next call tries again.
        """
        committed = self.committed
        if committed == self._checkpointed:
            return
        with suppress(sqlite3.Error):
            self._beside = self._beside or open_beside(self._path)
            row = self._beside.execute("pragma wal_checkpoint(passive)").fetchone()
            busy, logged, written = row
            if not busy and logged == written:
                self._checkpointed = committed

    def close(self) -> None:
        """Sync what is not yet, as far as the disk can, and close."""
        with suppress(LedgerError):
            self.sync()
        if self._beside is not None:
            self._beside.close()
        if self._handle is not None:
            os.close(self._handle)


#: Without the file's times, where the system has such a call.
_sync = getattr(os, "fdatasync", os.fsync)
