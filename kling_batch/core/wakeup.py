"""Event that is set again and again: for those who wait until something has changed."""

from __future__ import annotations

import anyio


class Wakeup:
    """An event that is set again and again, each time for everybody who waits."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._event: anyio.Event | None = None

    async def wait(self) -> None:
        """Until the next `wake`."""
        self._event = self._event or anyio.Event()
        await self._event.wait()

    def wake(self) -> None:
        """Wake everybody who waits now."""
        if self._event is not None:
            self._event.set()
            self._event = None
