"""A whole run whose files are moved by workers in this process; the emulator's books decide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from kling_batch import ExitCode, Options, load, run
from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.server import running
from kling_batch.errors import UsageError

MANIFEST = """\
version: 1
defaults: {mode: text-to-video, tier: standard}
jobs:
"""


@pytest.fixture
def world() -> World:
    return World(Settings(concurrency=40, media="template", profile="instant", start_latency=0.0))


@pytest.fixture
def address(world: World) -> Iterator[str]:
    with running(world) as address:
        yield address


def manifest(folder: Path, jobs: int) -> Path:
    text = MANIFEST + "".join(f"  - {{id: j{n}, prompt: words {n}}}\n" for n in range(jobs))
    path = folder / "batch.yaml"
    path.write_text(text)
    return path


def test_a_batch_by_workers_is_paid_once_and_whole(
    tmp_path: Path, world: World, address: str
) -> None:
    world.faults.add(Fault(stage="download", what="truncated", times=2))
    options = Options(
        output=tmp_path / "out", emulator=address, scheduler="local", yes=True, concurrency=20
    )
    batches = load(manifest(tmp_path, 6))
    told: list[str] = []

    report = run(batches, options, on_event=lambda event: told.append(str(event)))

    assert report.exit_code is ExitCode.OK, told
    clips = sorted((tmp_path / "out").rglob("*.mp4"))
    assert len(clips) == 6
    for path in clips:
        record = json.loads(path.with_name(f"{path.name}.json").read_bytes())
        assert record["sha256"] == sha256(path.read_bytes()).hexdigest()
    assert not list((tmp_path / "out").rglob("*.part"))
    assert list(world.books.charges().values()) == [1] * 6

    again = run(batches, options)

    assert again.exit_code is ExitCode.OK
    assert list(world.books.charges().values()) == [1] * 6


@pytest.mark.parametrize("address", ["10.0.0.5:8786", "http://x:1", "tcp://x", "tcp://a b:1", ""])
def test_what_is_no_address_of_a_scheduler_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="neither `local` nor an address"):
        Options(scheduler=address)


@pytest.mark.parametrize("address", ["local", "tcp://10.0.0.5:8786", "tls://[::1]:8786"])
def test_addresses_of_schedulers(address: str) -> None:
    assert Options(scheduler=address).scheduler == address
