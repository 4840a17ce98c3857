"""`retry` and `reroll`: a person allows one more payment."""

from __future__ import annotations

import pytest
from support.books import paid_once
from support.cli import EDITED, ONE, POLICY, Workspace, key_of

from kling_batch.emulator import Fault


def test_retry_allows_one_more_payment_of_a_failed_job(workspace: Workspace) -> None:
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error="content_policy_violation", prompt="first", times=1)
    )
    workspace.run(code=1)
    workspace.run(code=1)
    assert len(workspace.world.books.accepted) == 2

    workspace.invoke("retry", "one")
    workspace.run()

    assert len(workspace.world.books.accepted) == 3
    assert workspace.pictures() == ["one.png", "two.png"]


def test_reroll_pays_for_one_more_take_and_keeps_the_first(workspace: Workspace) -> None:
    workspace.run()

    workspace.invoke("reroll", "one")
    workspace.run()
    workspace.run()

    assert workspace.pictures() == ["one-t2.png", "one.png", "two.png"]
    assert sorted(workspace.world.books.charges().values()) == [1, 2]


@pytest.mark.parametrize("by_key", [False, True])
def test_reroll_of_what_left_the_manifest_is_refused_and_nothing_is_paid(
    workspace: Workspace, by_key: bool
) -> None:
    workspace.run()
    workspace.put(EDITED)
    workspace.run()
    key = key_of(workspace, "the first")

    told = workspace.invoke("reroll", key if by_key else f"one@{key[3:11]}", code=2)

    assert "in no manifest any more" in told
    workspace.run()
    paid_once(workspace, 3)


def test_retry_of_two_names_of_one_undelivered_render_allows_one_payment(
    workspace: Workspace,
) -> None:
    workspace.put(ONE + "  - {id: same, prompt: the first}\n")
    workspace.world.faults.add(Fault(stage="download", what="status", status=503))
    workspace.run("--timeout", "3s", code=6)

    told = workspace.invoke("retry", "one", "same")

    assert len(told.splitlines()) == 1
    workspace.world.faults.clear()
    workspace.run()
    workspace.run()
    assert len(workspace.world.books.accepted) == 2
    assert workspace.pictures() == ["one.png", "same.png"]


def test_a_retry_that_is_refused_grants_nothing(workspace: Workspace) -> None:
    workspace.world.faults.add(POLICY)
    workspace.run(code=1)
    workspace.invoke("retry", "one", "two", code=2)
    paid = len(workspace.world.books.accepted)
    workspace.run(code=1)
    assert len(workspace.world.books.accepted) == paid


def test_retry_of_what_left_the_manifest_promises_no_payment(workspace: Workspace) -> None:
    workspace.world.faults.add(POLICY)
    workspace.run(code=1)
    workspace.put(EDITED)
    workspace.run()
    told = workspace.invoke("retry", f"one@{key_of(workspace, 'the first')[3:11]}", code=2)
    assert "in no manifest any more" in told
