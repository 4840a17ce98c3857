"""fal's clock, as its answers show it, compared with this machine's.

Intents are stamped by this machine, requests are listed by fal's time. Must not decide
what a difference means.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio

from kling_batch.engine.context import RunContext


class RemoteClock:
    """fal's time at any moment of the loop's clock."""

    def __init__(self, context: RunContext) -> None:
        """Until fal has answered, its time is taken to be this machine's."""
        self._context = context
        #: fal's time and the loop's at fal's latest answer.
        self._seen: tuple[datetime, float] | None = None

    def note(self, time: datetime) -> None:
        """Set fal's time of this moment."""
        self._seen = time, anyio.current_time()

    def at(self, moment: float) -> datetime:
        """fal's time at a moment of the loop's clock."""
        time, seen_at = self._seen or (self._context.now(), anyio.current_time())
        return time - timedelta(seconds=seen_at - moment)

    def differs(self, tolerance: timedelta) -> bool:
        """Whether fal's clock is known to differ from this machine's by more than `tolerance`."""
        return (
            self._seen is not None
            and abs(self._context.now() - self.at(anyio.current_time())) > tolerance
        )
