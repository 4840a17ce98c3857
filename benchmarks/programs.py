"""Programs under measurement: the stand-in, kling-batch and its references, each a process.

Time, processor time and memory are those that the system counted for the process. Needs the
standard library only: what this process holds in memory would count as the child's.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process took; `code` is None where it was ended for taking too long."""

    code: int | None
    wall: float
    cpu: float
    #: The most memory it had, in MB.
    memory: float
    output: str = ""


class FailedError(Exception):
    """A program ended as it must not; the message holds what it said."""


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without keys, proxies and settings of the programs."""
    prefixes = ("FAL_", "KLING_BATCH_", "GITHUB_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(prefixes)
        and not name.lower().endswith("_proxy")
        and name not in ("CI", "SSL_CERT_FILE", "PYTHONDONTWRITEBYTECODE")
    }
    before = os.environ.get("PYTHONPATH")
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), before)))} | extra


def measure(
    words: Sequence[str | Path],
    *,
    folder: Path,
    env: dict[str, str] | None = None,
    timeout: float = 600.0,
    codes: Sequence[int] = (0,),
) -> Usage:
    """Run a program to its end; `FailedError` where its exit code is not among `codes`."""
    with (folder / "output.txt").open("w+b") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in words],
            cwd=folder,
            env=env or environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        over = threading.Timer(timeout, process.kill)
        over.start()
        try:
            # Not `process.wait`: only this call tells what the process took.
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            late = not over.is_alive()
            over.cancel()
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if not late and process.returncode not in codes:
        raise FailedError(
            f"{Path(words[0]).name} … ended with {process.returncode}: {text[-2000:]}"
        )
    scale = 1024**2 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return Usage(
        code=None if late else process.returncode,
        wall=wall,
        cpu=used.ru_utime + used.ru_stime,
        memory=used.ru_maxrss / scale,
        output=text,
    )


class StandIn:
    """A running stand-in: how programs reach it, and its books."""

    def __init__(self, port: int, bundle: str) -> None:
        self.port = port
        self.bundle = bundle
        self.env = environment(
            FAL_KEY="bench-key-id:bench-key-secret",
            SSL_CERT_FILE=bundle,
            HTTPS_PROXY=self.proxy,
        )

    @property
    def proxy(self) -> str:
        """Its address as a proxy."""
        return f"http://127.0.0.1:{self.port}"

    def books(self) -> dict[str, Any]:
        """What was asked of it so far."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(b"GET /books HTTP/1.1\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        books: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return books


@contextmanager
def stand_in(
    folder: Path,
    *,
    slots: int,
    service: float,
    size: int,
    spread: float = 0.0,
    trouble: float = 0.0,
) -> Iterator[StandIn]:
    """Start one of its own for each program, so that nothing is shared between them."""
    place = folder / "stand-in"
    place.mkdir(exist_ok=True)
    numbers = {
        "--slots": slots,
        "--service": service,
        "--size": size,
        "--spread": spread,
        "--trouble": trouble,
    }
    words = [str(word) for pair in numbers.items() for word in pair]
    with (place / "errors.txt").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.standin", str(place), *words],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise FailedError((place / "errors.txt").read_text())
        yield StandIn(**json.loads(line))
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.communicate()


def kling_batch(*words: str | Path) -> list[str | Path]:
    """The command line of the program."""
    return [sys.executable, "-m", "kling_batch", *words]


MANIFEST = """\
version: 1
name: bench
defaults: {mode: text-to-video, tier: standard, duration: 5}
jobs:
  - from: rows.csv
    id: "clip-{{ n }}"
    prompt: "Clip number {{ n }} of a lamp"
"""


def write_batch(folder: Path, jobs: int) -> None:
    """A manifest `m.yaml` with its table."""
    (folder / "m.yaml").write_text(MANIFEST)
    rows = "".join(f"{number}\n" for number in range(jobs))
    (folder / "rows.csv").write_text(f"n\n{rows}")
