"""Whose requests a ledger holds: fal's or the emulator's, for ever. Begins no transaction."""

from __future__ import annotations

import uuid
from pathlib import Path
from sqlite3 import Connection

from kling_batch.errors import UsageError

_SERVICE = {"fal": "fal", "emulator": "the emulator"}


def claim(db: Connection, path: Path, service: str, at: str) -> None:
    """Make the ledger one of this service, if it is nobody's yet.

    Args:
        db: in a transaction.
        path: of the ledger, for the message.
        service: `fal` or `emulator`.
        at: the time, in the ledger's format.

    Raises:
        UsageError: it belongs to the other one.
    """
    row = db.execute("select service from ledger where id = 1").fetchone()
    if row is None:
        db.execute(
            "insert into ledger (id, uuid, service, created_at) values (1, ?, ?, ?)",
            [str(uuid.uuid4()), service, at],
        )
    elif row[0] != service:
        raise UsageError(
            f"{path}: this ledger belongs to {_SERVICE[row[0]]}; "
            f"a run on {_SERVICE[service]} needs another --output or --ledger"
        )
