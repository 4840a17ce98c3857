"""Garbage collections of this program: fewer, and none of what stays anyway."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: New values after which garbage is collected: while the program starts, and while it works.
#: Python's own 700 is for programs that make less.
_AT_START, _AT_WORK = 200_000, 10_000


def gc_seldom() -> None:
    """Collect no garbage while the program starts, and none when the process ends.

    For a program that has its process for itself. Measured: modules alone are 100,000 values that
    stay; to look through them, and once more at the end, took a fifth of a run of four jobs.
    """
    gc.set_threshold(_AT_START, 10, 10)
    atexit.register(gc.freeze)


@contextmanager
def gc_paused() -> Iterator[None]:
    """No garbage collection; only for work that leaves no garbage in circles.

    Measured: jobs written as YAML load in two thirds of the time, and 100,000 rows load and plan in
    four fifths, since the collector does not visit every value again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def gc_spared() -> Iterator[None]:
    """For long work: collect what is made from now on, and leave out what exists already.

    Modules, the catalogue and the plan stay anyway. Measured: a full collection that goes through
    them holds an event loop for 50 ms. None is made before either: it takes 30 ms of every start
    and finds next to nothing.
    """
    before = gc.get_threshold()
    gc.set_threshold(min(before[0], _AT_WORK), *before[1:])
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
