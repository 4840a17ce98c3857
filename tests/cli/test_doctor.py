"""`doctor`: what would keep a run from working."""

from __future__ import annotations

from pathlib import Path

from support.cli import run_command


def test_doctor_in_an_empty_folder_leaves_it_empty(tmp_path: Path) -> None:
    done = run_command("doctor", "--emulator", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
