"""Wires of tests: any httpx transport, in process or on sockets, in the place of the program's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ssl import SSLContext
from typing import Literal

import httpx

from kling_batch.wire.environment import Proxies, httpx_client, trusted
from kling_batch.wire.over_httpx import HttpxWire
from kling_batch.wire.protocol import Reply, Request, Timeouts, Wire
from kling_batch.wire.routes import Gateway
from kling_batch.wire.sockets import SocketWire

#: The program's two wires; whatever is promised of sockets holds for both.
WireKind = Literal["aiohttp", "httpx"]
KINDS: tuple[WireKind, ...] = ("aiohttp", "httpx")


def in_process(transport: httpx.AsyncBaseTransport) -> HttpxWire:
    """A wire to what answers in process."""
    return HttpxWire(httpx.AsyncClient(transport=transport))


@asynccontextmanager
async def on_sockets(url: str, kind: WireKind = "aiohttp") -> AsyncIterator[Wire]:
    """A wire whose every request goes to one address, the host as first path segment."""
    async with straight(trusted(), kind) as wire:
        yield Gateway(wire, url)


def straight(trust: SSLContext, kind: WireKind = "aiohttp") -> SocketWire | HttpxWire:
    """A wire that trusts these certificates and knows no proxy."""
    if kind == "aiohttp":
        return SocketWire(trust, Proxies())
    return HttpxWire(httpx_client(trust, direct=True))


class Impatient:
    """The same wire with less patience."""

    def __init__(self, wire: Wire, seconds: float) -> None:
        self._wire, self._seconds = wire, seconds

    def send(self, request: Request) -> AbstractAsyncContextManager[Reply]:
        return self._wire.send(request._replace(timeouts=Timeouts(5.0, self._seconds)))
