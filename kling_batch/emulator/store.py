"""State file (SQLite): every change is written before the call returns, so a kill loses nothing.

Durable against a crash of the process, not of the machine (synchronous=off), to keep up with
hundreds of requests a second. Each process holds what it has read in memory, so a server takes
the file for itself alone. Must not interpret what it stores.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import EmulatorError
from .records import Request

if TYPE_CHECKING:
    from filelock import BaseFileLock

_SCHEMA = """
create table if not exists requests (ordinal integer primary key, body text not null);
create table if not exists notes (id integer primary key, kind text not null, body text not null);
create table if not exists uploads (path text primary key, body text not null, data blob not null);
create table if not exists facts (name text primary key, value text not null);
"""


class Store:
    """State file; without a path, nothing is stored."""

    def __init__(self, path: Path | str | None, *, alone: bool = False) -> None:
        self._db: sqlite3.Connection | None = None
        self._lock: BaseFileLock | None = None
        if path is None:
            return
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = off")
            self._db.executescript(_SCHEMA)
            if alone:  # before anything is read: two servers would count on from the same number
                self._lock = _locked(Path(path))
        except (sqlite3.Error, OSError, NotImplementedError) as error:
            self.close()
            reason = "another emulator uses it" if isinstance(error, TimeoutError) else error
            raise EmulatorError(f"emulator state {path} cannot be used: {reason}") from error

    def save_request(self, request: Request) -> None:
        """Insert or replace."""
        if self._db is None:  # called at every step, and to_json has a cost
            return
        self._write(
            "insert or replace into requests (ordinal, body) values (?, ?)",
            request.ordinal,
            request.to_json(),
        )

    def requests(self) -> Iterator[Request]:
        """All requests, oldest first."""
        for (body,) in self._read("select body from requests order by ordinal"):
            yield Request.from_json(body)

    def add_note(self, kind: str, body: Mapping[str, Any]) -> None:
        """Append an entry of the books."""
        self._write("insert into notes (kind, body) values (?, ?)", kind, json.dumps(body))

    def notes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """All entries of the books, oldest first."""
        for kind, body in self._read("select kind, body from notes order by id"):
            yield kind, json.loads(body)

    def save_upload(self, path: str, body: Mapping[str, Any], data: bytes) -> None:
        """Store an uploaded file; outputs are rendered again instead."""
        self._write(
            "insert or replace into uploads (path, body, data) values (?, ?, ?)",
            path,
            json.dumps(body),
            data,
        )

    def uploads(self) -> Iterator[tuple[str, dict[str, Any], bytes]]:
        """All uploaded files."""
        for path, body, data in self._read("select path, body, data from uploads"):
            yield path, json.loads(body), data

    def set_fact(self, name: str, value: float) -> None:
        """Store a number under a name."""
        self._write("insert or replace into facts (name, value) values (?, ?)", name, repr(value))

    def fact(self, name: str, default: float) -> float:
        """Stored number of this name, or the default."""
        rows = list(self._read("select value from facts where name = ?", name))
        return float(rows[0][0]) if rows else default

    def clear(self) -> None:
        """Delete everything."""
        for table in ("requests", "notes", "uploads", "facts"):
            self._write(f"delete from {table}")  # noqa: S608 (our own table names)

    def close(self) -> None:
        """Close the file; its lock file stays, so that nobody locks a deleted one."""
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _write(self, sql: str, *values: object) -> None:
        if self._db is not None:
            self._db.execute(sql, values)

    def _read(self, sql: str, *values: object) -> list[Any]:
        return [] if self._db is None else self._db.execute(sql, values).fetchall()


def _locked(path: Path) -> BaseFileLock:
    """The lock of a state file, taken at once; raises TimeoutError if another process has it."""
    from filelock import FileLock  # noqa: PLC0415 (loads asyncio; most worlds have no file)

    # Resolved, so that a symbolic link to the state takes the same lock.
    lock = FileLock(f"{path.resolve()}.lock", mode=0o600)
    lock.acquire(timeout=0)
    return lock
