"""Where everything is new here and paid for elsewhere, `plan` and `run` say so before paying."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.cli import MANIFEST, Desk


@pytest.fixture(autouse=True)
def _no_list(desk: Desk) -> None:
    """What fal lists is collected, not bought: see the tests of recovery."""
    desk.world.settings.list_allowed = False


def plan(desk: Desk, *words: str) -> str:
    return desk.say("plan", "desk.yaml", "--emulator-url", desk.url, *words)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("outputs", ("-o", "elsewhere")),
        ("renders", ()),
        (".", ()),
    ],
)
def test_another_folder_that_has_them_is_named(
    desk: Desk, there: str, words: tuple[str, ...]
) -> None:
    desk.run("-o", there)

    told = plan(desk, *words)

    ledger = (Path(there) / "ledger.db").as_posix()
    assert f"warning: {ledger} has 2 of 2 jobs" in told
    assert "would pay for them again" in told
    assert f"--output {there}" in told
    assert "has the job to pay for; this run would pay for it again" in desk.run(
        "--limit", "1", *words
    )
    assert "nothing to do" in desk.run("-o", there)


def test_a_new_output_in_the_manifest_is_noticed(desk: Desk) -> None:
    desk.run()
    desk.put(MANIFEST + "output: renders\n")

    assert "outputs/ledger.db has 2 of 2 jobs" in plan(desk)


def test_a_manifest_that_is_run_from_another_folder_has_its_ledger_beside_it(desk: Desk) -> None:
    desk.run()
    (desk.folder / "cwd").mkdir()
    (desk.folder / "kept").mkdir()
    shutil.move(desk.folder / "desk.yaml", desk.folder / "kept/desk.yaml")
    shutil.move(desk.folder / "outputs", desk.folder / "kept/outputs")

    told = desk.say("plan", "kept/desk.yaml", "--emulator-url", desk.url)

    assert "kept/outputs/ledger.db has 2 of 2 jobs" in told


def test_where_something_is_known_or_nothing_is_elsewhere_nothing_is_said(desk: Desk) -> None:
    assert "ledger.db has" not in plan(desk)
    desk.run("-o", "renders", "--only", "one")
    desk.run("--only", "two")
    assert "ledger.db has" not in plan(desk)
    desk.put(MANIFEST.replace("the first", "other").replace("the second", "another"))
    assert "ledger.db has" not in plan(desk, "-o", "third")


def test_an_emulated_ledger_says_nothing_about_a_real_run(desk: Desk) -> None:
    desk.run("-o", "renders")

    assert "ledger.db has" not in desk.say("plan", "desk.yaml")


def test_what_is_no_ledger_is_passed_over(desk: Desk) -> None:
    (desk.folder / "odd").mkdir()
    (desk.folder / "odd/ledger.db").write_bytes(b"no database")

    assert "ledger.db has" not in plan(desk)


def test_machines_get_it_as_an_event(desk: Desk) -> None:
    desk.run("-o", "renders")

    told = desk.run("--limit", "1", "--json", "--quiet")

    events = [json.loads(line) for line in told.splitlines()]
    assert events[0]["event"] == "started"
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    assert any("renders/ledger.db has the job to pay for" in message for message in warnings)
