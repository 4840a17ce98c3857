"""Asynchronous work run to its end by synchronous code. Must not know what the work is."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import anyio
import anyio.lowlevel

T = TypeVar("T")


def in_own_loop(work: Callable[[], Awaitable[T]]) -> T:
    """Run asynchronous work to its end, also where the caller is inside an event loop."""
    if not in_a_loop():
        return anyio.run(work)
    from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - commands have no loop

    with start_blocking_portal() as portal:
        return portal.call(work)


def in_a_loop() -> bool:
    """Whether this thread is inside an event loop, be it in a callback that belongs to no task."""
    running: list[Callable[[], object]] = [anyio.lowlevel.current_token]
    if asyncio := sys.modules.get("asyncio"):  # without it, none of its loops runs
        running.insert(0, asyncio.get_running_loop)
    for current in running:
        with suppress(RuntimeError):
            current()
            return True
    return False
