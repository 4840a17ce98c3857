"""A wire that tells of every request and its answer: method, address, status, seconds.

Addresses go without query, user and password, where signatures and secrets are; headers and bodies
are never told. Must not change what is sent or answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from kling_batch.wire.protocol import Reply, Request, Wire, WireError


class Logged:
    """Tells `log` one line a request."""

    def __init__(self, wire: Wire, log: Callable[[str], None]) -> None:
        """`wire` sends."""
        self._wire, self._log = wire, log

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Reply]:
        """See `Wire.send`."""
        began = anyio.current_time()
        line = f"{request.method} {public(request.url)}"
        try:
            async with self._wire.send(request) as reply:
                self._log(f"{line} {reply.status} in {anyio.current_time() - began:.3f} s")
                yield reply
        except WireError as error:
            # Its text may quote the answer; the name says enough.
            self._log(f"{line} {error.name} after {anyio.current_time() - began:.3f} s")
            raise


def public(url: str) -> str:
    """Scheme, host and path of an address."""
    bare = url.partition("?")[0].partition("#")[0]
    scheme, mark, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
