"""Opening old, new, foreign and broken ledgers: upgraded whole, or refused and left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.ledger_v1 import JOBS, LEDGER, SCHEMA, schema

from kling_batch.core.jobs import job_key
from kling_batch.core.lifecycle import LIVE_OR_PAID, TRANSITIONS, Event, State
from kling_batch.errors import LedgerError
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.migrations import APPLICATION_ID, migrations
from kling_batch.ledger.reader import Reader


def now() -> datetime:
    return datetime(2026, 6, 1, tzinfo=UTC)


def opened(path: Path) -> Ledger:
    return Ledger(path, service="fal", now=now)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of a ledger that the first release wrote."""
    path = tmp_path / "ledger.db"
    shutil.copy(LEDGER, path)
    return path


def dump(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as db:
        db.row_factory = sqlite3.Row
        names = [n for (n,) in db.execute("select name from sqlite_master where type = 'table'")]
        return {
            name: [dict(row) for row in db.execute(f"select * from {name} order by rowid")]
            for name in names
        }


# -- the schema --------------------------------------------------------------------------------


def test_a_fresh_ledger_has_exactly_the_schema_that_is_written_down(tmp_path: Path) -> None:
    """A change of the schema is a migration, and shows in the diff of `ledger-schema.sql`."""
    path = tmp_path / "ledger.db"
    opened(path).close()
    if os.environ.get("UPDATE_DOCS"):
        SCHEMA.write_text(schema(path), encoding="utf-8")

    assert schema(path) == SCHEMA.read_text("utf-8")


def test_every_table_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        tables = list(
            ledger.db.query("select name, strict from pragma_table_list where type='table'")
        )

    loose = {row["name"] for row in tables if not row["strict"]}
    assert loose <= {"_sqlite_migrations", "sqlite_schema", "sqlite_temp_schema"}


def test_migrations_are_numbered_and_only_added_to_the_end(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        names = [migration.name for migration in migrations.applied(ledger.db)]

    assert names[0] == "m001_first_ledger"
    assert [int(name[1:4]) for name in names] == list(range(1, len(names) + 1))


# -- an old ledger -----------------------------------------------------------------------------


def test_an_old_ledger_gets_the_schema_of_a_fresh_one(old: Path, tmp_path: Path) -> None:
    opened(old).close()
    opened(tmp_path / "fresh.db").close()

    assert schema(old) == schema(tmp_path / "fresh.db")


def test_an_old_ledger_keeps_every_row(old: Path) -> None:
    before = dump(LEDGER)

    opened(old).close()

    after = dump(old)
    for table, rows in before.items():
        kept = [{name: row[name] for name in rows[0]} for row in after[table]] if rows else []
        assert kept[: len(rows)] == rows, table


def test_an_old_ledger_still_says_what_was_paid_for(old: Path) -> None:
    with opened(old) as ledger:
        for row in ledger.db.query("select * from jobs"):
            plain = json.loads(row["arguments"])
            if "$output" not in row["arguments"] and "$file" not in row["arguments"]:
                assert job_key(row["endpoint"], plain, row["take"]) == row["key"]
        keys = {row["key"] for row in ledger.db.query("select key from jobs")}
        assert keys == {job.key for job in JOBS}


def test_an_old_ledger_still_adds_up(old: Path) -> None:
    """Each attempt's events lead from nothing to its state; money is the sum of what they say."""
    with opened(old) as ledger:
        attempts = ledger.attempts_in(*State)
        for attempt in attempts:
            at: State | None = None
            events = ledger.db.query(
                "select event, from_state, to_state from events where attempt_id = ? order by id",
                [attempt.id],
            )
            for event in events:
                assert event["from_state"] == at
                at = TRANSITIONS[at, Event(event["event"])]
                assert event["to_state"] == at
            assert at is attempt.state
        money = ledger.money()
        charged = sum(
            a.estimate if a.cost is None else a.cost
            for a in attempts
            if a.state in (State.RENDERED, State.SUCCEEDED) or a.charged == "yes"
        )
        exposed = sum(
            a.estimate
            for a in attempts
            if a.state in (State.SUBMITTING, State.IN_DOUBT, State.SUBMITTED)
            or (a.state in (State.FAILED, State.CANCELLED) and a.charged == "unknown")
        )
        assert (money.charged, money.exposed) == (charged, exposed)
        assert min(money.charged, money.exposed) > 0
        assert {a.state for a in attempts} == set(State)


def test_an_old_ledger_still_forbids_a_second_payment(old: Path) -> None:
    with opened(old) as ledger:
        standings = ledger.standings()
        for job in JOBS:
            standing = standings.get(job.key)
            if standing is not None and standing.state in LIVE_OR_PAID:
                with pytest.raises(LedgerError, match="refusing to pay again"):
                    ledger.intend(job, {}, tries=1)


@pytest.mark.parametrize("view", ["attempt_money", "spend", "job_status", "failures"])
def test_anybody_can_read_an_old_ledger_with_plain_sqlite(old: Path, view: str) -> None:
    opened(old).close()

    with closing(sqlite3.connect(old)) as db:
        assert db.execute(f"select * from {view}").fetchall()


def test_a_reader_reads_an_old_ledger_and_changes_nothing(old: Path) -> None:
    before = old.read_bytes()

    with Reader.open(old) as reader:
        assert len(reader.standings()) == len(JOBS) - 1

    assert old.read_bytes() == before


def test_opening_again_changes_nothing(old: Path) -> None:
    opened(old).close()
    once = dump(old)

    opened(old).close()

    assert dump(old) == once


# -- half an upgrade ---------------------------------------------------------------------------

KILLED = """
import os, signal, sqlite3, sys
from sqlite_utils import Database
from kling_batch.ledger.migrations import migrations

path, statements = sys.argv[1], int(sys.argv[2])
connection = sqlite3.connect(path)
connection.execute("pragma journal_mode = wal")
connection.execute("pragma synchronous = full")
seen = 0

def count(_):
    global seen
    seen += 1
    if seen > statements:
        os.kill(os.getpid(), signal.SIGKILL)

connection.set_trace_callback(count)
migrations.apply(Database(connection, execute_plugins=False))
"""


@pytest.mark.parametrize("statements", [0, 2, 4, 7, 12, 20, 30, 38])
def test_a_migration_that_was_killed_is_done_whole_by_the_next_run(
    tmp_path: Path, statements: int
) -> None:
    path = tmp_path / "ledger.db"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, path, str(statements)], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    with opened(path) as ledger:
        assert ledger.db.execute("pragma integrity_check").fetchone()[0] == "ok"
    assert schema(path) == SCHEMA.read_text("utf-8")


def test_an_empty_file_is_a_ledger_that_was_only_just_begun(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch()

    with pytest.raises(LedgerError, match="next `run`"):
        Reader.open(path)
    opened(path).close()

    assert schema(path) == SCHEMA.read_text("utf-8")


# -- not ours ----------------------------------------------------------------------------------


def refused(path: Path, words: str) -> None:
    """SafeStream and reader alike say so, and the file stays as it is."""
    before = path.read_bytes()
    for attempt in (opened, Reader.open):
        with pytest.raises(LedgerError, match=words) as caught:
            attempt(path).close()
        assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def altered(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.execute("pragma wal_checkpoint(truncate)")
        db.execute("pragma journal_mode = delete")


def test_a_ledger_of_a_newer_program_is_refused(old: Path) -> None:
    altered(
        old,
        "insert into _sqlite_migrations (migration_set, name, applied_at)"
        " values ('kling_batch', 'm999_next_year', 'now')",
    )

    refused(old, "newer kling-batch.*m999_next_year")


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    altered(path, "create table notes (text)", "insert into notes values ('precious')")

    refused(path, "not a kling-batch ledger")


def test_another_programs_database_with_migrations_of_its_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    altered(
        path,
        "create table _sqlite_migrations (id integer primary key, migration_set text, name text,"
        " applied_at text)",
        "insert into _sqlite_migrations values (1, 'llm', 'm001_initial', 'now')",
        "create table responses (id text)",
    )

    refused(path, "not a kling-batch ledger")


def test_a_database_that_says_it_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    altered(path, f"pragma application_id = {APPLICATION_ID + 1}", "create table x (y)")

    refused(path, "not a kling-batch ledger")


@pytest.mark.parametrize("length", [50, 99, 100, 4095, 4096, 8192, 50_000, 120_000])
def test_a_truncated_ledger_is_refused_and_left_alone(old: Path, length: int) -> None:
    data = old.read_bytes()
    assert length < len(data)
    old.write_bytes(data[:length])

    with pytest.raises(LedgerError) as caught:
        opened(old).close()

    assert "damaged" in str(caught.value)
    assert old.read_bytes() == data[:length]


@pytest.mark.parametrize("page", [1, 2, 5, 11, 20, 30])
def test_a_page_of_noise_is_noticed_before_anything_is_paid(old: Path, page: int) -> None:
    data = bytearray(old.read_bytes())
    data[page * 4096 : page * 4096 + 2048] = b"\xa5" * 2048
    old.write_bytes(data)

    with pytest.raises(LedgerError, match="damaged"):
        opened(old).close()


@pytest.mark.parametrize("content", [b"notes\n" * 1000, b"\0" * 5000, b"SQLite format 4\0" * 400])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)

    refused(path, "damaged")
