"""`show` and `why`: the history of one job."""

from __future__ import annotations

import json
import os

import pytest
from support.cli import MANIFEST, ONE, Workspace

from kling_batch.emulator import Fault
from kling_batch.errors import UsageError
from kling_batch.ledger.names import find
from kling_batch.ledger.reader import Reader


@pytest.mark.parametrize("command", ["why", "show"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_job_that_the_manifest_does_not_have(
    workspace: Workspace, command: str, begun: bool
) -> None:
    if begun:
        workspace.run()

    told = workspace.invoke(command, "onne", "workspace.yaml", code=2)

    assert "no job 'onne' in workspace.yaml; did you mean `one`?" in told
    assert "ledger" not in told


def test_a_job_without_a_history_is_said_to_have_none(workspace: Workspace) -> None:
    assert "one has no history yet" in workspace.invoke("show", "one", "workspace.yaml", code=2)


def test_why_and_run_say_the_same_of_a_file_that_may_be_lost(workspace: Workspace) -> None:
    workspace.run()
    next((workspace.folder / "outputs").rglob("one.png")).unlink()

    told = workspace.invoke("why", "one")

    assert "its file is missing: the next run downloads it, which costs nothing" in told
    assert "only `kling-batch retry one` gives it up and pays for another render" in told


def test_show_and_why_tell_the_story(workspace: Workspace) -> None:
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error="internal_error", prompt="first", times=1)
    )
    workspace.run()

    told = workspace.invoke("show", "one")

    assert "attempt 1: failed, would have cost nothing" in told
    assert "attempt 2: done" in told
    assert (
        json.loads(workspace.invoke("show", "one", "--json"))["attempts"][1]["state"] == "succeeded"
    )
    assert "is done and paid" in workspace.invoke("why", "one")

    (workspace.folder / "workspace.yaml").write_text(MANIFEST.replace("the first", "the third"))
    assert "changed: prompt" in workspace.plan()
    workspace.run()
    assert "prompt: 'the first' → 'the third'" in workspace.invoke("why", "one")


def test_what_cannot_be_a_job_is_none(workspace: Workspace) -> None:
    workspace.invoke("run", "workspace.yaml", "--emulator-url", workspace.url, "--limit", "0")
    huge = "one#99999999999999999999"

    for command in ("show", "reroll"):
        assert f"no job '{huge}'" in workspace.invoke(command, huge, code=2)
    assert "no job" in workspace.invoke("why", os.fsdecode(b"one\xff"), code=2)
    with Reader.open(workspace.folder / "outputs/ledger.db") as reader:
        assert find(reader, "one#1").id == "one"
        for take in ("9" * 5000, "0", "", "x", "-1", "2"):
            with pytest.raises(UsageError, match="did you mean 'one'"):
                find(reader, f"one#{take}")


def test_the_story_tells_an_id_that_a_person_gave_from_one_that_was_found(
    workspace: Workspace,
) -> None:
    workspace.put(ONE)
    workspace.world.settings.list_allowed = False
    workspace.world.faults.add(Fault(stage="submit.after", what="reset"))
    workspace.run(code=5)
    (lost,) = workspace.world.books.accepted

    workspace.invoke("resolve", "one", "--request-id", lost.request_id)

    assert f"it is at fal as {lost.request_id}, you said" in workspace.invoke("show", "one")
