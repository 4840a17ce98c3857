"""Routes out of this process: sockets with the proxies of the environment, or a gateway.

Whoever fetches files needs no more than this, neither the key nor a client of fal. Must not know
what is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from kling_batch.wire.addresses import parsed
from kling_batch.wire.environment import Proxies, httpx_client, proxies, trusted
from kling_batch.wire.headers import WithHeaders
from kling_batch.wire.protocol import Reply, Request, Wire
from kling_batch.wire.redirects import Redirected


class Gateway:
    """Sends every host's requests to one address, the host as first path segment.

    The emulator on a port is reached so; URLs in the ledger keep fal's own names.
    """

    def __init__(self, wire: Wire, base: str) -> None:
        """`base` is the emulator's address, for example `http://127.0.0.1:8765`."""
        self._wire, self._base = wire, base.rstrip("/")

    def send(self, request: Request) -> AbstractAsyncContextManager[Reply]:
        """Pass on under the emulator's address."""
        url = parsed(request.url)
        path = url.raw_path.decode("ascii")
        return self._wire.send(request._replace(url=f"{self._base}/{url.host}{path}"))


def for_files(wire: Wire, headers: Mapping[str, str]) -> Wire:
    """A wire for output files with these headers: redirected, the bodies as they are stored."""
    return Redirected(WithHeaders(wire, {**headers, "Accept-Encoding": "identity"}))


def network(*, direct: bool) -> AbstractAsyncContextManager[Wire]:
    """Sockets; or httpx, where aiohttp cannot serve the proxy (SOCKS) or the event loop (trio).

    Raises:
        UsageError: proxies or certificates of the environment cannot be used.
    """
    # aiohttp loads only where something is sent.
    from kling_batch.wire.sockets import SocketWire, usable_here  # noqa: PLC0415

    found, trust = Proxies() if direct else proxies(), trusted()
    if found.socks or not usable_here():
        from kling_batch.wire.over_httpx import HttpxWire  # noqa: PLC0415 - seldom needed

        return HttpxWire(httpx_client(trust, direct=direct))
    return SocketWire(trust, found)
