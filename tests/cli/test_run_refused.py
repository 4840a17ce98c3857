"""What `run` refuses before anything is sent: bad manifests, damaged files, odd places."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.cli import Workspace, run_command
from support.process import environment

MANIFEST = """\
version: 1
name: trial
defaults: {mode: text-to-video, tier: standard}
jobs:
"""


def write_manifest(folder: Path) -> Path:
    path = folder / "trial.yaml"
    path.write_text(MANIFEST + "  - {id: job-0, prompt: 'clip number 0'}\n")
    return path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("jobs: [", "trial.yaml:"),
        ("\tjobs: []", "trial.yaml:1:1"),
        ("version: 1\njobz: []\n", "jobz"),
        ("", "empty"),
        (MANIFEST + "  - {id: a, prompt: x, duration: 99}\n", "duration"),
    ],
)
def test_a_bad_manifest_is_exit_2_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "trial.yaml").write_text(text)

    done = run_command("run", "trial.yaml", "--emulator", cwd=tmp_path)

    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_missing_manifest_is_exit_2(tmp_path: Path) -> None:
    done = run_command("run", "nowhere.yaml", "--emulator", cwd=tmp_path)

    assert done.returncode == 2
    assert "nowhere.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_damaged_ledger_is_exit_7_and_left_alone(tmp_path: Path, content: bytes) -> None:
    manifest = write_manifest(tmp_path)
    ledger = tmp_path / "outputs-emulator/ledger.db"
    ledger.parent.mkdir()
    ledger.write_bytes(content)

    done = run_command("run", manifest, "--emulator", cwd=tmp_path)

    assert done.returncode == 7
    assert "Traceback" not in done.stderr
    assert ledger.read_bytes() == content


def test_an_output_that_is_no_folder_is_a_message(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    (tmp_path / "outputs-emulator").write_text("a file")

    done = run_command("run", manifest, "--emulator", cwd=tmp_path)

    assert done.returncode in (2, 7)
    assert "Traceback" not in done.stderr
    assert "outputs" in done.stderr


def test_an_emulator_that_cannot_start_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "outputs-emulator").mkdir()
    (tmp_path / "outputs-emulator/emulator.db").write_text("no database at all")
    (tmp_path / "one.yaml").write_text(
        "version: 1\ndefaults: {mode: text-to-image}\njobs: [{id: a, prompt: a}]\n"
    )

    done = run_command("run", "one.yaml", "--emulator", cwd=tmp_path)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "emulator.db cannot be used" in done.stderr


GREEN = '<testsuites tests="1" failures="0" errors="0"/>'


@pytest.mark.parametrize(
    ("job", "words", "code", "told"),
    [
        ("prompt: x", ["--yes"], 3, "FAL_KEY"),
        ("prompt: x, duration: 99", ["--emulator"], 2, "trial.yaml:5:"),
        ("prompt: x", ["--emulator", "--plan", "nowhere"], 2, "nowhere"),
    ],
)
def test_what_ci_reads_of_a_refused_run_is_red(
    tmp_path: Path, job: str, words: list[str], code: int, told: str
) -> None:
    (tmp_path / "trial.yaml").write_text(f"{MANIFEST}  - {{id: a, {job}}}\n")
    for name in ("junit.xml", "summary.md"):
        (tmp_path / name).write_text(GREEN)
    environ = environment(GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(tmp_path / "step.md"))
    files = ("--junit", "junit.xml", "--summary", "summary.md")

    done = run_command("run", "trial.yaml", *words, *files, cwd=tmp_path, env=environ)

    assert done.returncode == code
    suites = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suites.get("tests"), suites.get("errors")) == ("1", "1")
    (error,) = suites.iter("error")
    assert told in (error.text or "")
    for name in ("summary.md", "step.md"):
        assert f"exit code {code}" in (tmp_path / name).read_text()
    assert done.stderr.count("::error ") == 1


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("option", ["--junit", "--summary"])
def test_what_says_that_a_run_was_refused_replaces_nothing_that_is_needed(
    workspace: Workspace, option: str, broken: bool
) -> None:
    """Whether the manifest could be read, so that the ledger is known, or not."""
    workspace.run()
    ledger = workspace.folder / "outputs/ledger.db"
    paid = next((workspace.folder / "outputs").rglob("one.png"))
    if broken:
        workspace.put("jobs: 5\n")
    manifest = workspace.folder / workspace.file
    before = {path: path.read_bytes() for path in (ledger, paid, manifest)}

    for path in before:
        workspace.run(option, str(path), code=2)

    assert {path: path.read_bytes() for path in before} == before
    assert len(workspace.world.books.accepted) == 2
