"""`kling-batch emulator` tells what it cannot start with before it announces an address."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import trustme
from support.cli import run_command

from kling_batch.emulator import World


def refused(folder: Path, *words: str) -> str:
    """What was said about a start that failed; no address was."""
    done = run_command("emulator", "--port", "0", *words, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "fal.ai emulator on" not in done.stderr
    return done.stderr


def test_a_state_file_belongs_to_one_server(tmp_path: Path) -> None:
    with closing(World(state=tmp_path / "s2.db", alone=True)) as world:
        world.accept(world.endpoint("fal-ai/kling-image/o3/text-to-image"), {"prompt": "x"})  # type: ignore[arg-type]
        told = refused(tmp_path, "--state", "s2.db")

    assert "emulator state s2.db cannot be used: another emulator uses it" in told
    with closing(World(state=tmp_path / "s2.db")) as world:
        assert len(world.books.accepted) == 1


def test_a_key_without_its_certificate(tmp_path: Path) -> None:
    assert "--keyfile needs --certfile" in refused(tmp_path, "--keyfile", "k.pem")


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
    (tmp_path / "text.pem").write_text("a letter to a friend\n")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    other.private_key_pem.write_to_path(tmp_path / "key.pem")

    assert "the certificate text.pem cannot" in refused(tmp_path, "--certfile", "text.pem")
    assert "none.pem cannot be used: No such" in refused(tmp_path, "--certfile", "none.pem")
    both = refused(tmp_path, "--certfile", "cert.pem", "--keyfile", "key.pem")
    assert "cert.pem with key.pem cannot be used: " in both


@pytest.mark.parametrize("speed", ["nan", "inf", "0", "-1"])
def test_a_speed_that_no_clock_can_have(tmp_path: Path, speed: str) -> None:
    assert "time_scale cannot be" in refused(tmp_path, "--speed", speed)


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        ("- {stage: status, what: delay, seconds: .nan}", "fault seconds cannot be nan"),
        ("- {stage: status, what: html, 7: 8}", "unknown fault field: 7"),
        ("- {stage: result, what: html, body: {at: 2026-01-01}}", "its body is no JSON"),
    ],
)
def test_a_plan_with_values_that_only_yaml_has(tmp_path: Path, plan: str, problem: str) -> None:
    (tmp_path / "f.yaml").write_text(plan)

    assert problem in refused(tmp_path, "--faults", "f.yaml")
