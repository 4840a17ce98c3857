"""`kling-batch emulator` tells what it cannot start with before it announces an address."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

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
