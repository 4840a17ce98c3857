"""Renditions by Dask workers against one machine, and puts into S3 against other programs."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from benchmarks.programs import StandIn, Usage, environment, kling_batch, measure, stand_in
from benchmarks.results import Figure
from benchmarks.rows.base import Measured, Place, Row
from benchmarks.rows.files import STILL_OPEN, vars_of

#: Seconds that a run with renditions may take.
MOST_SECONDS = 3600.0
#: A transcode's work, as a program that keeps a processor busy for so long: the stand-in's clips
#: hold one small second, however many bytes they have.
WORK = (
    "import sys, shutil, time\n"
    "while time.process_time() < float(sys.argv[1]): pass\n"
    "shutil.copyfile(*sys.argv[2:])\n"
)

MANIFEST = """\
version: 1
name: bench
limits: {{workers: 1}}
defaults: {{mode: text-to-video, tier: standard, duration: 5}}
renditions:
  poster: {{format: jpg, at: 0s}}
  web: {{command: [{python}, work.py, "{seconds}", "{{input}}", "{{output}}"], ext: .bin}}
jobs:
  - {{id: "clip-{{{{ n }}}}", prompt: "Clip {{{{ n }}}}", matrix: {{n: {numbers}}}}}
"""


# -- machines ----------------------------------------------------------------------------------


def on_core(core: int, words: Sequence[str | Path]) -> list[str | Path]:
    """A program on one core, as if that were its machine; anywhere, where that cannot be said."""
    taskset = shutil.which("taskset")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if taskset is None or len(cores) < 2:
        return [*words]
    return [taskset, "-c", str(cores[core % len(cores)]), *words]


class Relay:
    """Passes connections on, and counts what comes back: the bytes that a program receives."""

    def __init__(self, port: int) -> None:
        self.received = 0
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._server.accept()
            except OSError:
                return
            outer = socket.create_connection(("127.0.0.1", self._to))
            Thread(target=self._pass, args=(inner, outer, False), daemon=True).start()
            Thread(target=self._pass, args=(outer, inner, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                self.received += len(data) if counted else 0
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            target.close()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()


@contextmanager
def scheduler(folder: Path, env: dict[str, str], workers: int) -> Iterator[str]:
    """A Dask scheduler with so many workers, each on a core of its own; its address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, words: Sequence[str | Path], pattern: str) -> str:
        log = folder / f"{name}.log"
        with log.open("wb") as told:
            started.append(
                subprocess.Popen(
                    [str(word) for word in words],
                    cwd=folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=told,
                    stderr=told,
                )
            )
        for _ in range(2400):
            if found := re.search(pattern, log.read_text()):
                return found[1]
            time.sleep(0.05)
        raise TimeoutError(log.read_text()[-500:])

    dask = Path(sys.executable).with_name("dask")
    quiet = ("--no-dashboard",)
    try:
        words: list[str | Path] = [dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *quiet]
        address = start("scheduler", on_core(1, words), r"Scheduler at:\s+(tcp://\S+)")
        for number in range(workers):
            words = [dask, "worker", address, "--nthreads", "16", "--no-nanny", *quiet]
            words += ["--local-directory", folder / f"disk-{number}"]
            start(f"worker-{number}", on_core(number, words), r"(Registered to)")
        yield address
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


# -- the rows ----------------------------------------------------------------------------------


def against_one_machine(place: Place) -> Measured:
    """A run that collects, on one core; then with one worker on a core, and with two on two."""
    count, size = place.pick(500, 16, 3), place.pick(20_000_000, 20_000_000, 300_000)
    # What transcoding took, see docs/performance.md: a drawn clip of 5 s from 1080p to 720p.
    seconds = place.pick(0.8, 0.8, 0.1)
    runs = {n: _collected(place, count, size, seconds, n) for n in (0, 1, 2)}
    alone = runs[0]["usage"]
    figures = []
    for workers in (1, 2):
        run = runs[workers]
        used: Usage = run["usage"]
        told = f"{used.wall:.1f} s, alone {alone.wall:.1f} s"
        figures += [
            Figure(
                name=f"speed-up, {workers} of 2 cores as workers",
                value=alone.wall / used.wall,
                bound=1.3 if workers == 2 and place.scale == "full" else None,
                at_least=True,
                note=told,
            ),
            Figure(
                name=f"processor time of the run ÷ alone, {workers} workers",
                value=used.cpu / alone.cpu,
                bound=0.5 if place.scale == "full" else None,
                note=f"{used.cpu:.1f} s, alone {alone.cpu:.1f} s",
            ),
            Figure(
                name=f"bytes from fal to the run ÷ bytes of files, {workers} workers",
                value=run["received"] / (count * size),
                bound=None if place.scale == "tiny" else 0.01,
                note=f"{run['received'] / 1e6:.2f} of {count * size / 1e6:,.0f} MB",
            ),
        ]
    made = min(run["renditions"] for run in runs.values())
    figures.append(Figure(name="renditions", value=made, bound=2 * count, at_least=True))
    details: dict[str, Any] = {
        "files": count,
        "bytes": size,
        "seconds_of_a_rendition": seconds,
        "runs": {str(n): {**run, "usage": vars_of(run["usage"])} for n, run in runs.items()},
    }
    return Measured(figures, details)


def _collected(place: Place, count: int, size: int, seconds: float, workers: int) -> dict[str, Any]:
    """Submit without waiting; then measure a run that collects and makes the renditions."""
    with place.fresh() as folder:
        numbers = [*range(count)]
        text = MANIFEST.format(python=sys.executable, seconds=seconds, numbers=numbers)
        (folder / "m.yaml").write_text(text)
        (folder / "work.py").write_text(WORK)
        with stand_in(folder, slots=count, service=0.05, size=size) as service:
            words = ("run", "m.yaml", "--yes", "--quiet", "-j", str(count), "--rate", "2000/s")
            detached = kling_batch(*words, "--detach")
            measure(detached, folder=folder, env=service.env, codes=(STILL_OPEN,))
            if not workers:
                command = on_core(0, kling_batch(*words, "--collect"))
                usage = measure(command, folder=folder, env=service.env, timeout=MOST_SECONDS)
                received = count * size
            else:
                usage, received = _by_workers(folder, service, words, workers)
        renditions = sum(1 for _ in folder.rglob("clip-*.web.bin"))
        renditions += sum(1 for _ in folder.rglob("clip-*.poster.jpg"))
    return {"usage": usage, "received": received, "renditions": renditions}


def _by_workers(
    folder: Path, service: StandIn, words: Sequence[str], workers: int
) -> tuple[Usage, int]:
    relay = Relay(service.port)
    try:
        with scheduler(folder, service.env, workers) as address:
            command = kling_batch(*words, "--collect", "--scheduler", address)
            env = {**service.env, "HTTPS_PROXY": relay.address}
            command = on_core(1, command)
            usage = measure(command, folder=folder, env=env, timeout=MOST_SECONDS)
    finally:
        relay.close()
    if "on this machine" in usage.output:
        raise RuntimeError(usage.output[-1000:])
    return usage, relay.received


PUTS = """\
import anyio, sys
from pathlib import Path
from kling_batch.core.locations import ObjectAddress
from kling_batch.output.files import digest_of
from kling_batch.output.store import put
from kling_batch.output.worker import Threads

def one(path):
    put(path, ObjectAddress(f"s3://assets/ours/{path.name}"), digest_of(path))

async def main():
    files = Threads(8)
    async with anyio.create_task_group() as tasks:
        for path in sorted(Path("files").iterdir()):
            tasks.start_soon(files.run, one, path)

anyio.run(main)
"""


def puts(place: Place) -> Measured:
    """Files of 20 MB into a bucket of moto's server: the store of a run, `aws s3 cp`, `s5cmd`."""
    count, size = place.pick(50, 20, 2), place.pick(20_000_000, 20_000_000, 200_000)
    with place.fresh() as folder:
        (folder / "files").mkdir()
        for number in range(count):
            (folder / "files" / f"{number}.mp4").write_bytes(os.urandom(size))
        (folder / "puts.py").write_text(PUTS)
        programs: dict[str, list[str | Path]] = {"ours": [sys.executable, "puts.py"]}
        if aws := shutil.which("aws"):
            programs["aws s3 cp"] = [aws, "s3", "cp", "--recursive", "files", "s3://assets/aws"]
        if s5cmd := shutil.which("s5cmd"):
            programs["s5cmd cp"] = [s5cmd, "cp", "files/*", "s3://assets/s5cmd/"]
        found: dict[str, list[Usage]] = {name: [] for name in programs}
        for _ in range(place.pick(2, 2, 1)):
            for name, words in programs.items():
                with bucket(folder) as env:
                    found[name].append(measure(words, folder=folder, env=env))
    best = {name: min(usages, key=lambda u: u.wall) for name, usages in found.items()}
    ours = best.pop("ours")
    rate = count * size / 1e6 / ours.wall
    figures = [Figure(name="puts", value=rate, unit="MB/s", note=f"{ours.wall:.1f} s")]
    for name, other in best.items():
        figures += [
            Figure(
                name=f"wall time ÷ that of {name}",
                value=ours.wall / other.wall,
                note=f"{ours.wall:.1f} s, {other.wall:.1f} s",
            ),
            Figure(
                name=f"processor time ÷ that of {name}",
                value=ours.cpu / other.cpu,
                note=f"{ours.cpu:.1f} s, {other.cpu:.1f} s",
            ),
        ]
    details = {name: [vars_of(usage) for usage in usages] for name, usages in found.items()}
    return Measured(figures, {"files": count, "bytes": size, "programs": details})


@contextmanager
def bucket(folder: Path) -> Iterator[dict[str, str]]:
    """A server of moto's with an empty bucket `assets`; the environment of its clients."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Path(sys.executable).with_name("moto_server")
    address = f"http://127.0.0.1:{port}"
    env = environment(
        AWS_ENDPOINT_URL=address,
        S3_ENDPOINT_URL=address,
        AWS_ACCESS_KEY_ID="bench-id",
        AWS_SECRET_ACCESS_KEY="bench-secret",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
    )
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-p", str(port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        for _ in range(300):
            try:
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(
                        f"PUT /assets HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                        "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
                    )
                    if connection.recv(64).split()[1:2] == [b"200"]:
                        break
            except OSError:
                time.sleep(0.1)
        yield env
    finally:
        process.kill()
        process.wait()


ROWS = (
    Row("workers", "files of 20 MB with two renditions each, by workers", against_one_machine),
    Row("puts-s3", "files of 20 MB into S3, beside other programs", puts),
)
