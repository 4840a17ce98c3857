"""What the system refuses is said with its cause: a folder that is gone, an output that is full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import MANIFEST, run_command
from support.process import environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full, and a cwd without name")

GONE = "kling-batch: the working folder is gone; cd to another one and run again\n"


def typed(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command typed in a shell, `kling-batch` being the program."""
    program = f'kling-batch() {{ "{sys.executable}" -m kling_batch "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", program + line],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("words", ["run ../m.yaml --emulator", "generate -p x", "doctor"])
def test_a_working_folder_that_is_gone(tmp_path: Path, words: str) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    manifest = words.replace("../", f"{tmp_path}/")

    done = typed(f"mkdir gone; cd gone; rmdir ../gone; kling-batch {manifest}", tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", GONE)


def test_an_output_that_takes_no_more_is_named(tmp_path: Path) -> None:
    done = typed("kling-batch catalog >/dev/full", tmp_path)

    said = "kling-batch: standard output is cut off: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_a_single_shot_whose_output_is_lost_is_not_paid_for_again(tmp_path: Path) -> None:
    lost = typed("kling-batch generate -p fox --emulator -q >/dev/full", tmp_path)

    assert lost.returncode == 1
    assert "standard output is cut off: No space left on device; it is paid for and" in lost.stderr
    again = run_command("generate", "-p", "fox", "--emulator", cwd=tmp_path)
    assert "already paid for: here is that result" in again.stderr
    assert '"images"' in again.stdout
