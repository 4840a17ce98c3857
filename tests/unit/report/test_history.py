"""The history of one job, for people and for machines, as the ledger has it."""

from __future__ import annotations

from pathlib import Path

from support.engine import Rig, make_job

from kling_batch.core.jobs import Job
from kling_batch.emulator import Fault
from kling_batch.ledger.names import find
from kling_batch.report.history import as_data, history, why


def lines_of(rig: Rig, job: Job) -> list[str]:
    with rig.ledger() as ledger:
        return history(ledger, find(ledger, job.label))


def test_every_attempt_is_listed_with_its_end_and_its_money(tmp_path: Path) -> None:
    failing = Fault(stage="job", what="fail", error="internal_error", times=1)
    rig, job = Rig(tmp_path, faults=[failing]), make_job("hero")
    rig.run([job])

    lines = lines_of(rig, job)

    assert lines[0].startswith("hero is done and paid. ")
    named = lines.index("")
    assert lines[named + 1 : named + 4] == ["test/hero", f"  {job.endpoint}", f"  key {job.key}"]
    attempts = [line for line in lines if line.startswith("attempt ")]
    assert len(attempts) == 2
    assert attempts[0] == "attempt 1: failed, would have cost nothing"
    assert attempts[1].startswith("attempt 2: done, $0.42")
    requests = [request.request_id for request in rig.world.books.accepted]
    assert all(any(request_id in line for line in lines) for request_id in requests)
    assert any("test/hero.mp4" in line for line in lines)


def test_machines_get_the_same_attempts_events_and_files(tmp_path: Path) -> None:
    rig, job = Rig(tmp_path), make_job("hero")
    rig.run([job])

    with rig.ledger() as ledger:
        data = as_data(ledger, find(ledger, "hero"))

    (attempt,) = data["attempts"]
    assert (data["status"], attempt["status"]) == ("done", "done")
    assert data["key"] == job.key
    assert data["arguments"] == job.arguments
    assert attempt["state"] == "succeeded"
    assert attempt["request_id"] == rig.world.books.accepted[0].request_id
    assert attempt["files"] == ["test/hero.mp4"]
    assert [event["event"] for event in attempt["events"]][:2] == [
        "submit_intended",
        "submit_accepted",
    ]


def test_a_job_that_was_edited_says_what_changed(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.run([make_job("hero", prompt="old")])
    rig.run([make_job("hero", prompt="new")])

    with rig.ledger() as ledger:
        lines = why(ledger, find(ledger, "hero"))

    assert "done and paid" in lines[0]
    assert lines[-1].strip() == "prompt: 'old' → 'new'"
