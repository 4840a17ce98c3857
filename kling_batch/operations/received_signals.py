"""Receiver of signals inside an event loop: from its first moment, on every system.

Must not know what a signal ends.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import FrameType

import anyio

from kling_batch.exit_codes import ExitCode
from kling_batch.operations.handled_signals import Signals

#: Seconds between looks at signals that the event loop does not deliver.
_LOOK = 0.1
#: Seconds in which the event loop hands out what has arrived.
_MOMENT = 0.001

#: What ends something, by its exit code.
WORDS = {ExitCode.INTERRUPTED: "interrupted", ExitCode.TERMINATED: "terminated (SIGTERM)"}


def code_of(number: signal.Signals) -> ExitCode:
    """The exit code of what a signal has ended; a closed terminal counts as Ctrl-C."""
    return ExitCode.TERMINATED if number == signal.SIGTERM else ExitCode.INTERRUPTED


async def left_over(signals: AsyncIterator[signal.Signals] | None) -> ExitCode | None:
    """The code of a signal that came after everybody had stopped listening.

    Whoever sent it wants nothing to follow, so it must not be lost.
    """
    if signals is not None:
        with anyio.move_on_after(_MOMENT):
            async for number in signals:
                return code_of(number)
    return None


def receiver(handled: Signals) -> AbstractContextManager[AsyncIterator[signal.Signals] | None]:
    """Receive the signals from now on, also before anybody listens; None where none is handled.

    Signals that the parent process has set to ignored (`nohup`, `&` in a script) stay ignored.
    """
    if handled is Signals.NONE:
        return nullcontext()
    if handled is Signals.INTERRUPT:
        return _received(signal.SIGINT)
    # SIGHUP is POSIX's alone, SIGBREAK (Ctrl-Break, a closed console) is that of Windows.
    names = ("SIGINT", "SIGHUP", "SIGBREAK")
    asked = [getattr(signal, name) for name in names if hasattr(signal, name)]
    wanted = [number for number in asked if signal.getsignal(number) is not signal.SIG_IGN]
    return _received(signal.SIGTERM, *wanted)


@contextmanager
def _received(*numbers: signal.Signals) -> Iterator[AsyncIterator[signal.Signals]]:
    """Receive signals through the event loop, or without it where it cannot: on Windows."""
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        with ExitStack() as stack:
            try:
                signals = stack.enter_context(anyio.open_signal_receiver(*numbers))
            except NotImplementedError:
                signals = stack.enter_context(_handled(numbers))
            yield signals
    finally:
        # asyncio leaves the default behind. For SIGINT that raises, and so it stays.
        for number, handler in before.items():
            if number != signal.SIGINT:
                signal.signal(number, handler)


@contextmanager
def _handled(numbers: Sequence[signal.Signals]) -> Iterator[AsyncIterator[signal.Signals]]:
    """The same by handlers of the process, which only take note."""
    pending: deque[signal.Signals] = deque()

    async def received() -> AsyncIterator[signal.Signals]:
        while True:
            while pending:
                yield pending.popleft()
            await anyio.sleep(_LOOK)

    def note(number: int, _frame: FrameType | None) -> None:
        pending.append(signal.Signals(number))

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
