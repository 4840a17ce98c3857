"""A run that is refused before its first payment leaves no ledger, and hides none."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.books import books
from support.cli import MANIFEST, Desk, invoke
from support.process import environment, tls_stand_in

import kling_batch
from kling_batch import Options
from kling_batch.errors import KlingBatchError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    return tmp_path


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
    desk.run()
    desk.put(MANIFEST.replace("the first", "another"))
    before = desk.say("show", "one")

    desk.say("run", "desk.yaml", "--ledger", "outputs/ledger.db", code=2)

    assert desk.say("show", "one") == before


def test_the_trial_is_found_after_a_real_run_without_a_key(folder: Path) -> None:
    invoke("run", "m.yaml", "--emulator", cwd=folder)
    assert invoke("run", "m.yaml", "--yes", cwd=folder).returncode == 3

    told = invoke("status", cwd=folder).stdout

    assert "2 done" in told
    assert "would have cost" in told


def test_an_empty_ledger_hides_no_trial(folder: Path) -> None:
    invoke("run", "m.yaml", "--emulator", cwd=folder)
    empty = invoke("run", "m.yaml", "--yes", "--limit", "0", cwd=folder)
    assert empty.returncode == 0, empty.stderr
    assert (folder / "outputs/ledger.db").exists()

    for words in (["status"], ["status", "m.yaml"], ["list"], ["show", "one"], ["report"]):
        assert "would have cost" in invoke(*words, cwd=folder).stdout, words
    with kling_batch.open_ledger(folder / "outputs") as ledger:
        assert not list(ledger.jobs(state="succeeded"))


def test_commands_speak_of_the_trial_where_they_are_told_to(folder: Path) -> None:
    invoke("run", "m.yaml", "--emulator", cwd=folder)
    with tls_stand_in(folder, "--profile", "instant") as env:
        real = invoke("run", "m.yaml", "--max-cost", "1", cwd=folder, env=env)
    assert real.returncode == 0, real.stderr

    for words in (
        ["status"],
        ["status", "m.yaml"],
        ["list"],
        ["show", "one"],
        ["show", "one", "m.yaml"],
        ["report"],
    ):
        assert "would have cost" not in invoke(*words, cwd=folder).stdout, words
        done = invoke(*words, "--emulator", cwd=folder)
        assert done.returncode == 0, (words, done.stderr)
        assert "would have cost" in done.stdout, words
    for words in (["why", "one"], ["why", "one", "m.yaml"], ["verify"], ["reroll", "one"]):
        done = invoke(*words, "--emulator", cwd=folder)
        assert done.returncode == 0, (words, done.stderr)
    page = invoke("gallery", "--emulator", cwd=folder)
    assert page.stdout.strip() == "outputs-emulator/gallery.html"


def test_a_trial_in_the_same_folder_makes_way_for_the_real_run(folder: Path) -> None:
    trial = invoke("run", "m.yaml", "--emulator", "-o", "outputs", cwd=folder)
    assert trial.returncode == 0, trial.stderr

    told = invoke("plan", "m.yaml", cwd=folder)
    assert "2 to pay" in told.stdout
    assert "a trial on the emulator" in told.stderr
    refused = invoke("run", "m.yaml", "--yes", cwd=folder)
    assert refused.returncode == 3
    assert "2 done" in invoke("status", cwd=folder).stdout
    with tls_stand_in(folder, "--profile", "instant") as env:
        real = invoke("run", "m.yaml", "--max-cost", "1", cwd=folder, env=env)
        again = invoke("run", "m.yaml", "--max-cost", "1", cwd=folder, env=env)
        paid = books(env)

    assert real.returncode == 0, real.stderr
    assert "it is kept as outputs/ledger.emulator.db" in real.stderr
    assert "nothing to do" in again.stderr
    assert sum(paid["charges"].values()) == 2
    kept = invoke("status", "--ledger", "outputs/ledger.emulator.db", cwd=folder)
    assert "would have cost" in kept.stdout
    assert "charged $0.06" in invoke("status", cwd=folder).stdout


def test_a_ledger_that_is_named_is_not_set_aside(folder: Path) -> None:
    invoke("run", "m.yaml", "--emulator", "--ledger", "l.db", cwd=folder)

    done = invoke("run", "m.yaml", "--yes", "--ledger", "l.db", cwd=folder, env=environment())

    assert done.returncode == 2
    assert "belongs to the emulator" in done.stderr
    assert (folder / "l.db").exists()
