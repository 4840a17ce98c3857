"""Pool of worker processes that make renditions beside a run.

Each is a session of its own, so that Ctrl-C reaches the run alone, and is killed with every program
it has started. Must not decide which renditions are made, and must not know the ledger.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from kling_batch.core.programs import without_secrets
from kling_batch.core.recipes import CHANGED_INPUT
from kling_batch.renditions.make import Made, remove_leftovers

#: Bytes of one answer at most.
_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Failed:
    """A rendition that was not made, and why."""

    reason: str
    #: By a command that has changed what it must only read; the reason ends with that.
    changed_input: bool = False


def blame(recipe: Mapping[str, Any], made: Made | Failed) -> str:
    """That the command of a recipe has changed what it must only read, with what else it did."""
    if not isinstance(made, Failed):
        return f"{recipe['command'][0]} {CHANGED_INPUT}"
    return made.reason if made.changed_input else f"{made.reason}; it {CHANGED_INPUT}"


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usual_workers() -> int:
    """Processes where nothing says: whatever starts them needs processors, too."""
    return max(1, processors() // 2)


class WorkerPool:
    """So many processes at most, each started when it is first needed."""

    def __init__(self, workers: int, threads: int | None = None) -> None:
        """Nothing is started yet; `threads`: of each encoder, else all share the processors."""
        self.workers = workers
        self._threads = threads or max(1, -(-processors() // workers))
        self._limit = anyio.Semaphore(workers)
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []

    async def make(
        self, source: Path, recipe: Mapping[str, Any], target: Path, *, begun: bool = False
    ) -> Made | Failed:
        """Make one rendition; a worker that is cancelled at it, or dies, is replaced.

        `begun`: it was begun before and may have left something.
        """
        task = {
            "source": str(source.absolute()),
            "target": str(target.absolute()),
            "recipe": recipe,
            "threads": self._threads,
            "begun": begun,
        }
        async with self._limit:
            try:
                worker = self._idle.pop() if self._idle else await self._start()
            except OSError as error:
                return Failed(f"no worker process can be started: {error.strerror}")
            answer: dict[str, Any] | None = None
            ended = ""
            try:
                answer = await worker.ask(task)
            finally:
                if answer is None:
                    ended = await self._end(worker)
                    remove_leftovers(target)
            if answer is None:
                return Failed(ended)
            if "failed" in answer and recipe["kind"] == "command":
                await self._end(worker)  # with what the program has started and left behind
            else:
                self._idle.append(worker)
        if "made" in answer:
            return answer["made"]  # type: ignore[no-any-return]
        return Failed(answer["failed"], answer.get("changed_input", False))

    async def _start(self) -> _Worker:
        process = await anyio.open_process(
            [sys.executable, "-P", "-m", "kling_batch.renditions.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**without_secrets(os.environ), "SVT_LOG": "0", "PYTHONUTF8": "1"},
            start_new_session=True,
        )
        worker = _Worker(process)
        self._all.append(worker)
        return worker

    async def _end(self, worker: _Worker) -> str:
        """Kill a worker with everything that it has started; how it ended."""
        worker.kill()
        with anyio.CancelScope(shield=True):
            ended = await worker.ending()
        self._all.remove(worker)
        return ended

    def kill(self) -> None:
        """Kill every process, with everything that they have started; needs no event loop."""
        for worker in self._all:
            worker.kill()

    async def close(self) -> None:
        """Kill every process, and wait until it has ended."""
        with anyio.CancelScope(shield=True):
            self.kill()
            for worker in self._all:
                await worker.ending()
        self._all.clear()
        self._idle.clear()


@asynccontextmanager
async def worker_pool(workers: int, threads: int | None = None) -> AsyncIterator[WorkerPool]:
    """A pool whose processes are gone afterwards, however that is left."""
    pool = WorkerPool(workers, threads)
    try:
        yield pool
    finally:
        await pool.close()


class _Worker:
    """One process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        assert process.stdout is not None
        self._answers = BufferedByteReceiveStream(process.stdout)

    async def ask(self, task: Mapping[str, Any]) -> dict[str, Any] | None:
        """Its answer; None: it has died."""
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send(json.dumps(task).encode() + b"\n")
            line = await self._answers.receive_until(b"\n", _LINE)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.IncompleteRead):
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """Kill it with everything that it has started."""
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    async def ending(self) -> str:
        """How it has ended, for people."""
        code = await self._process.wait()
        await self._process.aclose()
        return f"the worker process ended ({code}), perhaps for want of memory"
