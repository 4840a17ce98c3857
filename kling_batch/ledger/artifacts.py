"""Rows of artifacts and files, written inside the ledger's transactions.

An artifact is a content that was paid for; a file is one name of it. Called by `ledger.py` and
`overrides.py` only. Must not commit, and must not touch the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Connection

from kling_batch.core.outcomes import Fetched
from kling_batch.ledger.rows import without_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A verified file under its final name."""

    index: int
    path: str
    fetched: Fetched
    url: str


def save(db: Connection, attempt_id: int, placed: Sequence[Placed], at: str) -> None:
    """Store artifacts and their names; one that is saved again keeps its row."""
    for item in placed:
        db.execute(
            "insert into artifacts (attempt_id, output_index, url, sha256, size,"
            " content_type, ext, saved_at) values (?, ?, ?, ?, ?, ?, ?, ?)"
            " on conflict (attempt_id, output_index) do update set url = excluded.url,"
            " sha256 = excluded.sha256, size = excluded.size, ext = excluded.ext,"
            " content_type = excluded.content_type, saved_at = excluded.saved_at",
            [
                attempt_id,
                item.index,
                without_data(item.url),
                item.fetched.sha256,
                item.fetched.size,
                item.fetched.content_type,
                item.fetched.ext,
                at,
            ],
        )
        name(db, attempt_id, item.index, item.path, at)


def name(db: Connection, attempt_id: int, index: int, path: str, at: str) -> None:
    """Store one more name of an artifact; another artifact of that name loses it."""
    db.execute(
        "insert into files (path, artifact_id, placed_at) values (?, (select id from artifacts"
        " where attempt_id = ? and output_index = ?), ?) on conflict (path) do update set"
        " artifact_id = excluded.artifact_id, placed_at = excluded.placed_at,"
        " superseded_at = null",
        [path, attempt_id, index, at],
    )


def forget(db: Connection, attempt_id: int, lost: Sequence[int]) -> None:
    """Remove all names of these outputs."""
    for index in lost:
        db.execute(
            "delete from files where artifact_id = (select id from artifacts"
            " where attempt_id = ? and output_index = ?)",
            [attempt_id, index],
        )


def supersede(db: Connection, path: str, kept_as: str, at: str) -> None:
    """Store that the file at `path` is also kept at `kept_as`; it is about to be replaced."""
    db.execute(
        "insert into files (path, artifact_id, placed_at, superseded_at)"
        " select ?, artifact_id, placed_at, ? from files where path = ?"
        " on conflict (path) do nothing",
        [kept_as, at, path],
    )


def forget_all(db: Connection, attempt_id: int) -> None:
    """Remove all names of all outputs of an attempt."""
    artifacts = "select id from artifacts where attempt_id = ?"
    db.execute(f"delete from files where artifact_id in ({artifacts})", [attempt_id])  # noqa: S608
