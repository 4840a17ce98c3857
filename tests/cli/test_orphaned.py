"""Requests whose jobs left the manifest while open or in doubt: collected, never bought again."""

from __future__ import annotations

import json

import pytest
from support.books import paid_once
from support.cli import HEAD, HERO, OTHER, POLICY, Workspace

from kling_batch.emulator import Fault


def left(empty_workspace: Workspace, *faults: Fault) -> None:
    """`hero` is bought, and has left the manifest before it is collected."""
    empty_workspace.world.faults.add(*faults)
    empty_workspace.write(HERO)
    empty_workspace.run("--detach", code=6)
    empty_workspace.write(OTHER)


@pytest.mark.parametrize("error", ["content_policy_violation", "internal_error"])
def test_a_failed_orphaned_job_is_no_reason_to_type_anything(
    empty_workspace: Workspace, error: str
) -> None:
    left(empty_workspace, Fault(stage="job", what="fail", error=error, prompt="first"))
    told = empty_workspace.run(code=1)
    assert "Next:" not in told


def test_a_failed_orphaned_job_points_at_nobody_elses_prompt(empty_workspace: Workspace) -> None:
    left(empty_workspace, POLICY)
    assert "[m.yaml" not in empty_workspace.run(code=1)


def test_a_reviewed_plan_fits_beside_an_open_orphaned_job(empty_workspace: Workspace) -> None:
    empty_workspace.world.settings.profile = "realistic"
    left(empty_workspace)
    empty_workspace.plan("--save", "plan.json")
    told = empty_workspace.run("--plan", "plan.json", "--timeout", "3s", code=6)
    assert "no longer fits" not in told


def test_resolve_of_an_orphaned_job_does_not_promise_to_send_it(empty_workspace: Workspace) -> None:
    empty_workspace.world.settings.list_allowed = False
    empty_workspace.world.faults.add(Fault(stage="submit.before", what="reset", prompt="first"))
    empty_workspace.write(HERO)
    empty_workspace.run(code=5)
    mark = empty_workspace.open_key()[3:11]
    empty_workspace.write(OTHER)
    empty_workspace.run(code=5)
    told = empty_workspace.invoke("resolve", f"hero@{mark}", "--not-submitted")
    assert "the next run sends it" not in told


def test_an_edited_job_leaves_its_request_to_be_collected_beside_its_successor(
    empty_workspace: Workspace,
) -> None:
    empty_workspace.write(HERO)
    empty_workspace.run("--detach", code=6)
    mark = empty_workspace.open_key()[3:11]
    empty_workspace.write(HERO.replace("first", "changed"))

    told = empty_workspace.plan()
    empty_workspace.run()

    assert f"hero@{mark}: no longer in the manifest; in flight at fal" in told
    assert empty_workspace.pictures() == [f"hero.{mark}.png", "hero.png"]
    paid_once(empty_workspace, 2)
    assert "nothing to do" in empty_workspace.run()
    assert "everything fits" in empty_workspace.invoke("verify")


def test_a_job_that_was_taken_out_leaves_its_request_to_be_collected(
    empty_workspace: Workspace,
) -> None:
    empty_workspace.write(HERO, OTHER)
    empty_workspace.run("--detach", code=6)
    empty_workspace.write(OTHER)

    empty_workspace.run()

    assert empty_workspace.pictures() == ["hero.png", "other.png"]
    paid_once(empty_workspace, 2)


def test_a_selection_leaves_the_rest_alone(empty_workspace: Workspace) -> None:
    empty_workspace.write(HERO, OTHER)
    empty_workspace.run("--detach", "--only", "hero", code=6)
    empty_workspace.write(OTHER, "  - {id: third, prompt: third}\n")

    empty_workspace.run("--only", "third")

    assert empty_workspace.pictures() == ["third.png"]
    empty_workspace.run()
    assert empty_workspace.pictures() == ["hero.png", "other.png", "third.png"]


@pytest.mark.parametrize("registered", [False, True])
def test_it_can_be_named_listed_and_cancelled(empty_workspace: Workspace, registered: bool) -> None:
    empty_workspace.world.settings.profile = "demo"
    empty_workspace.world.settings.concurrency = 0
    empty_workspace.write(HERO)
    empty_workspace.run("--detach", code=6)
    key = empty_workspace.open_key()
    name = f"hero@{key[3:11]}" if registered else "hero"
    empty_workspace.write(HERO.replace("first", "changed"))
    if registered:
        empty_workspace.run("--detach", code=6)

    assert any(
        row["job_id"] == name
        for row in json.loads(empty_workspace.invoke("status", "--json"))["jobs"]
    )
    assert name in empty_workspace.invoke("status")
    for word in (name, key):
        assert "first" in empty_workspace.invoke("show", word)
    told = empty_workspace.invoke(
        "cancel", "--all" if registered else name, "--emulator-url", empty_workspace.url
    )
    assert f"{name}: asked (202)" in told
    assert told.count("asked (202)") == 1 + registered


def test_its_doubt_is_looked_up_reported_and_resolved_by_its_name(
    empty_workspace: Workspace,
) -> None:
    empty_workspace.world.settings.list_allowed = False
    empty_workspace.world.faults.add(Fault(stage="submit.after", what="reset", times=1))
    empty_workspace.write(HERO)
    empty_workspace.run(code=5)
    mark = empty_workspace.open_key()[3:11]
    empty_workspace.write(HERO.replace("first", "changed"))

    told = empty_workspace.run(code=5)

    assert f"kling-batch resolve hero@{mark}" in told
    lost = next(r for r in empty_workspace.world.books.accepted if r.prompt == "first")
    empty_workspace.invoke("resolve", f"hero@{mark}", "--request-id", lost.request_id)
    empty_workspace.run()
    assert empty_workspace.pictures() == [f"hero.{mark}.png", "hero.png"]
    paid_once(empty_workspace, 2)


def test_it_is_never_bought_again(empty_workspace: Workspace) -> None:
    """Neither after a failure that a job would be retried for, nor after a silent list."""
    limits = "limits: {doubt_wait: 1s}\n"
    empty_workspace.world.faults.add(
        Fault(stage="submit.before", what="reset", prompt="first"),
        Fault(stage="job", what="fail", error="internal_error", prompt="second"),
    )
    empty_workspace.write(HERO, OTHER)
    empty_workspace.run("--detach", code=5)
    (empty_workspace.folder / "m.yaml").write_text(
        HEAD.replace("jobs:", f"{limits}jobs:") + "  - {id: new, prompt: third}\n"
    )
    posts = len(empty_workspace.world.books.posts)

    empty_workspace.run(code=5)
    empty_workspace.run(code=5)

    assert len(empty_workspace.world.books.posts) == posts + 1
    assert empty_workspace.pictures() == ["new.png"]


def test_a_reviewed_plan_does_not_drift_by_what_is_only_collected(
    empty_workspace: Workspace,
) -> None:
    empty_workspace.write(HERO)
    empty_workspace.run("--detach", code=6)
    empty_workspace.write(HERO.replace("first", "changed"))
    empty_workspace.plan("--save", "plan.json")

    empty_workspace.run("--plan", "plan.json")

    assert len(empty_workspace.pictures()) == 2
