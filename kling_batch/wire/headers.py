"""Headers that go with every request of a wire, among them the key. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from kling_batch.wire.protocol import Reply, Request, Wire


class WithHeaders:
    """A wire on which every request has the same headers beside its own."""

    def __init__(self, wire: Wire, headers: Mapping[str, str]) -> None:
        """A request's own headers come first."""
        self._wire, self._headers = wire, headers

    def send(self, request: Request) -> AbstractAsyncContextManager[Reply]:
        """See `Wire.send`."""
        return self._wire.send(request._replace(headers={**self._headers, **request.headers}))


class Authorized(WithHeaders):
    """A wire whose requests carry the key."""

    def __init__(self, wire: Wire, headers: Mapping[str, str], authorization: str) -> None:
        """`authorization`: the header that goes with every request."""
        super().__init__(wire, {**headers, "Authorization": authorization})
        self.authorization = authorization
