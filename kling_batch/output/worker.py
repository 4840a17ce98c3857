"""File work of a run: blocking calls, in worker threads or in the event loop itself.

A sync takes milliseconds and a digest of a clip longer, for which the loop must not stand still.
Tests on virtual time take the loop: threads would make their order a matter of chance. Must not
know what the work is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

import anyio
from anyio import from_thread, to_thread

P = ParamSpec("P")
T = TypeVar("T")


class FileWorker(Protocol):
    """Runs blocking work; what is begun ends, whoever is cancelled meanwhile."""

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, called with these arguments."""

    def in_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of what only the loop's thread may do; called from inside of work."""


class Threads:
    """Worker threads, so many at a time."""

    def __init__(self, most: int) -> None:
        """No thread is started yet."""
        self._limiter = anyio.CapacityLimiter(most)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a thread."""
        call = partial(work, *args, **kwargs)
        return await to_thread.run_sync(call, limiter=self._limiter)

    def in_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in the loop, and wait for it in this thread."""
        return from_thread.run_sync(partial(work, *args, **kwargs))


class InLoop:
    """The event loop's own thread: everything in the order in which it is asked for."""

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` at once."""
        return work(*args, **kwargs)

    def in_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` at once."""
        return work(*args, **kwargs)
