"""What the tests rely on: programs that they start begin as in a shell, commands leave no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import run_command, words_of
from support.process import SIGNALS, environment

#: Started with the signals ignored; says how a program begins that it starts, before and after.
PARENT = r"""
import signal, subprocess, sys
from support.process import SIGNALS, default_signals_in_children
child = (
    "import signal, sys\n"
    "print([signal.getsignal(int(n)) is signal.SIG_IGN for n in sys.argv[1:]])\n"
)
for number in SIGNALS:
    signal.signal(number, signal.SIG_IGN)
for prepare in (lambda: None, default_signals_in_children):
    prepare()
    subprocess.run([sys.executable, "-c", child, *(str(int(n)) for n in SIGNALS)], check=True)
"""


def test_a_program_begins_with_default_signals_although_its_parent_ignores_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT],
        env=environment(PYTHONPATH=str(Path(__file__).parent)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    ignored = [str([whether] * len(SIGNALS)) for whether in (True, False)]
    assert done.stdout.splitlines() == ignored


def test_a_command_in_this_process_is_reported_by_its_code_and_its_two_streams(
    tmp_path: Path,
) -> None:
    good = run_command("--version", cwd=tmp_path)
    bad = run_command("run", "nowhere.yaml", "--emulator", cwd=tmp_path)

    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("kling-batch")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "nowhere.yaml" in bad.stderr


def test_a_command_in_this_process_leaves_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_BATCH_OUTPUT", "elsewhere")
    (tmp_path / ".env").write_text("FAL_KEY=a:secret\n")
    (tmp_path / "m.yaml").write_text("jobs: [{id: a, mode: text-to-image, prompt: x}]\n")

    def state() -> tuple[object, ...]:
        handlers = [signal.getsignal(number) for number in SIGNALS]
        return (Path.cwd(), dict(os.environ), sys.argv, sys.stdout, sys.stderr, handlers)

    before = state()
    done = run_command("run", "m.yaml", "--emulator", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs-emulator/ledger.db").is_file()
    assert state() == before


def test_a_printed_command_is_taken_apart_as_a_shell_does(tmp_path: Path) -> None:
    step = "kling-batch run 'a b.yaml' --set x='it'\\''s  $HOME' --only c\\#2"

    assert words_of(step, tmp_path) == [
        "run",
        "a b.yaml",
        "--set",
        "x=it's  $HOME",
        "--only",
        "c#2",
    ]
