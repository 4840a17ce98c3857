"""File work of a run: blocking calls, in worker threads or in the event loop itself.

A sync takes milliseconds and a digest of a clip longer, for which the loop must not stand still.
Tests on virtual time take the loop: threads would make their order a matter of chance. Must not
know what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar

from anyio import CancelScope, CapacityLimiter, Event, from_thread, to_thread
from anyio.lowlevel import current_token

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
        self._limiter = CapacityLimiter(most)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a thread."""
        call = partial(work, *args, **kwargs)
        return await to_thread.run_sync(call, limiter=self._limiter)

    def in_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in the loop, and wait for it in this thread."""
        return from_thread.run_sync(partial(work, *args, **kwargs))


class RunThreads:
    """Worker threads of one run, so many at a time, kept from its first call to its end.

    A call costs half of what it costs through anyio, whose threads are found anew for each one: a
    run makes three for each file.
    """

    def __init__(self, most: int) -> None:
        """No thread is started yet; they end with the `with` block."""
        self._most = most
        self._started = self._under_way = 0
        self._calls = SimpleQueue[_Call[Any] | None]()
        self._loop: _Loop | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in range(self._started):
            self._calls.put(None)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a thread."""
        self._loop = self._loop or _Loop()
        call = _Call(partial(work, *args, **kwargs), self._loop)
        self._under_way += 1
        if self._started < min(self._under_way, self._most):
            self._started += 1
            Thread(target=_serve, args=[self._calls], name="file worker").start()
        self._calls.put(call)
        try:
            with CancelScope(shield=True):
                await call.over.wait()
        finally:
            self._under_way -= 1
        return call.result()

    def in_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in the loop, and wait for it in this thread."""
        assert self._loop is not None
        return self._loop.run(partial(work, *args, **kwargs))


class _Loop:
    """The running event loop, as other threads reach it."""

    def __init__(self) -> None:
        token = current_token()
        self.run = partial(from_thread.run_sync, token=token)
        #: Calls something there soon, or, where the loop is not asyncio's, waits until it was.
        self.soon: Callable[[Callable[[], None]], object] = self.run
        # Not the loop that asyncio says is running: trio's may run inside that one.
        if isinstance(token.native_token, asyncio.AbstractEventLoop):
            self.soon = token.native_token.call_soon_threadsafe


class _Call(Generic[T]):
    """Work that a thread is to do, and what became of it."""

    def __init__(self, work: Callable[[], T], loop: _Loop) -> None:
        self._work, self._loop = work, loop
        self._result: T
        self._error: BaseException | None = None
        self.over = Event()

    def do(self) -> None:
        """Called in a thread."""
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            self._error = error
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.soon(self.over.set)

    def result(self) -> T:
        """What the work returned, or its error, raised."""
        if self._error is not None:
            raise self._error
        return self._result


def _serve(calls: SimpleQueue[_Call[Any] | None]) -> None:
    while (call := calls.get()) is not None:
        call.do()
        del call  # with what it returned, while the next one is waited for


class InLoop:
    """The event loop's own thread: everything in the order in which it is asked for."""

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` at once."""
        return work(*args, **kwargs)

    def in_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` at once."""
        return work(*args, **kwargs)
