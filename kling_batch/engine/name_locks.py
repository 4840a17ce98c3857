"""Locks of file names: one job at a time gives a file its name and records it.

The one that comes second then finds the other's file, in the ledger, too, and keeps it beside.
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractAsyncContextManager

import anyio

from kling_batch.core.locations import Location


class NameLocks:
    """The names that somebody holds, and who waits for each, in order."""

    def __init__(self) -> None:
        """Nobody holds any."""
        self._lines: dict[Location, deque[anyio.Event]] = {}

    def held(self, *names: Location) -> AbstractAsyncContextManager[None]:
        """Hold these names, once nobody else does."""
        # In one order, so that no two wait for each other.
        return _Held(self, sorted(set(names), key=str))

    async def take(self, name: Location) -> None:
        """Wait for a name and hold it."""
        if name not in self._lines:
            self._lines[name] = deque()
            return
        turn = anyio.Event()
        self._lines[name].append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.leave(name)
            else:
                self._lines[name].remove(turn)
            raise

    def leave(self, name: Location) -> None:
        """Give a name to the next one."""
        if self._lines[name]:
            self._lines[name].popleft().set()
        else:
            del self._lines[name]


class _Held(AbstractAsyncContextManager[None]):
    def __init__(self, locks: NameLocks, names: list[Location]) -> None:
        self._locks, self._names = locks, names
        self._taken: list[Location] = []

    async def __aenter__(self) -> None:
        try:
            for name in self._names:
                await self._locks.take(name)
                self._taken.append(name)
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        for name in self._taken:
            self._locks.leave(name)
