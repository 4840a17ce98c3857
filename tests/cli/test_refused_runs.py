"""A run that is refused before its first payment leaves no ledger, and hides none."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.books import books
from support.cli import MANIFEST, Workspace, run_command
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
def tried(workspace: Workspace) -> Workspace:
    """A trial where `run --emulator` has it, without its waiting times."""
    workspace.run("-o", TRIAL)
    return workspace


def test_a_run_without_a_key_leaves_no_ledger(folder: Path) -> None:
    done = run_command("run", "m.yaml", "--yes", cwd=folder)

    assert done.returncode == 3, done.stderr
    assert not list(folder.rglob("ledger.db*[!k]"))  # the lock may stay


def test_neither_does_one_that_nobody_has_approved(folder: Path) -> None:
    done = run_command("run", "m.yaml", cwd=folder)

    assert done.returncode == 2, done.stderr
    assert not list(folder.rglob("ledger.db*[!k]"))


def test_nor_one_whose_plan_does_not_fit(folder: Path) -> None:
    run_command("plan", "m.yaml", "--save", "p.json", cwd=folder)
    (folder / "m.yaml").write_text(MANIFEST.replace("the first", "another"))

    done = run_command("run", "m.yaml", "--plan", "p.json", cwd=folder)

    assert done.returncode == 8, done.stderr
    assert not list(folder.rglob("ledger.db*[!k]"))


def test_nor_one_that_a_program_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(KlingBatchError, match="not confirmed"):
        kling_batch.run(kling_batch.load("m.yaml"), Options(), approve=lambda _plan: False)

    assert not list(folder.rglob("ledger.db*[!k]"))


def test_a_ledger_that_was_there_stays(workspace: Workspace) -> None:
    workspace.run("--only", "one")
    workspace.plan("--save", "p.json")
    workspace.put(MANIFEST.replace("the second", "another"))

    workspace.run("--plan", "p.json", code=8)

    assert "1 done" in workspace.invoke("status")
    assert workspace.charges() == [1]


def test_the_trial_is_found_after_a_real_run_without_a_key(tried: Workspace) -> None:
    tried.invoke("run", "workspace.yaml", "--yes", code=3)

    told = tried.invoke("status")

    assert "2 done" in told
    assert "would have cost" in told


def test_an_empty_ledger_hides_no_trial(tried: Workspace) -> None:
    tried.invoke("run", "workspace.yaml", "--yes", "--limit", "0")
    assert (tried.folder / "outputs/ledger.db").exists()

    for words in (["status"], ["status", "workspace.yaml"], ["list"], ["show", "one"], ["report"]):
        assert "would have cost" in tried.invoke(*words), words


def test_commands_speak_of_the_trial_where_they_are_reported_to(tried: Workspace) -> None:
    shutil.copytree(tried.folder / TRIAL, tried.folder / "outputs")
    with closing(sqlite3.connect(tried.folder / "outputs/ledger.db")) as db, db:
        db.execute("update ledger set service = 'fal'")

    for words in (
        ["status"],
        ["status", "workspace.yaml"],
        ["list"],
        ["show", "one"],
        ["show", "one", "workspace.yaml"],
        ["report"],
    ):
        assert "would have cost" not in tried.invoke(*words), words
        assert "would have cost" in tried.invoke(*words, "--emulator"), words
    for words in (["why", "one"], ["why", "one", "workspace.yaml"], ["verify"], ["reroll", "one"]):
        tried.invoke(*words, "--emulator")
    assert tried.invoke("gallery", "--emulator").strip() == f"{TRIAL}/gallery.html"


def test_a_trial_in_the_same_folder_makes_way_for_the_real_run(workspace: Workspace) -> None:
    workspace.run()

    told = workspace.invoke("plan", "workspace.yaml")
    assert "2 to pay" in told
    assert "is of a trial on the emulator" in told
    workspace.invoke("run", "workspace.yaml", "--yes", code=3)
    assert "2 done; would have cost" in workspace.invoke("status")
    with tls_stand_in(workspace.folder, "--profile", "instant") as env:
        real = run_command(
            "run", "workspace.yaml", "--max-cost", "1", cwd=workspace.folder, env=env
        )
        again = run_command(
            "run", "workspace.yaml", "--max-cost", "1", cwd=workspace.folder, env=env
        )
        paid = books(env)

    assert real.returncode == 0, real.stderr
    assert "it is kept as outputs/ledger.emulator.db" in real.stderr
    assert "nothing to do" in again.stderr
    assert sum(paid["charges"].values()) == 2
    kept = workspace.invoke("status", "--ledger", "outputs/ledger.emulator.db")
    assert "would have cost" in kept
    assert "charged $0.06" in workspace.invoke("status")


def test_a_ledger_that_is_named_is_not_set_aside(workspace: Workspace) -> None:
    workspace.run("--ledger", "l.db")

    told = workspace.invoke("run", "workspace.yaml", "--yes", "--ledger", "l.db", code=2)

    assert "belongs to the emulator" in told
    assert (workspace.folder / "l.db").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("video", "--mode", "image-to-video", "--image-url", '{"job": "c"}'),
        ("video", "--mode", "text-to-video", "-P", 'params={"zz": {"job": "c"}}'),
        ("generate", "-P", 'params={"zz": {"job": "c"}}'),
    ],
)
def test_a_single_shot_has_no_other_job(workspace: Workspace, words: tuple[str, ...]) -> None:
    told = workspace.invoke(*words, "-p", "x", "--emulator-url", workspace.url, code=2)

    assert "needs the job `c`, and there is no other job here" in told
    assert workspace.charges() == []
    assert not list(workspace.folder.rglob("ledger.db"))
