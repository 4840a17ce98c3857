"""Every Python example of `docs/python.md` runs on the emulator and passes mypy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/python.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
(MANIFEST,) = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8
    assert all(name in TEXT for name in ("arun", "open_ledger", "on_event", "approve"))


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_example_runs_on_the_emulator(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAL_KEY", raising=False)
    (tmp_path / "campaign.yaml").write_text(MANIFEST, "utf-8")

    exec(compile(EXAMPLES[number], f"docs/python.md, example {number}", "exec"), {})

    printed = capsys.readouterr().out.splitlines()
    for comment in re.findall(r"print\(.*\)  # (.*)$", EXAMPLES[number], re.MULTILINE):
        assert comment in printed


def test_examples_and_typed_program_pass_mypy(tmp_path: Path) -> None:
    files = [ROOT / "tests/typing/api.py"]
    for number, example in enumerate(EXAMPLES):
        files.append(tmp_path / f"example_{number}.py")
        files[-1].write_text(example, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
