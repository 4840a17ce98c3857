"""Which signals a run handles: a choice of whoever starts it. `signals.py` handles them.

Outside its event loop a signal is an exception, as Ctrl-C always is. Must not load an event loop.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from types import FrameType

from kling_batch.errors import Terminated


class Signals(Enum):
    """Which signals a run handles."""

    #: A program of its own: SIGINT, SIGTERM and SIGHUP, and the process may be ended.
    PROCESS = auto()
    #: Inside another program: the first SIGINT only; the next one is that program's.
    INTERRUPT = auto()
    #: Inside an event loop or a thread of another program: none.
    NONE = auto()


def signals_of_caller() -> Signals:
    """SIGINT in the main thread of a program that does not handle it itself, else nothing."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return Signals.NONE
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # only the main thread may
        return Signals.NONE
    return Signals.INTERRUPT


@contextmanager
def raised(handled: Signals = Signals.PROCESS) -> Iterator[None]:
    """Raise SIGTERM and SIGHUP inside of the block, so that what was begun is ended in order.

    By default they would end the process before its ledger says that the run has ended. What the
    parent has set to ignored, and what has a handler, stays as it is; a second SIGTERM ends the
    process.
    """
    names = ("SIGTERM", "SIGHUP") if handled is Signals.PROCESS else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    with suppress(ValueError):  # only the main thread may
        for number in taken:
            signal.signal(number, _raise)
    try:
        yield
    finally:
        with suppress(ValueError):
            for number in taken:
                signal.signal(number, signal.SIG_DFL)


def _raise(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated
    # A window that closes hangs up twice, by its shell and by the kernel.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
