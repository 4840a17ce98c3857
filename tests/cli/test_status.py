"""`status` and `list` read the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import Workspace, run_command
from support.engine import make_jobs
from support.ledger import intend, opened

from kling_batch.emulator import Fault


def test_list_and_status_read_the_ledger(workspace: Workspace) -> None:
    workspace.run()

    rows = [json.loads(line) for line in workspace.invoke("list", "--json").splitlines()]

    assert [row["state"] for row in rows] == ["succeeded", "succeeded"]
    assert workspace.invoke("list", "--state", "failed") == ""
    assert json.loads(workspace.invoke("status", "--json"))["charged_usd"] == pytest.approx(0.056)


def test_status_counts_by_state_and_by_kind(workspace: Workspace) -> None:
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error="internal_error", prompt="first")
    )
    workspace.run(code=1)

    told = json.loads(workspace.invoke("status", "--json"))

    assert {word: n for word, n in told["counts"].items() if n} == {"done": 1, "failed": 1}
    assert told["kinds"] == [
        {"mode": "text-to-image", "tier": "pro", "counts": {"done": 1, "failed": 1}}
    ]
    assert [group["example"] for group in told["failures"]] == ["one"]
    assert (told["last_run"]["exit_code"], told["oldest_open_at"]) == (1, None)
    assert {row["status"] for row in told["jobs"]} == {"done", "failed"}
    assert len(json.loads(workspace.invoke("status", "--json", "--limit", "1"))["jobs"]) == 1


def test_what_needs_a_person_stands_first(workspace: Workspace) -> None:
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error="internal_error", prompt="second")
    )
    workspace.run(code=1)

    lines = workspace.invoke("status").splitlines()

    assert "outputs/ledger.db, the emulator's, at " in lines[0]
    assert [line.split()[:2] for line in lines[2:4]] == [["failed", "two"], ["done", "one"]]
    assert lines[-1].startswith("1 done, 1 failed; would have cost $0.03 on fal")
    assert "and 1 more; see: kling-batch list" in workspace.invoke("status", "--limit", "1")


def test_status_tells_of_a_run_that_has_not_ended(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        intend(ledger, make_jobs(1)[0])
        told = run_command("status", "-o", ".", cwd=tmp_path).stdout

    assert "; run 1 began " in told
    assert " and has not ended" in told
    assert "The oldest open request was sent " in told
    assert "1 in doubt" in told


def test_watching_takes_no_lock_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    """On a pipe a line for each change, and no drawing."""
    jobs = make_jobs(2)
    with opened(tmp_path / "ledger.db", jobs=jobs) as ledger:
        steps = iter([lambda: intend(ledger, jobs[0]), lambda: None])

        def pause(_: float) -> None:
            step = next(steps, None)
            if step is None:
                raise KeyboardInterrupt
            step()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.sleep", pause)
            done = run_command("status", "-o", ".", "--watch", cwd=tmp_path)

    assert done.returncode == 130
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.partition("Z ")[2].partition(";")[0] for line in lines] == [
        "2 waiting",
        "1 waiting, 1 in doubt",
    ]


def test_watching_is_for_people(workspace: Workspace) -> None:
    assert "--watch is for people" in workspace.invoke("status", "--watch", "--json", code=2)
