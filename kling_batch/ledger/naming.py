"""What people call the ledger's jobs: writing down names, and retiring those that mean others now.

Called by the ledger alone, inside its transaction. Must not touch attempts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlite_utils import Database

from kling_batch.core.jobs import Batch
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.rows import job_row, name_row, names_digest

_DIGEST = (
    "insert into registered (batch, digest) values (?, ?)"
    " on conflict (batch) do update set digest = excluded.digest"
)
_JOB = (
    "insert into jobs (key, endpoint, mode, tier, take, arguments, first_seen_at)"
    " values (?, ?, ?, ?, ?, ?, ?) on conflict (key) do nothing"
)
_RETIRE = (
    "update names set retired_at = ? where batch = ? and job_id = ? and take = ?"
    " and retired_at is null"
)
_NAME = (
    "insert into names (batch, job_id, take, job_key, path, estimate_micro_usd, place, named_at)"
    " values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set retired_at = null,"
    " path = excluded.path, named_at = excluded.named_at, place = excluded.place,"
    " estimate_micro_usd = excluded.estimate_micro_usd"
)


def write_names(
    reader: Reader,
    batch: Batch,
    *,
    whole: bool,
    at: str,
    transaction: Callable[[], AbstractContextManager[Database]],
) -> None:
    """Every job of the batch under its name; only what is new since the last time."""
    digest = names_digest(batch.jobs) if whole else ""
    if digest and digest == reader.registered(batch.name):
        return
    current = reader.current_names(batch.name)
    wanted = {(job.id, job.take): job for job in batch.jobs}
    fresh = [j for name, j in wanted.items() if current.get(name) != (j.key, j.path, j.estimate)]
    gone = [name for name in current if whole and name not in wanted]
    retired = [*gone, *((job.id, job.take) for job in fresh)]
    with transaction() as db:
        db.execute(_DIGEST, [batch.name, digest])
        db.conn.executemany(_JOB, (job_row(job, at) for job in fresh))
        db.conn.executemany(_RETIRE, ([at, batch.name, *name] for name in retired))
        db.conn.executemany(_NAME, (name_row(batch.name, job, at) for job in fresh))
