"""How fast and how many: the token bucket for requests and the window of open requests.

Time is `anyio.current_time`, so tests run it virtually. Must not know what it paces.
"""

from __future__ import annotations

import anyio


class Rate:
    """A token bucket: `per_second` takes a second, evenly spaced after a small burst, in order."""

    def __init__(self, per_second: float, burst: int = 1) -> None:
        """`burst` takes may happen at once after a pause."""
        self._interval = 1.0 / per_second
        self._slack = self._interval * (burst - 1)
        self._next = 0.0
        self._line = anyio.Lock()

    async def take(self) -> None:
        """Wait in line for the next token."""
        async with self._line:
            # A loop, because `hold` may move the moment while somebody waits for it.
            while (now := anyio.current_time()) < self._next - self._slack:  # noqa: ASYNC110
                await anyio.sleep(self._next - self._slack - now)
            self._next = max(self._next, now) + self._interval

    def hold(self, seconds: float) -> None:
        """Give no token for a while: somebody was told to slow down, so everybody does."""
        self._next = max(self._next, anyio.current_time() + seconds + self._slack)


class Window:
    """How many requests may be open at once: the money exposed at any moment."""

    def __init__(self, limit: int) -> None:
        """At most `limit` enter by waiting; requests found open at the start enter at once."""
        self._limit = limit
        self.open = 0
        self._changed = anyio.Event()

    @property
    def full(self) -> bool:
        """Whether the next one would have to wait."""
        return self.open >= self._limit

    async def enter(self) -> None:
        """Wait for a place and take it."""
        while self.full:
            await self._changed.wait()
        self.open += 1

    def enter_now(self) -> None:
        """Count a request that is open already."""
        self.open += 1

    def leave(self) -> None:
        """Give the place to the next in line."""
        self.open -= 1
        self._changed.set()
        self._changed = anyio.Event()
