"""Ctrl-C, SIGTERM and a closed window: leaving in order, and at once where that takes too long.

Must not decide anything about jobs; what is committed is committed, and the rest is in doubt.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, suppress

import anyio

from kling_batch.core.events import EventKind, RunEvent
from kling_batch.engine.engine import Engine
from kling_batch.errors import ExitCode
from kling_batch.report.display.base import Display

#: Seconds between SIGTERM and leaving whatever is open: CI systems kill after about ten.
TERM_GRACE = 8.0


def receiver() -> AbstractContextManager[AsyncIterator[signal.Signals]]:
    """Catches the signals from now on, also before anybody listens.

    What the parent had us ignore (`nohup`, `&` in a script) stays ignored.
    """
    asked = [signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    wanted = [number for number in asked if signal.getsignal(number) is not signal.SIG_IGN]
    return anyio.open_signal_receiver(signal.SIGTERM, *wanted)


async def listen(
    signals: AsyncIterator[signal.Signals],
    engine: Engine,
    display: Display,
    last_words: Callable[[], str],
) -> None:
    """The first signal leaves in order, the second Ctrl-C at once, SIGTERM within its grace.

    A window that closes hangs up twice, by its shell and by the kernel: that is no second Ctrl-C.
    `last_words`: what a person must know where no summary will come.
    """

    def leave_now(code: ExitCode) -> None:
        with suppress(Exception):  # leaving is what was asked for, words or no words
            display.notify(RunEvent(kind=EventKind.STOPPING, message=last_words()))
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
                hint = "stopping in order; Ctrl-C once more leaves at once"
                display.notify(RunEvent(kind=EventKind.STOPPING, message=hint))
                engine.leave(ExitCode.INTERRUPTED, "interrupted")
            elif number == signal.SIGINT:
                leave_now(ExitCode.INTERRUPTED)
