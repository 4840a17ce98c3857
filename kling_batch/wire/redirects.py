"""Redirects of files: followed a few times, and never to a place without encryption.

Must not be used for requests with the key.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from kling_batch.wire.addresses import redirected
from kling_batch.wire.forwarded import Forwarded
from kling_batch.wire.protocol import Reply, Request, Wire, WireError

#: How often one request is sent on.
MOST = 5


class Redirected:
    """A wire that goes where an answer sends it."""

    def __init__(self, wire: Wire) -> None:
        """`wire` sends each of the requests."""
        self._wire = wire

    def send(self, request: Request) -> AbstractAsyncContextManager[Reply]:
        """See `Wire.send`."""
        return _Followed(self._wire, request)


class _Followed(Forwarded):
    """A request and the answer at the end of its redirects."""

    async def __aenter__(self) -> Reply:
        request = self.request
        for _ in range(MOST + 1):
            if not request.url.startswith("https://"):
                # Not even to look.
                raise WireError(
                    "UnsupportedProtocol", "the address is not https", began=False, connected=False
                )
            reply = await self.enter(request)
            location = reply.headers.get("location")
            if reply.status not in (301, 302, 303, 307, 308) or not location:
                return reply
            await self.leave()
            request = request._replace(url=redirected(request.url, location))
        raise WireError("TooManyRedirects", f"more than {MOST} redirects")
