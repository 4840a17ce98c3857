"""A run that is refused before its first payment leaves no ledger, and hides none."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.books import books
from support.cli import MANIFEST, Desk, invoke
from support.process import tls_stand_in

import kling_batch
from kling_batch import Options
from kling_batch.errors import KlingBatchError

TRIAL = "outputs-emulator"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    return tmp_path


@pytest.fixture
def tried(desk: Desk) -> Desk:
    """A trial where `run --emulator` has it, without its waiting times."""
    desk.run("-o", TRIAL)
    return desk


def test_a_run_without_a_key_leaves_no_ledger(folder: Path) -> None:
    done = invoke("run", "m.yaml", "--yes", cwd=folder)

    assert done.returncode == 3, done.stderr
    assert not list(folder.rglob("ledger.db*[!k]"))  # the lock may stay


def test_neither_does_one_that_nobody_has_approved(folder: Path) -> None:
    done = invoke("run", "m.yaml", cwd=folder)

    assert done.returncode == 2, done.stderr
    assert not list(folder.rglob("ledger.db*[!k]"))


def test_nor_one_whose_plan_does_not_fit(folder: Path) -> None:
    invoke("plan", "m.yaml", "--save", "p.json", cwd=folder)
    (folder / "m.yaml").write_text(MANIFEST.replace("the first", "another"))

    done = invoke("run", "m.yaml", "--plan", "p.json", cwd=folder)

    assert done.returncode == 8, done.stderr
    assert not list(folder.rglob("ledger.db*[!k]"))


def test_nor_one_that_a_program_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(KlingBatchError, match="not confirmed"):
        kling_batch.run(kling_batch.load("m.yaml"), Options(), approve=lambda _plan: False)

    assert not list(folder.rglob("ledger.db*[!k]"))


def test_a_ledger_that_was_there_stays(desk: Desk) -> None:
    desk.run("--only", "one")
    desk.plan("--save", "p.json")
    desk.put(MANIFEST.replace("the second", "another"))

    desk.run("--plan", "p.json", code=8)

    assert "1 done" in desk.say("status")
    assert desk.charges() == [1]


def test_the_trial_is_found_after_a_real_run_without_a_key(tried: Desk) -> None:
    tried.say("run", "desk.yaml", "--yes", code=3)

    told = tried.say("status")

    assert "2 done" in told
    assert "would have cost" in told


def test_an_empty_ledger_hides_no_trial(tried: Desk) -> None:
    tried.say("run", "desk.yaml", "--yes", "--limit", "0")
    assert (tried.folder / "outputs/ledger.db").exists()

    for words in (["status"], ["status", "desk.yaml"], ["list"], ["show", "one"], ["report"]):
        assert "would have cost" in tried.say(*words), words


def test_commands_speak_of_the_trial_where_they_are_told_to(tried: Desk) -> None:
    shutil.copytree(tried.folder / TRIAL, tried.folder / "outputs")
    with closing(sqlite3.connect(tried.folder / "outputs/ledger.db")) as db, db:
        db.execute("update ledger set service = 'fal'")

    for words in (
        ["status"],
        ["status", "desk.yaml"],
        ["list"],
        ["show", "one"],
        ["show", "one", "desk.yaml"],
        ["report"],
    ):
        assert "would have cost" not in tried.say(*words), words
        assert "would have cost" in tried.say(*words, "--emulator"), words
    for words in (["why", "one"], ["why", "one", "desk.yaml"], ["verify"], ["reroll", "one"]):
        tried.say(*words, "--emulator")
    assert tried.say("gallery", "--emulator").strip() == f"{TRIAL}/gallery.html"


def test_a_trial_in_the_same_folder_makes_way_for_the_real_run(desk: Desk) -> None:
    desk.run()

    told = desk.say("plan", "desk.yaml")
    assert "2 to pay" in told
    assert "is of a trial on the emulator" in told
    desk.say("run", "desk.yaml", "--yes", code=3)
    assert "2 done; would have cost" in desk.say("status")
    with tls_stand_in(desk.folder, "--profile", "instant") as env:
        real = invoke("run", "desk.yaml", "--max-cost", "1", cwd=desk.folder, env=env)
        again = invoke("run", "desk.yaml", "--max-cost", "1", cwd=desk.folder, env=env)
        paid = books(env)

    assert real.returncode == 0, real.stderr
    assert "it is kept as outputs/ledger.emulator.db" in real.stderr
    assert "nothing to do" in again.stderr
    assert sum(paid["charges"].values()) == 2
    kept = desk.say("status", "--ledger", "outputs/ledger.emulator.db")
    assert "would have cost" in kept
    assert "charged $0.06" in desk.say("status")


def test_a_ledger_that_is_named_is_not_set_aside(desk: Desk) -> None:
    desk.run("--ledger", "l.db")

    told = desk.say("run", "desk.yaml", "--yes", "--ledger", "l.db", code=2)

    assert "belongs to the emulator" in told
    assert (desk.folder / "l.db").exists()
