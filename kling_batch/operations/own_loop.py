"""Asynchronous work run to its end by synchronous code. Must not know what the work is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.lowlevel

T = TypeVar("T")


def in_own_loop(work: Callable[[], Awaitable[T]]) -> T:
    """Run asynchronous work to its end, also where the caller is inside an event loop."""
    try:
        anyio.lowlevel.current_token()
    except RuntimeError:
        return anyio.run(work)
    from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - commands have no loop

    with start_blocking_portal() as portal:
        return portal.call(work)
