"""The protocol of a wire: a request goes out once, and its answer or an error comes back.

Whoever asks fal or fetches a file knows only this; `sockets` and `over_httpx` implement it, and
tests put an emulator behind it. Holds no connection and sends nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from types import MappingProxyType
from typing import NamedTuple, Protocol


class Timeouts(NamedTuple):
    """Seconds that a request may wait; for the whole of an answer its caller has a limit."""

    #: Until a connection stands, its encryption and a proxy's tunnel included.
    connect: float
    #: From one piece of the answer to the next.
    read: float


READ_TIMEOUTS = Timeouts(connect=15.0, read=30.0)


class Request(NamedTuple):
    """One HTTP request; no redirect is followed, no cookie kept."""

    method: str
    url: str
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes | None = None
    timeouts: Timeouts = READ_TIMEOUTS
    #: The body of the answer as the server sent it, compressed or not.
    raw: bool = False


#: Where the bytes of a body from the n-th on may be read to: more than the 512 KB that asyncio's
#: TLS may hold at the end of a connection. The last byte of it stays free.
Memory = Callable[[int], memoryview]


class Reply(Protocol):
    """An answer, whose body is read at most once."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Values by lower-case name; several of one name are joined by commas."""

    def chunks(self, memory: Memory | None = None) -> AsyncGenerator[bytes | memoryview]:
        """The body in pieces as they come; raises `WireError` where it breaks off.

        A piece that lies in `memory` is a `memoryview`: a later one may be written over it.
        """


class Wire(Protocol):
    """Something that sends requests."""

    def send(self, request: Request) -> AbstractAsyncContextManager[Reply]:
        """Send a request and wait for the head of its answer.

        A request with side effects leaves at most once. Whatever breaks raises `WireError`.
        """


class WireError(Exception):
    """No answer, or no whole one.

    Args:
        name: the kind of error in one word, for messages.
        text: what the system or library says about it; may quote the answer, never the request.
        began: False only if it is certain that no byte of the request left this machine.
        connected: False where no connection stood yet.
    """

    def __init__(
        self, name: str, text: str = "", *, began: bool = True, connected: bool = True
    ) -> None:
        super().__init__(f"{name}: {text}" if text else name)
        self.name = name
        self.text = text
        self.began = began
        self.connected = connected


class AddressError(WireError):
    """An address to which no request can be made; nothing was sent."""

    def __init__(self, text: str) -> None:
        super().__init__("InvalidURL", text, began=False, connected=False)


__all__ = [
    "READ_TIMEOUTS",
    "AddressError",
    "Memory",
    "Reply",
    "Request",
    "Timeouts",
    "Wire",
    "WireError",
]


async def body_of(reply: Reply, most: int) -> bytes:
    """The whole body, or more than `most` bytes of it; raises `WireError` where it breaks off."""
    body = bytearray()
    async with aclosing(reply.chunks()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                break
    return bytes(body)
