"""A request that another wire sends, perhaps more than once to other addresses.

What its subclasses have in common is the end: the exchange that was entered last is left.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

from kling_batch.wire.protocol import Reply, Request, Wire


class Forwarded(AbstractAsyncContextManager[Reply]):
    """An exchange on another wire; a subclass decides in `__aenter__` which."""

    _exchange: AbstractAsyncContextManager[Reply]

    def __init__(self, wire: Wire, request: Request) -> None:
        """Nothing is sent yet."""
        self._wire, self.request = wire, request

    async def enter(self, request: Request) -> Reply:
        """Send a request; the head of its answer."""
        exchange = self._wire.send(request)
        reply = await exchange.__aenter__()
        self._exchange = exchange
        return reply

    async def leave(self) -> None:
        """Leave the exchange that was entered last, without an error."""
        await self._exchange.__aexit__(None, None, None)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Leave the exchange that was entered last."""
        return await self._exchange.__aexit__(kind, error, trace)
