"""A trial on the emulator stays apart from the real run, and is never reported as paid."""

from __future__ import annotations

import json
from pathlib import Path

from support.books import books
from support.cli import MANIFEST, Desk, invoke
from support.process import tls_stand_in


def test_the_real_run_follows_the_trial_in_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    trial = invoke("run", "m.yaml", "--emulator", cwd=tmp_path)
    assert trial.returncode == 0, trial.stderr
    assert len(list((tmp_path / "outputs-emulator").rglob("*.png"))) == 2
    assert not (tmp_path / "outputs").exists()

    with tls_stand_in(tmp_path, "--profile", "instant") as env:
        real = invoke("run", "m.yaml", "--max-cost", "1", cwd=tmp_path, env=env)
        paid = books(env)

    assert real.returncode == 0, real.stderr
    assert sum(paid["charges"].values()) == 2
    assert len(list((tmp_path / "outputs").rglob("*.png"))) == 2
    again = invoke("run", "m.yaml", "--emulator", cwd=tmp_path)
    assert "nothing to do" in again.stderr


def test_one_manifest_with_an_output_of_its_own_is_tried_apart(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST + "output: renders\n")

    invoke("run", "m.yaml", "--emulator", cwd=tmp_path)

    assert (tmp_path / "outputs-emulator/ledger.db").exists()
    assert not (tmp_path / "renders").exists()


def test_an_output_that_is_given_is_used(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)

    invoke("run", "m.yaml", "--emulator", "-o", "here", cwd=tmp_path)

    assert (tmp_path / "here/ledger.db").exists()
    assert not (tmp_path / "outputs-emulator").exists()


def test_after_a_trial_alone_every_command_finds_its_ledger(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    invoke("run", "m.yaml", "--emulator", cwd=tmp_path)

    for words in (
        ["status"],
        ["status", "m.yaml"],
        ["list"],
        ["show", "one"],
        ["why", "one"],
        ["report"],
        ["verify"],
        ["gallery"],
    ):
        done = invoke(*words, cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr)


def test_no_face_calls_emulated_money_charged(desk: Desk) -> None:
    desk.say("run", "desk.yaml", "--emulator-url", desk.url, "--summary", "s.md")
    told = {
        words: desk.say(*words.split())
        for words in ("status", "report", "list", "show one", "why one")
    }
    told["run"] = desk.run()
    told["gallery"] = desk.say("gallery") and (desk.folder / "outputs/gallery.html").read_text()
    told["summary"] = (desk.folder / "s.md").read_text()

    assert {name for name, text in told.items() if "charged" in text} == set()
    for name in ("status", "report", "list", "show one", "gallery"):
        assert "would have cost" in told[name], name
    assert "would have cost $0.06 on fal" in told["status"]
    assert "would have cost USD 0.06 on fal" in told["summary"]
    assert desk.charges() == [1, 1]


def test_machines_are_told_that_it_is_emulated(desk: Desk) -> None:
    desk.run()

    for words in ("status --json", "report --json", "show one --json"):
        assert json.loads(desk.say(*words.split()))["emulated"] is True, words
    rows = [json.loads(line) for line in desk.say("list", "--json").splitlines()]
    assert [row["emulated"] for row in rows] == [True, True]


def test_a_real_plan_learns_no_time_from_the_emulator(desk: Desk) -> None:
    desk.run()
    desk.put(MANIFEST + "  - {id: three, prompt: the third}\n")

    assert "from fal's model pages" in desk.say("plan", "desk.yaml")
    assert "from earlier renders" in desk.say("plan", "desk.yaml", "--emulator-url", desk.url)


def test_amounts_have_two_decimals_and_say_where_they_are_rounded(desk: Desk) -> None:
    told = desk.say("plan", "desk.yaml")

    assert "$0.03  one" in told
    assert "up to $0.06" in told
    assert "each amount is rounded up to the cent" in told
    assert json.loads(desk.say("plan", "desk.yaml", "--json"))["cost_usd"] == 0.056
    desk.videos("id: a, prompt: x, duration: 5")
    assert "rounded" not in desk.say("plan", "trial.yaml")


def test_the_output_folder_is_one_option_everywhere_and_a_plan_is_saved(desk: Desk) -> None:
    desk.say("plan", "desk.yaml", "-o", "renders", "--save", "plan.json")
    done = desk.run("-o", "renders", "--plan", "plan.json")

    assert "2 of 2 jobs done" in done
    assert len(list((desk.folder / "renders").rglob("*.png"))) == 2
    assert desk.charges() == [1, 1]
    desk.say("plan", "desk.yaml", "--out", "old.json")
    assert (desk.folder / "old.json").exists()
    assert "--out " not in desk.say("plan", "--help")
