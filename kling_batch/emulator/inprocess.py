"""httpx without sockets: the emulator as the network of one client, also on virtual time.

What a real connection would do to the client, the transport does: a read timeout that passes, a
connection that is dropped, a body that ends too early.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import httpx

from . import create_app
from .faults import ConnectionDropped
from .world import World


class InProcessTransport(httpx.AsyncBaseTransport):
    """Hands every request to one world, whichever host it names."""

    def __init__(self, world: World) -> None:
        self._asgi = httpx.ASGITransport(app=create_app(world))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One answer, or the httpx error that a socket would have led to."""
        patience = request.extensions.get("timeout", {}).get("read")
        try:
            with anyio.fail_after(patience):
                return await self._asgi.handle_async_request(request)
        except TimeoutError:
            raise httpx.ReadTimeout("the emulator did not answer", request=request) from None
        except ConnectionDropped as dropped:
            return _broken(dropped, request)


def _broken(dropped: ConnectionDropped, request: httpx.Request) -> httpx.Response:
    if dropped.status is not None:
        body = _TornStream(dropped.body, request)
        return httpx.Response(dropped.status, headers=dropped.headers, stream=body)
    if dropped.politely:
        raise httpx.RemoteProtocolError("disconnected without a response", request=request)
    raise httpx.ReadError("connection reset", request=request)


class _TornStream(httpx.AsyncByteStream):
    def __init__(self, body: bytes, request: httpx.Request) -> None:
        self._body, self._request = body, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
        raise httpx.RemoteProtocolError("the body ended too early", request=self._request)
