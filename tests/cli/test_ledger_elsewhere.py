"""Where everything is new here and paid for elsewhere, `plan` and `run` say so before paying."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.cli import MANIFEST, Workspace


@pytest.fixture(autouse=True)
def _no_list(workspace: Workspace) -> None:
    """What fal lists is collected, not bought: see the tests of recovery."""
    workspace.world.settings.list_allowed = False


def plan(workspace: Workspace, *words: str) -> str:
    return workspace.invoke("plan", "workspace.yaml", "--emulator-url", workspace.url, *words)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("outputs", ("-o", "elsewhere")),
        ("renders", ()),
        (".", ()),
    ],
)
def test_another_folder_that_has_them_is_named(
    workspace: Workspace, there: str, words: tuple[str, ...]
) -> None:
    workspace.run("-o", there)

    told = plan(workspace, *words)

    ledger = (Path(there) / "ledger.db").as_posix()
    assert f"warning: {ledger} has 2 of 2 jobs" in told
    assert "of an earlier trial; this run would render them again, for nothing. To go" in told
    assert f"--output {there}" in told
    assert "has the job of an earlier trial; this run would render it again" in workspace.run(
        "--limit", "1", *words
    )
    assert "nothing to do" in workspace.run("-o", there)


def test_what_fal_was_paid_for_would_be_paid_for_again(workspace: Workspace) -> None:
    workspace.run("-o", "there")
    with closing(sqlite3.connect(workspace.folder / "there/ledger.db")) as db, db:
        db.execute("update ledger set service = 'fal'")

    told = workspace.invoke("plan", "workspace.yaml")

    assert "there/ledger.db has 2 of 2 jobs to pay for; this run would pay for them again" in told
    assert "earlier trial" not in told


def test_a_new_output_in_the_manifest_is_noticed(workspace: Workspace) -> None:
    workspace.run()
    workspace.put(MANIFEST + "output: renders\n")

    assert "outputs/ledger.db has 2 of 2 jobs" in plan(workspace)


def test_a_manifest_that_is_run_from_another_folder_has_its_ledger_beside_it(
    workspace: Workspace,
) -> None:
    workspace.run()
    (workspace.folder / "cwd").mkdir()
    (workspace.folder / "kept").mkdir()
    shutil.move(workspace.folder / "workspace.yaml", workspace.folder / "kept/workspace.yaml")
    shutil.move(workspace.folder / "outputs", workspace.folder / "kept/outputs")

    told = workspace.invoke("plan", "kept/workspace.yaml", "--emulator-url", workspace.url)

    assert "kept/outputs/ledger.db has 2 of 2 jobs" in told


def test_where_something_is_known_or_nothing_is_elsewhere_nothing_is_said(
    workspace: Workspace,
) -> None:
    assert "ledger.db has" not in plan(workspace)
    workspace.run("-o", "renders", "--only", "one")
    workspace.run("--only", "two")
    assert "ledger.db has" not in plan(workspace)
    workspace.put(MANIFEST.replace("the first", "other").replace("the second", "another"))
    assert "ledger.db has" not in plan(workspace, "-o", "third")


def test_an_emulated_ledger_says_nothing_about_a_real_run(workspace: Workspace) -> None:
    workspace.run("-o", "renders")

    assert "ledger.db has" not in workspace.invoke("plan", "workspace.yaml")


def test_what_is_no_ledger_is_passed_over(workspace: Workspace) -> None:
    (workspace.folder / "odd").mkdir()
    (workspace.folder / "odd/ledger.db").write_bytes(b"no database")

    assert "ledger.db has" not in plan(workspace)


def test_machines_get_it_as_an_event(workspace: Workspace) -> None:
    workspace.run("-o", "renders")

    told = workspace.run("--limit", "1", "--json", "--quiet")

    events = [json.loads(line) for line in told.splitlines()]
    assert events[0]["event"] == "started"
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    assert any(
        "renders/ledger.db has the job of an earlier trial" in message for message in warnings
    )
