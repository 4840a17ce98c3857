"""`doctor`: what would keep a run from working."""

from __future__ import annotations

from pathlib import Path

from support.cli import MANIFEST, run_command


def test_doctor_in_an_empty_folder_leaves_it_empty(tmp_path: Path) -> None:
    done = run_command("doctor", "--emulator", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_looked_at_is_a_problem_and_the_rest_is_still_checked(
    tmp_path: Path,
) -> None:
    ledger = f"{'x' * 300}.db"  # no file system has such a name

    done = run_command("doctor", "--emulator", "--ledger", ledger, cwd=tmp_path)

    assert done.returncode == 7
    assert "PROBLEM  ledger: " in done.stdout
    assert "output: " in done.stdout
    (tmp_path / "m.yaml").write_text(MANIFEST)
    assert run_command("plan", "m.yaml", "--ledger", ledger, cwd=tmp_path).returncode == 7


def test_of_several_problems_the_first_of_the_documented_order_is_the_code(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no ledger")

    done = run_command("doctor", "--ledger", "ledger.db", cwd=tmp_path)

    assert done.stdout.count("PROBLEM") == 2  # the ledger and the key
    assert done.returncode == 3
