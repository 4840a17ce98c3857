"""The installed program from outside, as a user and as CI meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.books import books
from support.process import environment, run, start, tls_stand_in

MANIFEST = """\
version: 1
name: trial
defaults: {mode: text-to-video, tier: standard}
jobs:
"""


def write_manifest(folder: Path, count: int, extra: str = "") -> Path:
    jobs = "".join(f"  - {{id: job-{n}, prompt: 'clip number {n}'}}\n" for n in range(count))
    path = folder / "trial.yaml"
    path.write_text(MANIFEST + jobs + extra)
    return path


def media(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.mp4") if not p.name.startswith("."))


def test_thirty_jobs_over_tls_end_as_thirty_files_and_are_paid_once(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 30)
    with tls_stand_in(tmp_path, "--profile", "instant", "--slots", "20") as env:
        first = run("run", manifest, "--yes", "--rate", "50/s", cwd=tmp_path, env=env)
        second = run("run", manifest, "--yes", cwd=tmp_path, env=env)
        paid = books(env)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert len(media(tmp_path)) == 30
    assert sorted(paid["charges"].values()) == [1] * 30
    assert first.stdout == second.stdout == ""
    told = (
        first.stderr
        + second.stderr
        + (tmp_path / "outputs/ledger.db").read_bytes().decode("latin-1")
    )
    assert "test-key-secret" not in told


def test_no_key_is_exit_3_and_nothing_sent(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 1)

    done = run("run", manifest, "--yes", cwd=tmp_path)

    assert done.returncode == 3
    assert "FAL_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_key_is_exit_3(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 3)
    faults = tmp_path / "faults.yaml"
    faults.write_text("faults:\n  - {stage: submit.before, what: status, status: 401}\n")
    with tls_stand_in(tmp_path, "--faults", str(faults)) as env:
        done = run("run", manifest, "--yes", cwd=tmp_path, env=env)

    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr


def test_the_key_may_stand_in_a_dotenv_file(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 1)
    (tmp_path / ".env").write_text("FAL_KEY='from-the:file'\n")
    with tls_stand_in(tmp_path, "--profile", "instant") as env:
        del env["FAL_KEY"]
        done = run("run", manifest, "--yes", cwd=tmp_path, env=env)

    assert done.returncode == 0, done.stderr


def test_without_a_terminal_paying_needs_a_word(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 2)

    done = run("run", manifest, cwd=tmp_path, env=environment(FAL_KEY="a:b"))

    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert "$0.84" in done.stderr


def test_a_cap_is_consent_and_stops_with_4(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 5)
    with tls_stand_in(tmp_path, "--profile", "instant") as env:
        for _ in range(2):
            done = run("run", manifest, "--max-cost", "1.00", cwd=tmp_path, env=env)
            assert done.returncode == 4, done.stderr
        paid = books(env)

    assert sum(paid["charges"].values()) == 2
    assert len(media(tmp_path)) == 2


def test_emulator_run_needs_neither_key_nor_consent(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 2)

    first = run("run", manifest, "--emulator", cwd=tmp_path)
    second = run("run", manifest, "--emulator", cwd=tmp_path)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "would have cost $0.84" in first.stderr
    assert len(media(tmp_path)) == 2


@pytest.mark.acceptance
def test_emulated_and_real_renders_never_share_a_ledger(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 1)
    run("run", manifest, "--emulator", "-o", "outputs", cwd=tmp_path)

    with tls_stand_in(tmp_path, "--profile", "instant") as env:
        done = run("run", manifest, "--yes", cwd=tmp_path, env=env)
        paid = books(env)

    assert done.returncode == 0, done.stderr
    assert "ledger.emulator.db" in done.stderr
    assert sum(paid["charges"].values()) == 1
    for name, emulated in (("ledger.emulator.db", True), ("ledger.db", False)):
        file = tmp_path / "outputs" / name
        shown = json.loads(run("status", "--json", "--ledger", file, cwd=tmp_path).stdout)
        assert shown["emulated"] is emulated


def test_a_second_run_on_the_same_ledger_leaves_with_7(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 2)
    with start("run", manifest, "--emulator", cwd=tmp_path) as first:
        assert first.stderr is not None
        first.stderr.readline()
        second = run("run", manifest, "--emulator", cwd=tmp_path)
        while_running = run("status", cwd=tmp_path)
        first.communicate(timeout=60)

    assert second.returncode == 7
    assert f"pid {first.pid}" in second.stderr
    assert while_running.returncode == 0
    assert first.returncode == 0


def test_an_occupied_port_is_a_message(tmp_path: Path) -> None:
    with tls_stand_in(tmp_path) as env:
        port = env["EMULATOR"].rpartition(":")[2]
        done = run("emulator", "--port", port, cwd=tmp_path)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert port in done.stderr


@pytest.mark.acceptance
def test_generate_and_video_print_the_seeds_json_with_paths(tmp_path: Path) -> None:
    image = run("generate", "-p", "A samurai", "--emulator", cwd=tmp_path)
    again = run("generate", "-p", "A samurai", "--emulator", cwd=tmp_path)
    clip = run(
        *("video", "-p", "He turns", "--mode", "text-to-video", "--tier", "standard"),
        *("--param", "duration=3", "--emulator"),
        cwd=tmp_path,
    )

    assert (image.returncode, again.returncode, clip.returncode) == (0, 0, 0), clip.stderr
    (picture,) = json.loads(image.stdout)["images"]
    assert picture["url"].startswith("https://")
    assert (tmp_path / picture["path"]).read_bytes()[:4] == b"\x89PNG"
    assert again.stdout == image.stdout
    assert "--take 2" in again.stderr
    assert (tmp_path / json.loads(clip.stdout)["video"]["path"]).is_file()


def test_help_and_version_load_no_network_stack(tmp_path: Path) -> None:
    for words in (("--help",), ("--version",), ("run", "--help")):
        done = run(*words, cwd=tmp_path, env=environment(PYTHONPROFILEIMPORTTIME="1"))
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

        assert done.returncode == 0
        heavy = {
            "aiohttp",
            "httpx",
            "fal_client",
            "pydantic",
            "jinja2",
            "rich",
            "anyio",
            "uvicorn",
            "av",
        }
        assert loaded & heavy == set()
