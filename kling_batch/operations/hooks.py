"""Hooks of a run: commands of the user's own, started beside it, with JSON on their input.

A hook never holds up the run, and whatever becomes of it is a warning: it decides neither about
jobs nor about money. It gets no key. Must not know the ledger or the engine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import anyio
from anyio.abc import Process, TaskGroup, TaskStatus

from kling_batch.core.events import EventKind, Pace, RunEvent
from kling_batch.core.jobs import JSON, Batch
from kling_batch.core.program_output import Tail
from kling_batch.core.programs import forbidden_by, without_secrets
from kling_batch.core.quantities import format_time
from kling_batch.core.text import count
from kling_batch.operations.services import now
from kling_batch.report.display.ndjson import event_record
from kling_batch.report.run_report import RunReport, RunStarted

#: Hooks at once: a thousand saved files must not become a thousand processes.
PARALLEL = 4
#: Seconds that one hook may take, and that the end of a run waits for all that are left.
SECONDS = 60.0


class _Call(NamedTuple):
    """One command to run, and what it reads."""

    name: str
    command: tuple[str, ...]
    record: JSON


class Hooks:
    """Runs the hooks of some manifests; of a run's events it hears as a display.

    Args:
        batches: the manifests.
        warn: is told what went wrong, once for each message.
        environ: what the commands inherit, but for the key.
    """

    def __init__(
        self, batches: Sequence[Batch], warn: Callable[[str], None], environ: Mapping[str, str]
    ) -> None:
        """Nothing runs yet."""
        self._batches = batches
        self._tell = warn
        self._environ = without_secrets(environ)
        self._running: set[Process] = set()
        self._warned: set[str] = set()
        self._left = 0
        self._tasks: TaskGroup | None = None
        self._places = anyio.Semaphore(PARALLEL)

    # -- of a display --

    def start(self, started: RunStarted) -> None:
        """Nothing: there is no hook for it."""

    def notify(self, event: RunEvent) -> None:
        """Start the command for a job whose files are in place; returns at once."""
        if event.kind is not EventKind.SAVED or self._tasks is None:
            return
        for batch in self._batches:
            if batch.name == event.batch and batch.hooks.on_saved:
                record = event_record(
                    event.kind,
                    format_time(now()),
                    batch=event.batch,
                    job=event.job,
                    message=event.message,
                    data=event.data,
                )
                self._left += 1
                self._tasks.start_soon(
                    self._in_turn, _Call("on_saved", batch.hooks.on_saved, record)
                )

    def tick(self, now: float, pace: Pace | None = None) -> None:
        """Nothing: time changes nothing here."""

    def finish(self, report: RunReport) -> None:
        """Nothing: `finished` waits for its commands."""

    def close(self) -> None:
        """End every command that runs, with what it has started; needs no event loop."""
        for process in self._running:
            _kill(process)

    # -- of the event loop --

    async def work(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run the commands that events start, until it is cancelled, which ends them."""
        async with anyio.create_task_group() as self._tasks:
            task_status.started()
            await anyio.sleep_forever()

    async def _in_turn(self, call: _Call) -> None:
        async with self._places:
            await self._run(call)
        self._left -= 1

    async def drain(self, *, stopped: Callable[[], bool]) -> None:
        """Wait for what has been started, for a while and not after `stopped`."""
        with anyio.move_on_after(SECONDS):
            while self._left and not stopped():  # noqa: ASYNC110 - a stop is no event here
                await anyio.sleep(0.02)
        if self._left:
            left = count(self._left, "command")
            self._warn(f"on_saved: {left} had not ended when the run did, and were ended")

    async def finished(self, record: JSON) -> None:
        """Run the commands for the end of the run, each once, and wait for them."""
        commands = dict.fromkeys(batch.hooks.on_finished for batch in self._batches)
        async with anyio.create_task_group() as tasks:
            for command in filter(None, commands):
                tasks.start_soon(self._run, _Call("on_finished", command, record))

    async def _run(self, call: _Call) -> None:
        """Run one command to its end; never raises for what the command does."""
        try:
            with anyio.fail_after(SECONDS):
                said, code = await self._answer(call)
        except TimeoutError:
            self._warn(f"{_title(call)} took longer than {SECONDS:.0f} s and was ended")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._warn(f"{_title(call)} cannot be started: {reason}")
        else:
            if code:
                last = said.strip().splitlines()[-1:]
                self._warn(f"{_title(call)} ended with {code}" + "".join(f": {s}" for s in last))

    async def _answer(self, call: _Call) -> tuple[str, int]:
        # No pipes of the event loop: what the command leaves in the background keeps them open, and
        # then neither its end nor that of the process would be noticed.
        with tempfile.TemporaryFile() as given:
            given.write(json.dumps(call.record, default=str).encode() + b"\n")
            given.seek(0)
            reader, writer = os.pipe()
            said = Tail(os.fdopen(reader, "rb", buffering=0))
            try:
                process = await anyio.open_process(
                    call.command,
                    stdin=given,
                    stdout=subprocess.DEVNULL,
                    stderr=writer,
                    env=self._environ,
                    start_new_session=os.name == "posix",
                )
            finally:
                os.close(writer)
            self._running.add(process)
            try:
                code = await process.wait()
            except BaseException:
                _kill(process)
                raise
            finally:
                self._running.discard(process)
                with anyio.CancelScope(shield=True):
                    await process.aclose()
            return await anyio.to_thread.run_sync(said.text) if code else "", code

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._tell(message)


def hooks_of(
    batches: Sequence[Batch], warn: Callable[[str], None], environ: Mapping[str, str]
) -> Hooks | None:
    """The hooks of these manifests; None where they have none, or none may run."""
    if forbidden_by(environ) or not _any_hooks(batches):
        return None
    return Hooks(batches, warn, environ)


def left_out(batches: Sequence[Batch], environ: Mapping[str, str]) -> list[str]:
    """That the environment forbids what these manifests start or whom they tell."""
    wanted = _any_hooks(batches) or any(batch.notify for batch in batches)
    if not (by := forbidden_by(environ)) or not wanted:
        return []
    return [f"`hooks` and `notify` of the manifest are left out: {by}"]


def _any_hooks(batches: Sequence[Batch]) -> bool:
    return any(batch.hooks.on_saved or batch.hooks.on_finished for batch in batches)


def _title(call: _Call) -> str:
    return f"{call.name} `{call.command[0]}`"


def _kill(process: Process) -> None:
    """End a process and what it has started; nothing where it has ended."""
    if os.name != "posix":
        if process.returncode is None:
            process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
