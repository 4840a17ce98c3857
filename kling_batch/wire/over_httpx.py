"""The wire over httpx: slower than `sockets`, and able to do what that cannot.

It speaks to SOCKS proxies, runs on any event loop, and takes any httpx transport, such as one that
answers in process. Must not know what is asked, or of whom.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self

import httpx

from kling_batch.wire.addresses import check_headers, parsed
from kling_batch.wire.protocol import Memory, Request, WireError

#: Raised before a connection stood.
_UNCONNECTED = (httpx.ConnectError, httpx.ConnectTimeout)

#: Raised before a byte of the request left: no connection, no tunnel, no free connection.
_NEVER_SENT = (
    *_UNCONNECTED,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class Departure:
    """Whether a request began to leave this machine, from httpcore's trace.

    A tunnel that a proxy drops looks like a lost answer, but the request was never sent.
    """

    def __init__(self, method: str) -> None:
        self._method = method.encode()
        self._heard = self._left = False

    async def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """An event of httpcore's."""
        self._heard = True
        if name.endswith(".send_request_headers.started"):
            # Before it, the proxy is asked for a tunnel, with a request of another method.
            self._left |= getattr(info.get("request"), "method", self._method) == self._method

    @property
    def never_began(self) -> bool:
        """True only if that is certain; False for a transport without trace events."""
        return self._heard and not self._left


class HttpxWire:
    """Requests through an httpx client."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """`client` is closed with this; it keeps no cookies from now on."""
        self._client = client
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[_Reply]:
        """See `Wire.send`."""
        url = parsed(request.url)
        check_headers(request)
        departure = Departure(request.method)
        connect, read = request.timeouts
        try:
            built = self._client.build_request(
                request.method,
                url,
                headers=request.headers,
                content=request.body,
                timeout=httpx.Timeout(read, connect=connect, pool=connect),
                extensions={"trace": departure.trace},
            )
            response = await self._client.send(built, stream=True, follow_redirects=False)
        except Exception as error:  # noqa: BLE001 - it left or it did not, whatever the exception
            began = not (departure.never_began or isinstance(error, _NEVER_SENT))
            raise _wire_error(error, began=began) from None
        try:
            yield _Reply(response, raw=request.raw)
        finally:
            await response.aclose()


class _Reply:
    """An answer of httpx's."""

    def __init__(self, response: httpx.Response, *, raw: bool) -> None:
        self._response, self._raw = response, raw
        self.status = response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self._response.headers.items()}

    async def chunks(
        self,
        memory: Memory | None = None,  # noqa: ARG002 - httpx brings its own
    ) -> AsyncGenerator[bytes]:
        body = self._response.aiter_raw() if self._raw else self._response.aiter_bytes()
        try:
            async for chunk in body:
                yield chunk
        except Exception as error:  # noqa: BLE001 - as in `send`
            raise _wire_error(error, began=True) from None


def _wire_error(error: Exception, *, began: bool) -> WireError:
    # h11 quotes the header that it rejects, and in a request that may be the key.
    text = str(error) if isinstance(error, httpx.HTTPError | OSError) else ""
    if isinstance(error, httpx.LocalProtocolError):
        text = ""
    connected = not isinstance(error, _UNCONNECTED)
    return WireError(type(error).__name__, text, began=began, connected=connected)
