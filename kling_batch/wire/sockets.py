"""The wire on sockets: aiohttp's connections, proxies included. Needs asyncio.

aiohttp repeats a GET or PUT once where a connection had been closed while it was idle; a POST it
never repeats. That a POST began to leave is learnt from aiohttp's own trace: asking a proxy for a
tunnel, which comes before, is not part of it. Must not know what is asked, or of whom.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache, cached_property
from ssl import SSLContext
from types import TracebackType
from typing import Self

import aiohttp
import anyio
import yarl

from kling_batch.wire.addresses import Address, address_of, check_headers
from kling_batch.wire.environment import Proxies
from kling_batch.wire.long_body import LongBody, taken_over
from kling_batch.wire.protocol import Memory, Request, Timeouts, WireError

#: Seconds after which an idle connection is not used again. Servers close idle ones after five and
#: more, and a POST that meets such an end is doubt about money; so its connections are apart.
KEEP_ALIVE, POST_KEEP_ALIVE = 30.0, 4.5

#: Requests at once; each costs a connection with 300 KB of asyncio's buffers. At 50 ms an answer
#: that is 5,000 reads a second. POSTs have their own, so that no read keeps one waiting.
READS_AT_ONCE, POSTS_AT_ONCE = 250, 100
#: Seconds that a request waits for one of these places.
PLACE_WAIT = 60.0

#: The longest header, and the most of them; beyond, the answer is an error.
MAX_HEADER, MAX_HEADERS = 64 * 1024, 256

#: Bytes that are read ahead of who takes them; twice as many are held before a server has to wait.
READ_AHEAD = 128 * 1024

#: Turns of the event loop before a POST takes a connection: where the loop was held up (the ledger
#: has just synced), the ends of idle connections are still to be noticed.
_TURNS = 3


def usable_here() -> bool:
    """Whether this event loop is asyncio's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@dataclass(slots=True)
class _Departure:
    """Whether a request began to leave."""

    began: bool = False


async def _headers_leave(
    _: aiohttp.ClientSession, context: object, __: aiohttp.TraceRequestHeadersSentParams
) -> None:
    departure = getattr(context, "trace_request_ctx", None)
    if isinstance(departure, _Departure):
        departure.began = True


def _at_once(most: int) -> int:
    """So many requests at once, unless this process may open only a few files.

    The ledger must not be refused one because a server answers slowly.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return most
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if files == resource.RLIM_INFINITY else max(1, min(most, files // 4))


class _Pool:
    """Connections for one kind of requests, and the places of those that use one."""

    def __init__(self, session: aiohttp.ClientSession, most: int) -> None:
        self.session = session
        self._places = anyio.Semaphore(_at_once(most), fast_acquire=True)

    async def enter(self) -> None:
        """Take a place; the wait is outside the time that the request itself may take."""
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(PLACE_WAIT) as waiting:
                await self._places.acquire()
            if waiting.cancelled_caught:
                raise WireError(
                    "PoolTimeout", "no connection was free in time", began=False
                ) from None

    def leave(self) -> None:
        """Give the place back."""
        self._places.release()


class SocketWire:
    """HTTP/1.1 over pooled connections, as many as are needed up to a bound."""

    def __init__(self, trust: SSLContext, proxies: Proxies) -> None:
        """Opened by `async with`; no connection is made yet."""
        self._trust, self._proxies = trust, proxies

    async def __aenter__(self) -> Self:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_headers_leave)
        self._reads = _Pool(_session(self._trust, KEEP_ALIVE), READS_AT_ONCE)
        self._posts = _Pool(_session(self._trust, POST_KEEP_ALIVE, trace), POSTS_AT_ONCE)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._reads.session.close()
            await self._posts.session.close()

    def send(self, request: Request) -> _Exchange:
        """See `Wire.send`."""
        return _Exchange(self, request)

    def pool(self, request: Request) -> _Pool:
        """The connections for a request."""
        return self._posts if request.method == "POST" else self._reads

    async def ask(self, request: Request, url: Address) -> aiohttp.ClientResponse:
        """The head of an answer, or `WireError`; the caller has a place."""
        session = self.pool(request).session
        departure = _Departure()
        if request.method == "POST":
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        try:
            return await self._exchange(session, request, url, departure)
        except Exception as error:  # noqa: BLE001 - it left or it did not, whatever the exception
            began = departure.began or request.method != "POST"
            raise _wire_error(error, began=began) from None

    async def _exchange(
        self, session: aiohttp.ClientSession, request: Request, url: Address, left: _Departure
    ) -> aiohttp.ClientResponse:
        proxy = self._proxies.choose(url)
        return await session.request(
            request.method,
            yarl.URL(url.text, encoded=True),
            headers=request.headers,
            data=request.body,
            proxy=None if proxy is None else yarl.URL(proxy.address),
            proxy_headers=None if proxy is None else dict(proxy.headers),
            timeout=_limits(request.timeouts),
            allow_redirects=False,
            auto_decompress=not request.raw,
            trace_request_ctx=left,
        )


class _Exchange:
    """One request and its answer: `async with` sends it, and lets go of the connection."""

    __slots__ = ("_pool", "_request", "_response", "_wire")

    def __init__(self, wire: SocketWire, request: Request) -> None:
        self._wire, self._request = wire, request
        self._pool = wire.pool(request)

    async def __aenter__(self) -> _Reply:
        url = address_of(self._request.url)
        check_headers(self._request)
        await self._pool.enter()
        answered = False
        try:
            self._response = await self._wire.ask(self._request, url)
            answered = True
        finally:
            if not answered:
                self._pool.leave()
        return _Reply(self._response, self._request)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._response.release()
        finally:
            self._pool.leave()


def _session(
    trust: SSLContext, keep_alive: float, *traces: aiohttp.TraceConfig
) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0,  # `_Pool` has the bound, whose wait is not a failure to connect
        ssl=trust,
        keepalive_timeout=keep_alive,
        # Names as every other program on this machine resolves them.
        resolver=aiohttp.ThreadedResolver(),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=list(traces),
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
        max_headers=MAX_HEADERS,
        read_bufsize=READ_AHEAD,
    )


class _Reply:
    """An answer of aiohttp's."""

    def __init__(self, response: aiohttp.ClientResponse, request: Request) -> None:
        self._response, self._request = response, request
        self.status = response.status

    @cached_property
    def headers(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for name, text in self._response.headers.items():
            key, value = name.lower(), text if text.isascii() else _whole(text)
            found[key] = f"{found[key]}, {value}" if key in found else value
        return found

    async def chunks(self, memory: Memory | None = None) -> AsyncGenerator[bytes | memoryview]:
        content, taken = self._response.content, 0
        try:
            while chunk := await content.readany():
                yield chunk
                taken += len(chunk)
                if body := self._rest(taken, memory):
                    async with aclosing(body.pieces()) as pieces:
                        async for piece in pieces:
                            yield piece
                    return
        except Exception as error:  # noqa: BLE001 - as in `send`
            if rest := _read_before(content):
                yield rest
            raise _wire_error(error, began=True) from None

    def _rest(self, taken: int, memory: Memory | None) -> LongBody | None:
        """What is still to come, where it is long and nobody has to decode it."""
        if memory is None or not self._request.raw:
            return None
        return taken_over(self._response, taken, memory, self._request.timeouts.read)


@cache
def _limits(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    """The same in aiohttp's words; a run has few of them."""
    connect, read = timeouts
    return aiohttp.ClientTimeout(connect=connect, sock_connect=connect, sock_read=read)


def _whole(text: str) -> str:
    """A header's text; what was no UTF-8 must not stay half characters, which no file takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogateescape").decode("latin-1")
    return text


def _read_before(content: aiohttp.StreamReader) -> bytes:
    """What had come before a connection broke; aiohttp would let the error hide it."""
    content.set_exception(None)  # type: ignore[arg-type] # its only way to set the error aside
    return content.read_nowait()


#: Exceptions that are told in the same words each time; of two that fit, the first.
_TOLD: tuple[tuple[type[Exception], str, str], ...] = (
    (aiohttp.ConnectionTimeoutError, "ConnectTimeout", "no connection in time"),
    (TimeoutError, "ReadTimeout", "no answer in time"),
    (aiohttp.ServerDisconnectedError, "RemoteProtocolError", "the server closed the connection"),
    (aiohttp.ClientPayloadError, "RemoteProtocolError", "the answer broke off"),
)

_UNCONNECTED = (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError)


def _wire_error(error: Exception, *, began: bool) -> WireError:
    """An exception of aiohttp's, or of what it stands on, in the words of this program."""
    name, text = _told(error)
    connected = not isinstance(error, _UNCONNECTED)
    refused = isinstance(error, aiohttp.ClientHttpProxyError)  # the tunnel, and not our request
    return WireError(name, text, began=began and connected and not refused, connected=connected)


def _told(error: Exception) -> tuple[str, str]:
    for kind, name, text in _TOLD:
        if isinstance(error, kind):
            return name, text
    match error:
        case aiohttp.ClientHttpProxyError():
            return "ProxyError", f"the proxy answers {error.status} {error.message}"
        case aiohttp.ClientConnectorError():
            cause = error.os_error
            return "ConnectError", str(cause.strerror or cause)
        case aiohttp.ClientResponseError():
            # Its text quotes what came, which may be our own headers.
            return "RemoteProtocolError", "the answer is no HTTP"
        case OSError():
            return "ReadError", error.strerror or str(error)
        case _:
            return type(error).__name__, ""
