"""SIGKILL of the real program at random moments; the emulator's books are the judge."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from program import kill_after, run, start

from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.server import running
from kling_batch.jobs import JobKey
from kling_batch.records import Reader


def write_manifest(folder: Path, count: int) -> Path:
    jobs = "".join(f"  - {{id: job-{n}, prompt: 'clip number {n}'}}\n" for n in range(count))
    path = folder / "night.yaml"
    path.write_text("version: 1\ndefaults: {mode: text-to-video, tier: standard}\njobs:\n" + jobs)
    return path


def check_invariants(folder: Path, world: World) -> None:
    """What must hold at every instant, whatever was killed."""
    assert all(count == 1 for count in world.books.charges().values())
    for half in (folder / "outputs").rglob("*.mp4"):
        if not half.name.startswith("."):
            assert half.stat().st_size > 0
    ledger = folder / "outputs/ledger.db"
    if not ledger.exists():
        assert world.books.accepted == []
        return
    with Reader.open(ledger) as reader:
        known = reader.request_ids()
        doubtful = len(
            list(reader.rows("select 1 from attempts where state in ('submitting', 'in_doubt')"))
        )
        keys = [JobKey(r["job_key"]) for r in reader.rows("select job_key from attempts")]
    unknown = [r for r in world.books.accepted if r.request_id not in known]
    assert len(unknown) <= doubtful
    assert len(keys) == len(set(keys))


@pytest.mark.timeout(300)
def test_killed_twenty_times_every_file_is_there_and_nothing_paid_twice(tmp_path: Path) -> None:
    seed = 20
    rng = Random(seed)
    print(f"seed {seed}")
    manifest = write_manifest(tmp_path, 30)
    settings = Settings(concurrency=8, time_scale=10, media="template")
    world = World(settings)
    world.faults.add(Fault(stage="submit.after", what="delay", seconds=0.15, probability=0.5))
    with running(world) as url:
        words = ("run", manifest, "--emulator-url", url, "--rate", "20/s")
        kills = 0
        for _ in range(20):
            kills += kill_after(start(*words, cwd=tmp_path), rng.uniform(0.4, 1.6))
            check_invariants(tmp_path, world)
        last = run(*words, cwd=tmp_path)

        assert kills >= 5
        assert last.returncode == 0, last.stderr
        check_invariants(tmp_path, world)
        assert len(world.books.charges()) == 30
    files = [p for p in (tmp_path / "outputs").rglob("*.mp4") if not p.name.startswith(".")]
    assert len(files) == 30
    assert list((tmp_path / "outputs").rglob("*.part")) == []
