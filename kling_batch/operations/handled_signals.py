"""Which signals a run handles: a choice of whoever starts it. `signals.py` handles them."""

from __future__ import annotations

import signal
from enum import Enum, auto


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
