"""Locks of file names: one job at a time gives a file its name and records it.

The one that comes second then finds the other's file, in the ledger, too, and keeps it beside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from kling_batch.core.locations import Location


class NameLocks:
    """One lock for each name that somebody holds or waits for."""

    def __init__(self) -> None:
        """Nobody holds any."""
        self._locks: dict[Location, anyio.Lock] = {}
        self._users = Counter[Location]()

    @asynccontextmanager
    async def held(self, *names: Location) -> AsyncIterator[None]:
        """Hold these names, once nobody else does."""
        async with AsyncExitStack() as stack:
            # In one order, so that no two wait for each other.
            for name in sorted(set(names), key=str):
                await stack.enter_async_context(self._one(name))
            yield

    @asynccontextmanager
    async def _one(self, name: Location) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, anyio.Lock(fast_acquire=True))
        self._users[name] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._locks[name]
