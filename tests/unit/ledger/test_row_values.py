"""Values in a ledger that no version of this program wrote."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.engine import make_job, make_jobs
from support.ledger import failure, handle, intend, opened, rendered

from kling_batch.core.lifecycle import SETTLED, Event, State
from kling_batch.errors import LedgerError
from kling_batch.ledger import everything, names, queries
from kling_batch.ledger.job_list import job_status
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.spending import latencies

Read = Callable[[Reader], object]
KEYS = [job.key for job in make_jobs(2)]


def attempts(reader: Reader) -> object:
    return reader.attempts_in(State.RENDERED, *SETTLED)


@pytest.fixture(scope="module")
def ledger_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One render whose file is still to come, and one that fal refused."""
    path = tmp_path_factory.mktemp("foreign") / "ledger.db"
    with opened(path) as ledger:
        first, second = make_jobs(2)
        rendered(ledger, first)
        number = intend(ledger, second)
        ledger.record(number, Event.SUBMIT_ACCEPTED, handle=handle("r-x"))
        ledger.record(number, Event.REMOTE_FAILED, failure=failure())
    return path


def changed(ledger_file: Path, path: Path, column: str, value: Any) -> Path:
    """A copy of the ledger in which another program has set a column."""
    table, _, name = column.partition(".")
    with closing(sqlite3.connect(ledger_file)) as db, closing(sqlite3.connect(path)) as copy:
        db.backup(copy)
        copy.execute("pragma ignore_check_constraints = on")
        copy.execute("drop trigger events_are_final")
        copy.execute(f"update {table} set {name} = ?", [value])
        copy.commit()
    return path


@pytest.mark.parametrize(
    ("column", "value", "read"),
    [
        ("attempts.state", "paused", lambda r: r.standings()),
        ("attempts.state", "paused", lambda r: list(job_status(r))),
        ("attempts.state", "paused", queries.named_renders),
        ("attempts.charged", "perhaps", attempts),
        ("attempts.failure", "1", attempts),
        ("attempts.failure", '{"kind": "tired", "message": "", "charged": "no"}', attempts),
        ("attempts.failure", '{"kind": "invalid"}', lambda r: r.standings()),
        pytest.param("attempts.payload", "[" * 10_000 + "]" * 10_000, attempts, id="deep"),
        pytest.param("attempts.output", "9" * 5000, attempts, id="long number"),
        ("attempts.intended_at", "yesterday", attempts),
        ("attempts.intended_at", "2026-11-27", lambda r: queries.job_totals(r, KEYS)),
        ("attempts.submitted_at", "2026-11-27T10:00:00", attempts),
        ("attempts.rendered_at", "", queries.named_renders),
        ("jobs.arguments", "[1]", queries.named_renders),
        ("jobs.arguments", "[1]", names.all_named),
        ("jobs.arguments", "half of i", lambda r: queries.render_of(r, KEYS[0])),
        ("events.data", "no", lambda r: queries.events_of(r, 1)),
        ("runs.batches", "no", lambda r: list(everything.records(r))),
    ],
)
def test_a_foreign_value_is_an_error_of_the_ledger(
    ledger_file: Path, tmp_path: Path, column: str, value: str, read: Read
) -> None:
    with Reader.open(ledger_file) as reader:
        read(reader)
    with (
        Reader.open(changed(ledger_file, tmp_path / "other.db", column, value)) as reader,
        pytest.raises(LedgerError, match=r"other\.db: .* no kling-batch writes .* put a copy back"),
    ):
        read(reader)


@pytest.mark.parametrize("moment", ["yesterday", "2999-12-31T00:00:00.000Z"])
@pytest.mark.parametrize(
    "read",
    [lambda r: r.typical_seconds(), lambda r: list(r.services()), latencies],
)
def test_a_render_whose_time_is_none_or_before_its_submission_is_not_measured(
    ledger_file: Path, tmp_path: Path, read: Read, moment: str
) -> None:
    with Reader.open(ledger_file) as reader:
        assert read(reader)
    path = changed(ledger_file, tmp_path / "other.db", "attempts.submitted_at", moment)
    with Reader.open(path) as reader:
        assert not read(reader)


def test_a_prompt_of_an_endpoint_job_may_be_a_number(tmp_path: Path) -> None:
    job = make_job("one")._replace(arguments={"prompt": 1.5})
    with opened(tmp_path / "ledger.db", jobs=[job]) as ledger:
        (row,) = job_status(ledger)
    assert row.prompt == "1.5"
