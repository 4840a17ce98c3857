"""httpx transport that connects a client to the emulator in process, also on virtual time.

Reproduces what sockets do to a client: read timeouts, dropped connections, truncated bodies.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import httpx

from . import create_app
from .faults import ConnectionDropped
from .world import World


class InProcessTransport(httpx.AsyncBaseTransport):
    """Transport that sends every request to one `World`, whatever its host."""

    def __init__(self, world: World) -> None:
        self._asgi = httpx.ASGITransport(app=create_app(world))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Response, or the httpx error that a socket would have caused."""
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
