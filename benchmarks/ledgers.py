"""Ledger with many finished jobs, made of one real render by copying its rows.

    python -m benchmarks.ledgers m.yaml OUTPUT --others 1000000

OUTPUT holds the ledger of a run that has rendered the first job of the manifest. Its other jobs
become finished, too, with files, and so do OTHERS jobs of other batches, without files.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from kling_batch.core.jobs import Batch
from kling_batch.ledger.ledger import Ledger
from kling_batch.manifest.loader import load

#: Jobs of a batch among the others.
BATCH = 10_000

#: Where the copies of a row go: column by column, what is not the template's own value.
_COPIES: dict[str, dict[str, str]] = {
    "attempts": {
        "id": "c.n",
        "job_key": "c.job_key",
        "batch": "c.batch",
        "request_id": "printf('%08x-0000-4000-8000-%012x', c.n, c.n)",
    },
    "events": {"id": "null", "attempt_id": "c.n"},
    "artifacts": {"id": "c.n", "attempt_id": "c.n"},
    "files": {"path": "c.file", "artifact_id": "c.n"},
}
_NAMED: dict[str, dict[str, str]] = {
    "jobs": {"key": "c.job_key"},
    "names": {"batch": "c.batch", "job_id": "c.job_id", "job_key": "c.job_key", "path": "c.file"},
}

_OTHERS = f"""
with recursive counted (n) as (select ? union all select n + 1 from counted where n < ?)
insert into copies
select n, 'k1:' || printf('%032x', n), 'other-' || (n / {BATCH}), 'job-' || n,
  'other-' || (n / {BATCH}) || '/job-' || n || '.mp4' from counted
"""


def copy(database: sqlite3.Connection, table: str, changed: dict[str, str]) -> None:
    """One row, or the rows, of the first attempt for each row of `copies`."""
    columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
    values = ", ".join(changed.get(name, f"t.{name}") for name in columns)
    first = {"events": "t.attempt_id = 1"}.get(table, "t.rowid = 1")
    database.execute(
        f"insert into {table} ({', '.join(columns)})"
        f" select {values} from copies c cross join {table} t where {first}"
    )


def fill(ledger: Path, finished: list[tuple[str, str, str, str]], others: int) -> None:
    """Copy the first attempt; indexes are built afterwards, which takes a fraction of the time."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as database:
        for setting in ("journal_mode = off", "synchronous = off", "cache_size = -200000"):
            database.execute(f"pragma {setting}")
        indexes = database.execute(
            "select name, sql from sqlite_master where type = 'index' and sql is not null"
        ).fetchall()
        for name, _ in indexes:
            database.execute(f"drop index {name}")
        database.execute(
            "create temp table copies (n integer primary key, job_key, batch, job_id, file)"
        )
        database.execute("begin")
        rows = [(2 + n, *each) for n, each in enumerate(finished)]
        database.executemany("insert into copies values (?, ?, ?, ?, ?)", rows)
        for table, changed in _COPIES.items():
            copy(database, table, changed)
        database.execute("delete from copies")
        if others:
            start = 2 + len(finished)
            database.execute(_OTHERS, [start, start + others - 1])
            for table, changed in (_NAMED | _COPIES).items():
                copy(database, table, changed)
        database.execute("commit")
        for _, sql in indexes:
            database.execute(sql)
        database.execute("pragma journal_mode = wal")


def finished_of(batch: Batch, output: Path) -> list[tuple[str, str, str, str]]:
    """The jobs after the first, with a copy of its file each."""
    first, *rest = batch.jobs
    source = output / first.output_path(0, ".mp4")
    found: list[tuple[str, str, str, str]] = []
    for job in rest:
        file = job.output_path(0, ".mp4")
        shutil.copyfile(source, output / file)
        found.append((job.key, job.batch, job.id, str(file)))
    return found


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--others", type=int, default=0)
    options = parser.parse_args()
    batch = load(options.manifest)
    path = options.output / "ledger.db"
    with Ledger(path, service="fal", now=lambda: datetime.now(UTC)) as ledger:
        ledger.register(batch)
    fill(path, finished_of(batch, options.output), options.others)


if __name__ == "__main__":
    main()
