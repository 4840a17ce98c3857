"""Completion of words that only the program knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import BashComplete, FishComplete, ZshComplete
from support.cli import Workspace

from kling_batch.cli.completion import SHELLS, script
from kling_batch.cli.main import cli
from kling_batch.cli.program import COMPLETE


@pytest.fixture(autouse=True)
def _a_shell_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPLETE, "bash_complete")


def completed(*words: str) -> list[str]:
    """What a shell is told about the last of the words."""
    shell = BashComplete(cli, {}, "kling-batch", COMPLETE)
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("validat",), ["validate"]),
        (("run", "--max-f"), ["--max-failures"]),
        (("video", "--mode", "text"), ["text-to-image", "text-to-video"]),
        (("video", "--tier", ""), ["standard", "pro", "master", "4k"]),
        (("list", "--state", "in"), ["in_doubt"]),
        (("catalog", "rem"), ["remix"]),
        (("generate", "--model", "v3-"), ["v3-turbo"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
    ],
)
def test_words_of_the_program(words: tuple[str, ...], found: list[str]) -> None:
    assert completed(*words) == found


def test_manifests_come_before_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("b.yaml", "a.csv", "b.txt", "sub/c.yml"):
        (tmp_path / name).write_text("")

    assert completed("run", "") == ["a.csv", "b.yaml"]
    assert completed("run", "sub/") == ["sub/c.yml"]
    assert completed("run", f"{tmp_path}/b") == [f"{tmp_path}/b.yaml"]
    (other,) = BashComplete(cli, {}, "kling-batch", COMPLETE).get_completions(["run"], "su")
    assert (other.value, other.type) == ("su", "file")


def test_jobs_are_those_of_the_ledger_or_of_the_manifest(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workspace.folder)
    assert completed("show", "") == []  # no ledger yet
    assert completed("run", workspace.file, "--only", "t") == ["two"]
    workspace.run()

    assert completed("show", "o") == ["one"]
    assert completed("retry", "one", "") == ["one", "two"]
    (workspace.folder / workspace.file).write_text("jobs: [{")
    assert completed("plan", workspace.file, "--only", "") == ["one", "two"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_script(shell: str) -> None:
    kinds = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    assert {*SHELLS} == {*kinds}

    text = script(shell, cli)

    assert COMPLETE in text
    assert "kling-batch" in text
