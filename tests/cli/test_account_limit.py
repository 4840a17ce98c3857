"""`limits.account_max_per_day` as a person meets it: plan, run, refusal, another machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import MANIFEST, Workspace

LIMITED = MANIFEST.replace("defaults:", "limits: {account_max_per_day: 0.05}\ndefaults:")


def other_folder(workspace: Workspace, text: str) -> Workspace:
    """Another machine: a folder and a ledger of its own, the same account."""
    folder: Path = workspace.folder / "elsewhere"
    folder.mkdir()
    other = Workspace(folder, workspace.world, workspace.url, workspace.file)
    other.put(text)
    return other


def test_what_other_machines_were_billed_stops_this_one(workspace: Workspace) -> None:
    workspace.world.settings.admin_keys = frozenset({"none"})
    workspace.run("--only", "one")
    other = other_folder(workspace, LIMITED.replace("the first", "a third"))

    told = other.plan()
    assert "account_max_per_day $0.05: $0.03 billed to the account in 24 hours" in told
    assert "account_max_per_day covers 0 of 2 jobs to pay for" in told
    plan = json.loads(
        other.invoke("plan", other.file, "--emulator-url", other.url, "--json").partition("\nw")[0]
    )
    assert (plan["account_max_per_day_usd"], plan["account_counted_usd"]) == (0.05, 0.028)
    told = other.run(code=4)

    assert len(workspace.world.books.accepted) == 1
    assert "would pass account_max_per_day of $0.05" in told
    assert "a day later, or after raising account_max_per_day" in told


def test_a_render_about_to_be_recovered_is_counted_once(workspace: Workspace) -> None:
    """It is among the bills already: the limit covers one more job beside it."""
    workspace.world.settings.admin_keys = frozenset({"none"})
    workspace.run("--only", "one")
    for path in (workspace.folder / "outputs").glob("ledger.db*"):
        path.unlink()
    workspace.put(LIMITED.replace("0.05", "0.06"))

    told = workspace.plan()

    assert "1 recover" in told
    assert "$0.03 billed to the account in 24 hours, $0.00 out here" in told
    assert "covers" not in told
    workspace.run()
    assert len(workspace.world.books.accepted) == 2


def test_a_key_without_the_right_pays_nothing(workspace: Workspace) -> None:
    workspace.put(LIMITED)

    assert "use an admin key, or remove account_max_per_day" in workspace.plan()
    told = workspace.run("--max-cost", "5", code=3)

    assert not workspace.world.books.accepted
    assert "the key may not read fal's billing events" in told


def test_without_the_right_what_is_open_is_collected(workspace: Workspace) -> None:
    workspace.run("--detach", "--only", "one", code=6)
    workspace.put(LIMITED)

    workspace.run(code=3)

    assert len(workspace.pictures()) == 1
    assert len(workspace.world.books.accepted) == 1


def test_nothing_to_pay_for_asks_for_no_right(workspace: Workspace) -> None:
    workspace.run()
    workspace.put(LIMITED)

    workspace.run()


@pytest.mark.acceptance
def test_an_emulator_inside_the_program_tells_its_bills(workspace: Workspace) -> None:
    workspace.put(LIMITED)

    told = workspace.invoke("run", workspace.file, "--emulator", code=4)

    assert "would pass account_max_per_day" in told


def test_what_another_machine_paid_for_is_found_and_not_bought(workspace: Workspace) -> None:
    workspace.run()
    other = other_folder(workspace, MANIFEST)

    assert "2 recover" in other.plan()
    other.run()

    assert len(other.pictures()) == 2
    assert len(workspace.world.books.accepted) == 2


def test_doctor_says_whether_the_key_may_read_what_was_billed(workspace: Workspace) -> None:
    told = workspace.invoke("doctor", "--emulator-url", workspace.url)
    assert "ok  billing events: not readable" in told
    assert "account_max_per_day need an admin key" in told

    workspace.world.settings.admin_keys = frozenset({"none"})

    assert "billing events: readable" in workspace.invoke("doctor", "--emulator-url", workspace.url)
