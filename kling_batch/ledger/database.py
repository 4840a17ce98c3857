"""Opening the ledger's SQLite file: migrations, transactions, the run lock.

The only module that opens it; when a commit is on the disk is in `durability.py`. Driver errors
become a `LedgerError` with a message for people. Must not know jobs, fal or the manifest.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlite_utils import Database

from kling_batch.errors import LedgerError, UsageError
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.migrations import APPLICATION_ID, migrations

#: A person's `sqlite3` or Datasette may hold the file for a minute. A run asks `is_free` before it
#: pays, so that only other writes wait here.
BUSY_SECONDS = 120.0
#: What people record beside a run waits this long for other writes, then says so.
BESIDE_SECONDS = 20.0
#: Up to this size a run checks the whole ledger for damage first; a larger one (100,000 jobs) is
#: checked page by page as it is used, and by `verify`.
CHECKED_BYTES = 64 * 1024 * 1024
#: Pages of a log (16 MB) at which a commit makes a checkpoint itself, although another thread does:
#: that one never ends where commits keep coming.
LONG_LOG = 4000


class explained:  # noqa: N801 - reads as a clause, `with explained(path)`
    """Turns errors of SQLite and the disk into a `LedgerError` with the next step in its message.

    No generator: this is around each statement of a run.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path | str) -> None:
        """`path`: the ledger's, for the message."""
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None or isinstance(error, sqlite3.IntegrityError):
            return  # the caller knows what a violated constraint means
        if isinstance(error, sqlite3.DatabaseError):
            raise LedgerError(_message(self._path, error)) from error
        if isinstance(error, UnicodeEncodeError):
            shown = error.object.encode("utf-8", "replace").decode()[:60]
            text = f"`{shown}` has a character that is not UTF-8, which no ledger can store"
            raise UsageError(f"{text}; nothing was changed") from error
        if isinstance(error, OSError):
            text = f"{self._path}: {error.strerror or error}; nothing was changed"
            raise LedgerError(text) from error


def _message(path: Path | str, error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return (
            f"{path}: cannot write the ledger: {text}. What was committed is safe; make room, "
            "then run the same command again"
        )
    if "readonly" in text or "unable to open" in text:
        return f"{path}: cannot open the ledger for writing: {text}; check the folder's permissions"
    if "locked" in text:
        return f"{path}: another program holds the ledger ({text}); close it and run again"
    if "not a database" in text or "malformed" in text or "corrupt" in text:
        return (
            f"{path}: the ledger is damaged ({text}). Nothing was sent. Restore a copy, or see "
            "what is left with: sqlite3 FILE .recover"
        )
    if "created in a thread" in text:
        return f"{path}: this ledger was opened in another thread; open it in this one, too"
    return f"{path}: the ledger cannot be used: {text}"


def is_there(path: Path) -> bool:
    """Whether a file has this name. Raises `LedgerError` where its folder cannot be looked into."""
    with explained(path):
        return path.exists()


def connect(path: Path, *, writable: bool) -> Database:
    """Open a ledger; a writer creates and migrates it, a reader changes nothing.

    Raises:
        LedgerError: damaged, newer than the program, not a ledger, or not accessible.
    """
    with explained(path):
        if path.is_dir():
            file = path / "ledger.db"
            raise LedgerError(f"{path}: is a folder, and a ledger is a file, such as {file}")
        if writable:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                # Prompts and request ids are private.
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        elif not path.exists():
            raise LedgerError(f"{path}: there is no ledger here yet; `kling-batch run` makes one")
        mode = "rw" if writable else "ro"
        if not writable and not _writable(path.parent) and not log_of(path).exists():
            # No writer and no write-ahead log: without `immutable`, SQLite would try to create
            # one, and fail on a read-only share.
            mode = "ro&immutable=1"
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS
        )
    # Installed sqlite-utils plugins must not change a ledger.
    db = Database(connection, execute_plugins=False)
    try:
        with explained(path):
            _prepare(db, path, writable=writable)
    except BaseException:
        db.close()
        raise
    return db


def connect_beside(path: Path) -> Database:
    """Open an existing ledger for short transactions, also while a run holds the run lock.

    An old ledger is upgraded first, under the run lock.

    Raises:
        LedgerError: as `connect`; or an old ledger in use by an older program.
    """
    reader = connect(path, writable=False)
    try:
        with explained(path):
            outdated = bool(migrations.pending(reader))
    finally:
        reader.close()
    if outdated:
        _upgrade(path)
    with explained(path), ExitStack() as stack:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=BESIDE_SECONDS
        )
        stack.callback(connection.close)
        db = Database(connection, execute_plugins=False)
        db.execute("pragma foreign_keys = on")
        db.execute("pragma synchronous = full")
        # A run moves its log into the file itself, beside its commits; where there is none, closing
        # this connection does.
        db.execute(f"pragma wal_autocheckpoint = {LONG_LOG}")
        stack.pop_all()
    return db


def _upgrade(path: Path) -> None:
    lock = RunLock(path)
    lock.acquire()
    try:
        connect(path, writable=True).close()
    finally:
        lock.release()


class FileIdentity:
    """The file that a name stood for when it was opened; it may be moved or replaced since."""

    def __init__(self, path: Path) -> None:
        """Of the file that is there now."""
        self._given, self._path = path, path.absolute()
        self._identity = _identity(self._path)

    @property
    def unchanged(self) -> bool:
        """Whether the name still stands for that file; an open file keeps its number."""
        return _identity(self._path) == self._identity

    @property
    def displaced(self) -> str:
        """Why nothing may be bought any more; empty while the ledger is where it was opened."""
        if self.unchanged:
            return ""
        return (
            f"{self._given}: the ledger was renamed, replaced or deleted while this run used it; "
            "nothing more is bought. Put it back, or run again without it: what is paid for is "
            "found beside the files and in fal's request list"
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of the file that a name stands for."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def open_beside(path: Path) -> sqlite3.Connection:
    """One more connection to a ledger that is open, for any one thread at a time; never waits."""
    uri = f"{path.resolve().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=0, check_same_thread=False)


def remove(path: Path) -> None:
    """Remove a ledger that nobody has written to, with its log."""
    resolved = path.resolve()
    for end in ("", "-wal", "-shm"):
        with suppress(OSError):
            resolved.with_name(f"{resolved.name}{end}").unlink(missing_ok=True)


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def log_of(path: Path) -> Path:
    """The write-ahead log of a ledger, whether it is there or not."""
    resolved = path.resolve()
    return resolved.with_name(f"{resolved.name}-wal")


def _prepare(db: Database, path: Path, *, writable: bool) -> None:
    kind = db.execute("pragma application_id").fetchone()[0]
    applied = [migration.name for migration in migrations.applied(db)]
    foreign = set(db.table_names()) - {migrations.migrations_table}
    if kind not in (0, APPLICATION_ID) or (kind == 0 and foreign and not applied):
        raise LedgerError(f"{path}: this SQLite file is not a kling-batch ledger")
    if newer := [name for name in applied if name not in _OURS]:
        raise LedgerError(
            f"{path}: written by a newer kling-batch (it knows {', '.join(newer)}); "
            "upgrade this program, nothing was changed"
        )
    db.execute("pragma foreign_keys = on")
    if not writable:
        if not (kind or applied):
            raise LedgerError(
                f"{path}: this ledger is empty; if something was paid under it, put a copy back "
                "first, else the next `run` fills it"
            )
        if any(migration.name in _TO_READ for migration in migrations.pending(db)):
            raise LedgerError(f"{path}: from an older kling-batch; the next `run` upgrades it")
        return
    # WAL lets `status`, Datasette and sqlite3 read during a run.
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = normal")
    if path.stat().st_size <= CHECKED_BYTES:
        verdict = db.execute("pragma quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"database disk image is malformed: {verdict}")
    # Not synced one by one: the first commit that is synced takes them along.
    migrations.apply(db)
    # Each commit is durable when it returns; `sync_commits` is for those that need less.
    db.execute("pragma synchronous = full")


def query(
    db: Database, path: Path, sql: str, parameters: Sequence[Any] = ()
) -> Iterator[dict[str, Any]]:
    """Rows of a select as dictionaries; errors as in `explained`.

    Not `db.query`, which puts a savepoint around each select: three statements instead of one.
    """
    with explained(path):
        cursor = db.conn.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))


def sqlite_version() -> str:
    """The version of the SQLite library in use."""
    return sqlite3.sqlite_version


#: Migrations without which a ledger cannot be read; later ones add what only writers need.
_TO_READ = frozenset({"m001_first_ledger"})


def _ours() -> frozenset[str]:
    """Every migration that this program knows: of a fresh database all are pending."""
    with closing(Database(memory=True, execute_plugins=False)) as fresh:
        return frozenset(migration.name for migration in migrations.pending(fresh))


_OURS = _ours()


def sync_commits(db: Database, path: Path, *, at_once: bool) -> None:
    """Set what holds of every commit from now on; SQLite refuses it inside a transaction.

    `at_once`: a commit is on the disk when it returns, as in a ledger that was just opened; else it
    survives any death of the program, and a power cut once the log has been synced after it.
    """
    with explained(path):
        db.conn.execute("pragma synchronous = full" if at_once else "pragma synchronous = normal")


@contextmanager
def transaction(db: Database, path: Path) -> Iterator[None]:
    """All or nothing, holding the write lock from the first read on.

    `begin immediate`, because a deferred transaction that reads, then writes, fails at once when
    another connection wrote in between, whatever the busy timeout. Never `await` inside.
    """
    with explained(path):
        db.conn.execute("begin immediate")
        try:
            yield
            db.conn.execute("commit")
        except BaseException:
            # A full disk may have rolled back already; a second rollback would hide the cause. A
            # failed commit may not have: left open, the next commit would include its rows.
            if db.conn.in_transaction:
                with suppress(sqlite3.Error):
                    db.conn.execute("rollback")
            raise


def is_free(db: Database, path: Path) -> bool:
    """Whether the write lock can be had at once."""
    with explained(path):
        db.conn.execute("pragma busy_timeout = 0")
        try:
            db.conn.execute("begin immediate")
            db.conn.execute("rollback")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False
        finally:
            db.conn.execute(f"pragma busy_timeout = {round(BUSY_SECONDS * 1000)}")
    return True


class RunLock:
    """One writer per ledger: an advisory file lock, released by the system at process end."""

    def __init__(self, path: Path) -> None:
        """The lock of the ledger at `path`; taken by `acquire`."""
        self._path = path
        # Resolved, so that a symbolic link to the ledger takes the same lock.
        self._file = Path(f"{path.resolve()}.lock")
        self._lock = FileLock(self._file, mode=0o600)
        #: Of the file that was locked.
        self._identity: tuple[int, int] | None = None

    def acquire(self) -> None:
        """Take the lock at once or raise `LedgerError` naming the run that has it."""
        with explained(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:  # a subclass of OSError
                if not self._file.exists():  # it stays when it is released
                    text = f"{self._path}: no file can be made in this folder; nothing was changed"
                    raise LedgerError(text) from None
                raise LedgerError(
                    f"{self._path}: another run is using this ledger{self._lock_owner()}; "
                    f"wait for it, or look with: {command_on(self._path, 'status')}"
                ) from None
            self._identity = _identity(self._file)

    def must_be_held(self) -> None:
        """Raise `LedgerError` where the lock file was deleted: a second run may have its own."""
        if _identity(self._file) != self._identity:
            raise LedgerError(
                f"{self._path}: its lock file was deleted or replaced during this run, so another "
                "run may be using the ledger; nothing more is sent. Run again when no other runs"
            )

    def release(self) -> None:
        """Release it; the file stays, so that nobody locks a deleted one."""
        self._lock.release()

    def _lock_owner(self) -> str:
        """The run that holds the lock: the latest one without an end time."""
        try:
            db = connect(self._path, writable=False)
        except LedgerError:
            return ""
        try:
            sql = "select host, pid, started_at, ended_at from runs order by id desc limit 1"
            rows = [row for row in db.query(sql) if row["ended_at"] is None]
        except sqlite3.DatabaseError:
            return ""
        finally:
            db.close()
        if not rows:
            return ""
        return f" (host {rows[0]['host']}, pid {rows[0]['pid']}, since {rows[0]['started_at']})"


def this_host() -> str:
    """The name of this machine, as the ledger records it."""
    return socket.gethostname()
