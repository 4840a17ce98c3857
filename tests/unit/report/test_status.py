"""One word for each status, the same wherever people read it; raw states for machines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.engine import make_job

from kling_batch.cli.main import cli
from kling_batch.core.jobs import Batch, Job
from kling_batch.core.lifecycle import STATUSES, Event, JobStatus, State, status_of
from kling_batch.core.outcomes import Charged, Failure, FailureKind, Handle
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader
from kling_batch.planning.plan import Action
from kling_batch.report.display.progress import Phase
from kling_batch.report.gallery_entries import entries_from
from kling_batch.report.run_report import JobOutcome

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
FAILURE = Failure(kind=FailureKind.POLICY, message="no", charged=Charged.NO)

#: Word and job id → the state that machines read.
RAW = {
    "waiting": "pending",
    "queued": "submitted",
    "rendering": "submitted",
    "downloading": "rendered",
    "done": "succeeded",
    "failed": "failed",
    "in doubt": "in_doubt",
    "cancelled": "cancelled",
}


def job_id(word: str) -> str:
    return word.replace(" ", "-")


def drive(ledger: Ledger, job: Job, word: str) -> None:
    """Bring a job to the status."""
    if word == "waiting":
        return
    attempt = ledger.intend(job, {}, tries=1)
    assert isinstance(attempt, int)
    if word == "failed":
        ledger.record(attempt, Event.SUBMIT_REFUSED, failure=FAILURE)
        return
    if word == "in doubt":
        ledger.record(attempt, Event.SUBMIT_UNCONFIRMED, reason="lost")
        return
    handle = Handle(request_id=job.id, response_url="r", status_url="s", cancel_url="c")
    ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle)
    if word == "rendering":
        ledger.record(attempt, Event.REMOTE_OBSERVED, remote_status="IN_PROGRESS")
    if word == "cancelled":
        ledger.record(attempt, Event.CANCEL_CONFIRMED, failure=FAILURE)
    if word in ("downloading", "done"):
        ledger.record(attempt, Event.REMOTE_COMPLETED, output={})
    if word == "done":
        ledger.save_artifacts(ledger.attempt(attempt), [])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "ledger.db"
    jobs = {word: make_job(job_id(word)) for word in RAW}
    with Ledger(path, service="emulator", now=lambda: NOW) as ledger:
        ledger.begin_run(command="t", batches=["test"], pid=1, version="0", cap=None)
        ledger.register(Batch(name="test", source="t.yaml", jobs=tuple(jobs.values())))
        for word, job in jobs.items():
            drive(ledger, job, word)
    return path


def text_of(*words: str) -> str:
    result = CliRunner().invoke(cli, words, standalone_mode=False)
    assert result.exception is None
    return result.output


def first_column(text: str) -> dict[str, str]:
    """Job id → what stands before it."""
    found = {}
    for word in RAW:
        (line,) = (line for line in text.splitlines() if f" {job_id(word)} " in f"{line[11:]} ")
        found[word] = line[:11].strip()
    return found


def test_status_and_list_show_the_word(path: Path) -> None:
    ledger = ("--ledger", str(path))
    told = text_of("status", *ledger)

    assert first_column(told) == {word: word for word in RAW}
    assert "1 waiting, 1 queued, 1 rendering, 1 downloading, 1 done, 1 failed" in told
    listed = text_of("list", *ledger).replace("test/", " ")
    assert first_column(listed) == {word: word for word in RAW}


def test_show_and_the_gallery_show_the_word(path: Path) -> None:
    for word in set(RAW) - {"waiting"}:
        assert f"attempt 1: {word}, " in text_of("show", job_id(word), "--ledger", str(path))

    with Reader.open(path) as reader:
        shown = {entry.job: entry.state.value for entry in entries_from(reader)}
    assert shown == {job_id(word): word for word in RAW}


def test_machines_read_the_state(path: Path) -> None:
    rows = map(json.loads, text_of("list", "--json", "--ledger", str(path)).splitlines())

    assert {row["job_id"]: row["state"] for row in rows} == {
        job_id(word): state for word, state in RAW.items()
    }


@pytest.mark.parametrize("asked", ["in doubt", "in_doubt"])
def test_list_finds_a_state_by_either_name(path: Path, asked: str) -> None:
    (line,) = text_of("list", "--state", asked, "--ledger", str(path)).splitlines()

    assert line[:11].strip() == "in doubt"


def test_there_are_nine_words() -> None:
    assert [status.value for status in JobStatus] == [
        *("waiting", "queued", "rendering", "downloading", "done"),
        *("failed", "blocked", "in doubt", "cancelled"),
    ]
    assert set(STATUSES) == set(JobStatus)


def test_everything_that_is_shown_has_a_status() -> None:
    assert {status_of(state) for state in State} | {
        status_of(None),
        status_of(State.SUBMITTED, "IN_PROGRESS"),
    } == set(JobStatus) - {JobStatus.BLOCKED}
    assert all(isinstance(phase.status, JobStatus) for phase in Phase)
    assert all(isinstance(outcome.status, JobStatus) for outcome in JobOutcome)
    assert Action.BLOCKED.value == JobStatus.BLOCKED


@pytest.mark.parametrize("state", [*State])
def test_a_known_remote_status_changes_open_requests_only(state: State) -> None:
    for begun in ("IN_PROGRESS", "COMPLETED"):
        changed = status_of(state, begun) is not status_of(state, "IN_QUEUE")
        assert changed is (state is State.SUBMITTED)
