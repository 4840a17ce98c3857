"""The rest of a long body, from its connection straight into the memory of who takes it.

aiohttp makes an object of each TLS record, joins them, copies them through its parser and joins
again what the caller takes, which is most of what a file of megabytes costs. A body of known length
needs no parser, so its connection is taken over once the head is read, and given back at the end.
Needs asyncio. Must not know what is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

import aiohttp
import anyio
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler

from kling_batch.wire.protocol import Memory

#: Where fewer bytes are to come, aiohttp reads them.
LONG = 128 * 1024
#: Seconds after which memory that is not full is handed over: what has come is not lost with its
#: connection, and a trickle is noticed.
TICK = 1.0


class Part(NamedTuple):
    """The part of a body that is still to come."""

    #: Bytes before it, and in it.
    taken: int
    left: int
    #: Seconds within which some of it must come.
    patience: float


class LongBody(asyncio.BufferedProtocol):
    """The bytes of a body that are still to come, read by asyncio into what `get_buffer` gives."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        protocol: ResponseHandler,
        transport: asyncio.Transport,
        part: Part,
        memory: Memory,
    ) -> None:
        """Takes the connection over, and reads a part of the body into the memory."""
        self._content = response.content
        self._transport = transport
        self._taken, self._left, self._patience = part
        self._memory = memory
        self._block = memoryview(b"")
        self._wanted = self._filled = 0
        self._lost = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._aiohttp = protocol
        protocol.pause_reading()  # with its clock, which would run out in the middle
        transport.set_protocol(self)

    async def pieces(self) -> AsyncGenerator[memoryview]:
        """The bytes as they come; each piece is lent, and a later one is written over it.

        Raises:
            TimeoutError: none came for too long.
            OSError, aiohttp.ClientPayloadError: the connection broke.
        """
        try:
            while self._left:
                piece = await self._piece()
                self._taken += len(piece)
                self._left -= len(piece)
                yield piece
        finally:
            self._give_back()
        if self._lost or self._filled > self._wanted:
            self._aiohttp.force_close()  # what stands after the body is no answer
        else:
            # Until the next request, whatever comes is no answer; the parser that it has would
            # take it for the rest of this body.
            self._aiohttp.set_response_params(max_line_size=0, max_field_size=0, max_headers=0)
        # As aiohttp's parser does at the end of a body: the connection is free again.
        self._content.feed_eof()

    def _give_back(self) -> None:
        """The connection is aiohttp's again.

        asyncio's TLS keeps `get_buffer`, and so this object: without the block, and in no circle
        with the connection, which would stay until garbage is collected.
        """
        self._transport.set_protocol(self._aiohttp)
        self._block = memoryview(b"")
        self._error = None
        del self._transport, self._memory

    async def _piece(self) -> memoryview:
        """As much as the memory holds, or what came of it in a while, or the end of the body."""
        self._block = self._memory(self._taken)
        self._wanted, self._filled = min(len(self._block) - 1, self._left), 0
        until = anyio.current_time() + self._patience
        self._transport.resume_reading()
        while not (self._filled or self._lost):
            if anyio.current_time() >= until:
                raise TimeoutError
            self._changed.clear()
            with anyio.move_on_after(min(TICK, self._patience)):
                await self._changed.wait()
        self._transport.pause_reading()
        if not self._filled:
            raise self._error or aiohttp.ClientPayloadError("the connection was closed")
        return self._block[: min(self._filled, self._wanted)]

    # -- called by asyncio -----------------------------------------------------------------------

    def get_buffer(self, _hint: int) -> memoryview:
        """Where the next bytes go; never empty, because reading is paused when this is full.

        After the last one there is room for another, to know a server that says too much.
        """
        return self._block[self._filled : self._wanted + (self._wanted == self._left)]

    def buffer_updated(self, count: int) -> None:
        """So many bytes came."""
        self._filled += count
        if self._filled >= self._wanted:
            self._transport.pause_reading()
            self._changed.set()

    def eof_received(self) -> None:
        """The server sends nothing more."""
        self._over(None)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, which aiohttp must learn, too: it counts its connections."""
        self._over(error)
        self._aiohttp.connection_lost(error)

    def _over(self, error: Exception | None) -> None:
        self._lost, self._error = True, self._error or error
        self._changed.set()


def taken_over(
    response: aiohttp.ClientResponse, taken: int, memory: Memory, patience: float
) -> LongBody | None:
    """The rest of a body of which `taken` bytes were read; None where aiohttp has to read on.

    That is where the rest is short, its length is unknown, or some of it has come already; or on
    some event loops, where it is not encrypted.
    """
    length, connection, content = response.content_length, response.connection, response.content
    if length is None or connection is None or hdrs.TRANSFER_ENCODING in response.headers:
        return None
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing():
        return None
    if content.exception() is not None:
        return None
    if content.total_bytes != taken or length - taken < LONG:
        return None
    encrypted = transport.get_extra_info("ssl_object") is not None
    if not (encrypted or isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)):
        return None  # the loop of Windows hands over what it has read, which may be too much
    return LongBody(response, protocol, transport, Part(taken, length - taken, patience), memory)
