"""Files moved by Dask workers in processes of their own, which are killed, hindered and misled."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import distributed
import pytest
from support.dask_processes import Processes, processes
from support.process import environment, run, start
from support.s3_server import S3Server, s3_server

from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.server import running

#: Several programs at once take their time on a busy machine.
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

MANIFEST = """\
version: 1
output: {output}
defaults: {{mode: text-to-video, tier: standard}}
{renditions}jobs:
"""
RENDITIONS = """\
renditions:
  poster: {{format: jpg, at: 1s, width: 64}}
  web: {{format: mp4, height: 36, crf: {crf}}}
"""


def until(process: Any, reached: Callable[[], bool]) -> None:
    """Wait for a moment of a program, which must not have ended before."""
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


class Place:
    """A folder with a manifest, an emulated account, a scheduler without workers."""

    def __init__(self, folder: Path, world: World, address: str, cluster: Processes) -> None:
        self.folder, self.world, self.cluster = folder, world, cluster
        self.words = ("run", "batch.yaml", "--emulator-url", address, "--yes", "-j", "40")
        self.env = environment()

    def write(self, jobs: int, output: str = "out", renditions: str = "") -> None:
        text = MANIFEST.format(output=output, renditions=renditions)
        text += "".join(f"  - {{id: j{n}, prompt: words {n}}}\n" for n in range(jobs))
        (self.folder / "batch.yaml").write_text(text)

    def with_workers(self, count: int) -> list[str]:
        return [self.cluster.start_worker(self.env) for _ in range(count)]

    @property
    def command(self) -> tuple[str, ...]:
        return (*self.words, "--scheduler", self.cluster.address)

    def run(self) -> Any:
        return run(*self.command, cwd=self.folder, env=self.env)

    def start(self) -> Any:
        return start(*self.command, cwd=self.folder, env=self.env)

    def downloading(self, jobs: int, *, workers: int, seconds: float = 0.5) -> Any:
        """A run on so many workers whose first files are there, and others on their way."""
        self.write(jobs)
        self.world.faults.add(Fault(stage="download", what="delay", seconds=seconds))
        self.with_workers(workers)
        process = self.start()
        until(process, lambda: bool(list((self.folder / "out").rglob("*.mp4"))))
        return process

    def judge(self, clips: int) -> None:
        """So many clips with sidecars, whole by digest, nothing else, and each paid for once."""
        found = sorted((self.folder / "out").rglob("*.mp4"))
        assert len(found) == clips
        for path in found:
            record = json.loads(path.with_name(f"{path.name}.json").read_bytes())
            assert record["sha256"] == sha256(path.read_bytes()).hexdigest()
        assert not list((self.folder / "out").rglob("*.part"))
        assert list(self.world.books.charges().values()) == [1] * clips


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    settings = Settings(concurrency=40, media="template", profile="instant", start_latency=0.0)
    world = World(settings)
    with ExitStack() as stack:
        address = stack.enter_context(running(world))
        cluster = stack.enter_context(processes(tmp_path / "cluster"))
        yield Place(tmp_path, world, address, cluster)


def loaded(address: str) -> set[str]:
    """The modules that workers have loaded."""
    with distributed.Client(address, set_as_default=False) as client:
        found = client.run(lambda: sorted(__import__("sys").modules))
        return {name for names in found.values() for name in names}


def test_a_worker_that_is_killed_in_the_middle_costs_time_only(place: Place) -> None:
    process = place.downloading(40, workers=2)
    place.cluster.kill(place.cluster.workers[0])

    _, told = process.communicate(timeout=90)

    assert process.returncode == 0, told
    place.judge(40)
    assert "has left; what it had begun is done again" in told
    assert "on this machine" not in told
    modules = loaded(place.cluster.address)
    assert "kling_batch.workers.tasks" in modules
    out_of_reach = ("fal_client", "sqlite_utils", "sqlite3", "dotenv")
    out_of_reach += ("kling_batch.fal", "kling_batch.ledger", "kling_batch.engine")
    assert [name for name in modules if name.startswith(out_of_reach)] == []
    logs = place.cluster.logs()
    assert "fal.media" not in logs

    again = place.run()

    assert again.returncode == 0, again.stderr
    place.judge(40)


def test_the_only_worker_is_killed_and_the_rest_is_fetched_here(place: Place) -> None:
    process = place.downloading(24, workers=1)
    place.cluster.kill(place.cluster.workers[0])

    _, told = process.communicate(timeout=60)

    assert process.returncode == 0, told
    assert "has lost the workers of a task; done on this machine" in told
    place.judge(24)


def test_a_scheduler_that_goes_in_the_middle_is_a_message(place: Place) -> None:
    process = place.downloading(24, workers=1)
    assert place.cluster.scheduler is not None
    place.cluster.kill(place.cluster.scheduler)

    _, told = process.communicate(timeout=90)

    assert process.returncode == 0, told
    assert told.count("is gone; the files of this run are fetched on this machine") == 1
    place.judge(24)


def test_no_scheduler_at_the_start_is_a_message(place: Place) -> None:
    place.write(3)
    assert place.cluster.scheduler is not None
    place.cluster.kill(place.cluster.scheduler)

    done = place.run()

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be reached") == 1
    place.judge(3)


def test_a_worker_without_the_output_is_reported_and_gets_nothing_more(place: Place) -> None:
    place.write(12, output="/proc/self/cwd/out")  # each process has its own
    other = place.folder / "elsewhere"
    other.mkdir()
    place.cluster.start_worker(place.env, cwd=other)
    place.cluster.start_worker(place.env, cwd=place.folder)

    done = place.run()

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("does not see /proc/self/cwd/out") == 1
    place.judge(12)


def test_an_interrupted_run_leaves_nothing_behind_that_the_next_does_not_use(place: Place) -> None:
    process = place.downloading(16, workers=1, seconds=1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert "Traceback" not in told

    done = place.run()

    assert done.returncode == 0, done.stderr
    time.sleep(1)  # what the worker had begun has ended
    place.judge(16)


SLOW = """\
renditions:
  slow:
    command: [sh, -c, 'echo $$ >> {pids}; sleep 60; cp "$0" "$1"', "{{input}}", "{{output}}"]
    ext: .webm
"""
INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL


def at_work(pids: Path) -> list[str]:
    """The programs of renditions that have not ended."""
    noted = pids.read_text().split() if pids.exists() else []
    return [pid for pid in noted if Path(f"/proc/{pid}/cmdline").exists()]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("command", ["run", "renditions"])
def test_workers_stop_making_renditions_when_their_run_ends(place: Place, command: str) -> None:
    place.write(4)
    place.with_workers(2)
    assert place.run().returncode == 0
    words = place.command if command == "run" else ("renditions", "batch.yaml", *place.command[-2:])
    clips = sorted(path.name for path in (place.folder / "out/batch").rglob("*"))

    for number, (signals, code) in enumerate(
        [([INT], 130), ([INT, INT], 130), ([TERM], 143), ([KILL], -9)]
    ):
        pids = place.folder / f"pids-{number}"
        place.write(4, renditions=SLOW.format(pids=pids))
        process = start(*words, cwd=place.folder, env=place.env)
        until(process, lambda pids=pids: len(at_work(pids)) == 2)
        for each in signals:
            process.send_signal(each)
        _, told = process.communicate(timeout=10)
        # A second Ctrl-C may meet the interpreter on its way out: the shell shows 130 as well.
        assert process.returncode in ((code, -INT) if len(signals) == 2 else (code,)), told
        assert "Traceback" not in told
        ended = time.monotonic() + 10
        while at_work(pids):
            assert time.monotonic() < ended, f"after {signals} programs went on"
            time.sleep(0.05)
    time.sleep(1)
    assert sorted(path.name for path in (place.folder / "out/batch").rglob("*")) == clips

    place.write(4, renditions=RENDITIONS.format(crf=40))
    done = start(*words, cwd=place.folder, env=place.env)
    _, told = done.communicate(timeout=90)
    assert done.returncode == 0, told
    assert len(list((place.folder / "out").rglob("*.web.mp4"))) == 4
    assert list(place.world.books.charges().values()) == [1] * 4


def test_repair_fetches_and_makes_by_workers(place: Place) -> None:
    place.write(3, renditions=RENDITIONS.format(crf=40))
    place.with_workers(1)
    assert place.run().returncode == 0
    whole = {path.name: path.read_bytes() for path in (place.folder / "out").rglob("j*.*")}
    (clip,) = (place.folder / "out").rglob("j0.mp4")
    (poster,) = (place.folder / "out").rglob("j1.poster.jpg")
    clip.write_bytes(b"changed")
    poster.unlink()

    words = ("--output", "out", *place.words[2:4], "--scheduler", place.cluster.address)
    done = run("verify", "--repair", *words, cwd=place.folder, env=place.env)

    assert done.returncode == 0, done.stderr
    assert "on this machine" not in done.stderr
    assert clip.read_bytes() == whole["j0.mp4"]
    assert poster.read_bytes() == whole["j1.poster.jpg"]
    assert list(place.world.books.charges().values()) == [1] * 3


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


def test_workers_put_into_a_bucket_what_never_was_on_this_machine(
    place: Place, s3: S3Server
) -> None:
    place.write(40, output="s3://assets/spring")
    place.env = s3.environment()
    place.with_workers(2)

    def slow(_server: S3Server, environ: Any, _start: Any) -> None:
        if environ["REQUEST_METHOD"] == "PUT":
            time.sleep(0.2)

    s3.fault = slow
    process = place.start()
    until(process, lambda: s3.puts() >= 8)
    place.cluster.kill(place.cluster.workers[0])
    _, told = process.communicate(timeout=90)

    assert process.returncode == 0, told
    assert "has left" in told
    s3.fault = None
    found = s3.objects()
    names = [name for name in found if name.endswith(".mp4")]
    assert len(names) == 40
    assert len(found) == 80
    for name in names:
        record = json.loads(found[f"{name}.json"])
        assert record["sha256"] == sha256(found[name]).hexdigest()
    assert list(place.world.books.charges().values()) == [1] * 40
    before = s3.puts()

    again = place.run()

    assert again.returncode == 0, again.stderr
    assert s3.puts() == before
    assert not list((place.folder / "outputs").rglob("*.part"))


def forty_with_renditions(place: Place, s3: S3Server) -> dict[str, bytes]:
    """Forty clips, eighty renditions, forty sidecars: each whole by the digest that is noted."""
    found = s3.objects()
    records = {name: json.loads(data) for name, data in found.items() if name.endswith(".json")}
    assert len(records) == 40
    assert len(found) == 160
    for name, record in records.items():
        clip = name.removesuffix(".json")
        assert record["sha256"] == sha256(found[clip]).hexdigest()
        assert sorted(record["renditions"]) == ["poster", "web"]
        for made in record["renditions"].values():
            beside = clip.rpartition("/")[0] + "/" + made["file"]
            assert made["sha256"] == sha256(found[beside]).hexdigest()
    assert list(place.world.books.charges().values()) == [1] * 40
    return found


def test_forty_clips_and_eighty_renditions_end_in_a_bucket(place: Place, s3: S3Server) -> None:
    """The same without workers is in test_object_stores.py."""
    place.env = s3.environment()
    place.write(40, "s3://assets/spring", RENDITIONS.format(crf=35))
    place.with_workers(2)
    words = place.command
    process = start(*words, cwd=place.folder, env=place.env)
    until(process, lambda: sum(".poster." in path for _, path in s3.requests) >= 8)
    place.cluster.kill(place.cluster.workers[0])

    _, told = process.communicate(timeout=240)

    assert process.returncode == 0, told
    assert "has left; what it had begun is done again" in told
    assert "renditions: 80 made" in told
    # What the killed worker had may be done here; the rest goes on to the other one.
    assert "of this run are" not in told, told
    before = forty_with_renditions(place, s3)

    again = run(*words, cwd=place.folder, env=place.env, timeout=240)

    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr + again.stdout
    assert forty_with_renditions(place, s3) == before

    place.write(40, "s3://assets/spring", RENDITIONS.format(crf=45))
    changed = run(*words, cwd=place.folder, env=place.env, timeout=240)

    assert changed.returncode == 0, changed.stderr
    assert "renditions: 40 made" in changed.stderr + changed.stdout
    after = forty_with_renditions(place, s3)
    assert {name for name in after if after[name] != before[name]} == {
        name for name in after if name.endswith((".web.mp4", ".json"))
    }
    assert not list((place.folder / "outputs").rglob("*.part"))
