"""`doctor`: what would keep a run from working."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import MANIFEST, run_command
from support.process import environment


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


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("SSL_CERT_FILE", "/nope.pem", "the certificates of SSL_CERT_FILE=/nope.pem: No such"),
        ("ALL_PROXY", "ftp://me:secret@host", "the proxy that the environment names cannot be"),
        ("FAL_QUEUE_RUN_HOST", "a b", "FAL_QUEUE_RUN_HOST"),
    ],
)
def test_what_is_wrong_on_the_way_to_fal_is_not_said_of_the_key(
    tmp_path: Path, setting: str, value: str, said: str
) -> None:
    env = environment(FAL_KEY="id:0123456789abcdef", **{setting: value})

    done = run_command("doctor", cwd=tmp_path, env=env)

    assert done.returncode == 2, done.stdout
    assert f"PROBLEM  connection: {said}" in done.stdout
    assert "PROBLEM  key" not in done.stdout
    assert "secret" not in done.stdout + done.stderr
