"""Rows of the ledger made into values, where another program may have changed them.

A value that no version of this program writes, such as an unknown state or a time that is none,
becomes a `LedgerError` that names the row. Must not know what the values mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils import Database

from kling_batch.core.diagnostics import show
from kling_batch.errors import LedgerError
from kling_batch.ledger.database import query

T = TypeVar("T")

#: What the conversion of a value raises that no version of this program wrote.
_FOREIGN = (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)


def query_as(
    db: Database,
    path: Path,
    make: Callable[[dict[str, Any]], T],
    sql: str,
    parameters: Sequence[Any] = (),
) -> Iterator[T]:
    """What `make` makes of each row of a select; a `LedgerError` names a row with foreign values.

    `make` converts values and nothing else: what it raises is taken for the row's fault.
    """
    for row in query(db, path, sql, parameters):
        try:
            made = make(row)
        except _FOREIGN as error:
            raise _foreign(path, error, row) from error
        yield made


@contextmanager
def understood(path: Path, **row: Any) -> Iterator[None]:
    """The same for rows that are read otherwise; `row` names one."""
    try:
        yield
    except _FOREIGN as error:
        raise _foreign(path, error, row) from error


def _foreign(path: Path, error: Exception, row: Mapping[str, Any]) -> LedgerError:
    """The error about a row that another program changed."""
    names = (f"{name} {row[name]}" for name in _ROW_NAMES if row.get(name) is not None)
    what = f"{type(error).__name__}: {error}"
    return LedgerError(
        f"{path}: a row has a value that no kling-batch writes ({', '.join(names)}; "
        f"{show(what)}). Another program changed the ledger: put a copy back, or set the value "
        "right with: sqlite3 FILE"
    )


#: Columns by which a row is found again.
_ROW_NAMES = ("id", "attempt_id", "job_key", "key", "path")
