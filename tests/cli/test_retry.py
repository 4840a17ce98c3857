"""`retry` and `reroll`: a person allows one more payment."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from support.books import paid_once
from support.cli import EDITED, ONE, POLICY, Workspace, key_of

from kling_batch.emulator import Fault
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.overrides import grant_take


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


TAKES = ONE.replace("{id: one", "{takes: 4, id: one")


def test_reroll_pays_for_one_take_alone_also_where_the_job_had_more(workspace: Workspace) -> None:
    """Of the former prompt there were four; of the present one there is one."""
    workspace.put(TAKES)
    workspace.run()
    workspace.put(ONE.replace("the first", "the first but better"))
    workspace.run()
    assert len(workspace.world.books.accepted) == 5

    told = workspace.invoke("reroll", "one")
    workspace.run()

    assert "pays for take 2" in told
    assert len(workspace.world.books.accepted) == 6


@pytest.mark.parametrize(("limit", "take"), [([], 5), (["--limit", "1"], 2)])
def test_reroll_of_a_job_with_fewer_takes_than_before_is_the_first_never_tried(
    workspace: Workspace, limit: list[str], take: int
) -> None:
    workspace.put(TAKES)
    workspace.run(*limit)
    workspace.put(ONE)
    workspace.run()

    told = workspace.invoke("reroll", "one")
    workspace.run()

    assert f"pays for take {take}" in told
    assert len(workspace.world.books.accepted) == take


def test_takes_of_a_former_prompt_are_not_paid_for_again(workspace: Workspace) -> None:
    workspace.put(ONE)
    workspace.run()
    workspace.invoke("reroll", "one")
    workspace.run()
    assert len(workspace.world.books.accepted) == 2

    workspace.put(ONE.replace("the first", "the first but better"))
    workspace.run()

    assert len(workspace.world.books.accepted) == 3


def test_reroll_of_a_dependant_counts_after_another_pick(workspace: Workspace) -> None:
    """Its key changes with the pick, and so it is another render."""
    text = ONE.replace("{id: one", "{takes: 2, id: one")
    clip = "{id: clip, mode: image-to-video, image_url: {job: one, take: picked}, prompt: z}"
    workspace.put(f"{text}  - {clip}\n")
    workspace.run()
    workspace.invoke("verdict", "one", "pick")
    workspace.run()
    workspace.invoke("reroll", "clip")
    workspace.run()
    assert len(workspace.world.books.accepted) == 4
    workspace.run()
    assert len(workspace.world.books.accepted) == 4

    workspace.invoke("verdict", "one#2", "pick")
    workspace.run()

    assert len(workspace.world.books.accepted) == 5


def test_reroll_of_a_single_shot_names_its_own_option_and_its_cap_holds(
    workspace: Workspace,
) -> None:
    words = ["generate", "-p", "waves", "--emulator-url", workspace.url]
    workspace.invoke(*words)
    name = json.loads(workspace.invoke("list", "--json"))["job_id"]

    told = workspace.invoke("reroll", name, code=2)

    assert "with --take 2 pays for another take" in told
    assert "already paid for" in workspace.invoke(*words)
    assert len(workspace.world.books.accepted) == 1


def test_a_single_shot_pays_for_no_other_take(workspace: Workspace) -> None:
    """Also where an older program has granted one."""
    words = ["generate", "-p", "waves", "--emulator-url", workspace.url]
    workspace.invoke(*words)
    job = json.loads(workspace.invoke("list", "--json"))
    path = workspace.folder / "outputs/ledger.db"
    with Ledger(path, service="emulator", now=lambda: datetime.now(UTC)) as ledger:
        grant_take(ledger, job["batch"], job["job_id"])

    workspace.invoke(*words)

    assert len(workspace.world.books.accepted) == 1


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
