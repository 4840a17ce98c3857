"""Rows of verified files and of the names they lie under; inside the ledger's own transactions.

An artifact is a content that was paid for; a file is one name of it. Only `ledger.py` calls these.
Must not commit, and must not touch the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from kling_batch.core.outcomes import Fetched
from kling_batch.ledger.rows import without_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A file that now lies under its final name, as the disk has it."""

    index: int
    path: str
    fetched: Fetched
    url: str


def save(db: Database, attempt_id: int, placed: Sequence[Placed], at: str) -> None:
    """Artifacts and their names; one that is saved again keeps its row."""
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


def name(db: Database, attempt_id: int, index: int, path: str, at: str) -> None:
    """One more name of an artifact; whatever had that name before has it no longer."""
    db.execute(
        "insert into files (path, artifact_id, placed_at) values (?, (select id from artifacts"
        " where attempt_id = ? and output_index = ?), ?) on conflict (path) do update set"
        " artifact_id = excluded.artifact_id, placed_at = excluded.placed_at,"
        " superseded_at = null",
        [path, attempt_id, index, at],
    )


def forget(db: Database, attempt_id: int, lost: Sequence[int]) -> None:
    """These outputs lie under none of their names any more."""
    for index in lost:
        db.execute(
            "delete from files where artifact_id = (select id from artifacts"
            " where attempt_id = ? and output_index = ?)",
            [attempt_id, index],
        )


def supersede(db: Database, path: str, kept_as: str, at: str) -> None:
    """What lies at `path` also lies at `kept_as`, and is about to be replaced."""
    db.execute(
        "insert into files (path, artifact_id, placed_at, superseded_at)"
        " select ?, artifact_id, placed_at, ? from files where path = ?"
        " on conflict (path) do nothing",
        [kept_as, at, path],
    )


def forget_all(db: Database, attempt_id: int) -> None:
    """No output of this attempt lies anywhere any more."""
    artifacts = "select id from artifacts where attempt_id = ?"
    db.execute(f"delete from files where artifact_id in ({artifacts})", [attempt_id])  # noqa: S608
