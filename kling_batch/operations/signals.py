"""Signals of a run: stop in order on the first one, leave at once on the second or after a grace.

Must not decide anything about jobs; what is committed stays, and the rest is in doubt.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio

from kling_batch.core.events import EventKind, RunEvent
from kling_batch.engine.engine import Engine
from kling_batch.errors import ExitCode
from kling_batch.report.display.base import Display

#: Seconds between SIGTERM and leaving whatever is open: CI systems kill after about ten.
TERM_GRACE = 8.0


async def interrupt_once(
    signals: AsyncIterator[signal.Signals], engine: Engine, display: Display
) -> None:
    """Stop in order at the first SIGINT; a second one raises `KeyboardInterrupt` as usual."""
    async for _ in signals:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _stop(engine, display)
        return


def _stop(engine: Engine, display: Display) -> None:
    hint = "stopping in order; Ctrl-C once more leaves at once"
    display.notify(RunEvent(kind=EventKind.STOPPING, message=hint))
    engine.leave(ExitCode.INTERRUPTED, "interrupted")


async def listen(
    signals: AsyncIterator[signal.Signals],
    engine: Engine,
    display: Display,
    last_message: Callable[[], str],
) -> None:
    """Stop in order at the first signal, at once at a second Ctrl-C, after a grace at SIGTERM.

    A terminal window that closes sends SIGHUP twice, by its shell and by the kernel: that is no
    second Ctrl-C.

    Args:
        signals: of `received_signals.receiver`.
        engine: leaves in order.
        display: gets the message and is closed before the process ends.
        last_message: what a person must know where no summary will come.
    """

    def leave_now(code: ExitCode) -> None:
        with suppress(Exception):  # leaving comes first, with or without a message
            display.notify(RunEvent(kind=EventKind.STOPPING, message=last_message()))
            display.close()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    async def leave_later() -> None:
        await anyio.sleep(TERM_GRACE)
        leave_now(ExitCode.TERMINATED)

    interrupted = False
    async with anyio.create_task_group() as tasks:
        async for number in signals:
            if number == signal.SIGTERM:
                engine.leave(ExitCode.TERMINATED, "terminated (SIGTERM)")
                tasks.start_soon(leave_later)
            elif not interrupted:
                interrupted = True
                _stop(engine, display)
            elif number == signal.SIGINT:
                leave_now(ExitCode.INTERRUPTED)
