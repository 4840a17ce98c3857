"""Redirects of files: followed a few times, and never to a place without encryption.

Must not be used for requests with the key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from kling_batch.wire.addresses import redirected
from kling_batch.wire.protocol import Reply, Request, Wire, WireError

#: How often one request is sent on.
MOST = 5


class Redirected:
    """A wire that goes where an answer sends it."""

    def __init__(self, wire: Wire) -> None:
        """`wire` sends each of the requests."""
        self._wire = wire

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Reply]:
        """See `Wire.send`."""
        for _ in range(MOST + 1):
            if not request.url.startswith("https://"):
                # Not even to look.
                raise WireError(
                    "UnsupportedProtocol", "the address is not https", began=False, connected=False
                )
            async with self._wire.send(request) as reply:
                location = reply.headers.get("location")
                if reply.status not in (301, 302, 303, 307, 308) or not location:
                    yield reply
                    return
            request = replace(request, url=redirected(request.url, location))
        raise WireError("TooManyRedirects", f"more than {MOST} redirects")
