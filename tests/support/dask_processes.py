"""A Dask scheduler and its workers as processes, started by the commands that the docs name."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.process import environment

DASK = Path(sys.executable).with_name("dask")


class Processes:
    """One scheduler on a port of its own, and the workers that were started for it."""

    def __init__(self, folder: Path) -> None:
        """What they log goes to files in `folder`."""
        self.folder = folder
        self.address = ""
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def logs(self) -> str:
        return "".join(path.read_text("utf-8") for path in sorted(self.folder.glob("*.log")))

    def start_scheduler(self) -> None:
        words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        # Its HTTP server comes all the same; on its usual port may be that of another scheduler.
        words += ["--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self._start("scheduler", words, environment(PYTHONWARNINGS="ignore"))
        found = self._told("scheduler", r"Scheduler at:\s+(tcp://\S+)")
        self.address = found

    def start_worker(
        self, env: Mapping[str, str], *, threads: int = 4, cwd: Path | None = None
    ) -> str:
        """The address of one more worker, which has no nanny to start it again."""
        name = f"worker-{len(self.workers)}"
        words = ["worker", self.address, "--nthreads", str(threads), "--no-nanny"]
        words += ["--no-dashboard", "--local-directory", str(self.folder / name)]
        self.workers.append(self._start(name, words, {**env, "PYTHONWARNINGS": "ignore"}, cwd))
        at = self._told(name, r"Start worker at:\s+(tcp://\S+)")
        self._told(name, r"(Registered to)")
        return at

    def _start(
        self, name: str, words: list[str], env: Mapping[str, str], cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [DASK, *words],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _told(self, name: str, pattern: str) -> str:
        path = self.folder / f"{name}.log"
        process = self.workers[-1] if self.workers else self.scheduler
        for _ in range(2400):
            if found := re.search(pattern, path.read_text("utf-8")):
                return found[1]
            if process is not None and process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"{name} did not start: {path.read_text('utf-8')}")

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()


@contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    """A running scheduler; all processes end with the test."""
    folder.mkdir(exist_ok=True)
    cluster = Processes(folder)
    try:
        cluster.start_scheduler()
        yield cluster
    finally:
        for process in [*cluster.workers, cluster.scheduler]:
            if process is not None and process.poll() is None:
                cluster.kill(process)
