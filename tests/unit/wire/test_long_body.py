"""Long bodies, which are read past aiohttp: whole or broken off, and the connection after them."""

from __future__ import annotations

import asyncio
import gc
import random
import time
import weakref
from collections.abc import Callable
from contextlib import aclosing, suppress
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from typing import Any

import anyio
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sockets import Exchange, read, serving
from support.wires import Impatient, on_sockets, straight

from kling_batch.output.blocks import BLOCK, Block
from kling_batch.output.part_file import PartFile
from kling_batch.wire import long_body, sockets
from kling_batch.wire.long_body import LONG, LongBody, taken_over
from kling_batch.wire.protocol import Memory, Request, Wire, WireError

BODY = random.Random(7).randbytes(2 * BLOCK + 300_000)
FILE = Request("GET", "https://v3b.fal.media/out.mp4", raw=True)


def memory() -> Memory:
    """A block for a body from its start on."""
    return Block().after


def head(length: int | None, *fields: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", *fields]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def keeping(*answers: bytes) -> Callable[[Exchange], None]:
    """A server that gives these answers over one connection, if it is asked over one."""

    def serve(exchange: Exchange) -> None:
        asked: Exchange | None = exchange
        for answer in answers:
            if asked is not None:
                exchange.send(answer)
                asked = read(exchange.connection, exchange.over)

    return serve


async def body(
    wire: Wire, request: Request = FILE, into: Memory | None = None
) -> tuple[bytes, bool]:
    """A body, and whether some of it was lent."""
    taken, lent = bytearray(), False
    async with wire.send(request) as reply, aclosing(reply.chunks(into or memory())) as chunks:
        async for chunk in chunks:
            taken += chunk
            lent = lent or isinstance(chunk, memoryview)
    return bytes(taken), lent


def bodies(url: str, count: int, request: Request = FILE) -> list[tuple[bytes, bool]]:
    async def main() -> list[tuple[bytes, bool]]:
        async with on_sockets(url) as wire:
            return [await body(wire, request) for _ in range(count)]

    return anyio.run(main)


def broken(url: str, patience: float = 5.0) -> tuple[bytes, WireError]:
    """What came of a body that breaks off, and the error."""
    taken = bytearray()

    async def main() -> None:
        async with on_sockets(url) as wire, Impatient(wire, patience).send(FILE) as reply:
            async for chunk in reply.chunks(memory()):
                taken.extend(chunk)

    with pytest.raises(WireError) as caught:
        anyio.run(main)
    return bytes(taken), caught.value


def test_a_long_body_is_whole_and_its_connection_is_used_again() -> None:
    answer, short = head(len(BODY)) + BODY, head(3) + b"end"

    with serving(keeping(answer, short, answer)) as server:
        told = bodies(server.url, 3)

    assert told == [(BODY, True), (b"end", False), (BODY, True)]
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        head(LONG - 1) + BODY[: LONG - 1],
        head(None, "Connection: close") + BODY,
        head(None, "Transfer-Encoding: chunked") + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
    ],
    ids=["short", "of unknown length", "in chunks"],
)
def test_any_other_body_is_read_by_aiohttp(answer: bytes) -> None:
    with serving(lambda exchange: exchange.send(answer)) as server:
        ((found, lent),) = bodies(server.url, 1)

    assert found == BODY[: len(found)]
    assert len(found) in (LONG - 1, len(BODY))
    assert not lent


def test_a_body_that_is_to_be_decoded_is_read_by_aiohttp() -> None:
    with serving(keeping(head(len(BODY)) + BODY)) as server:
        assert bodies(server.url, 1, FILE._replace(raw=False)) == [(BODY, False)]


def test_a_loop_that_reads_more_than_it_is_asked_to_is_left_to_aiohttp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the loop of Windows does, without TLS: a full block would end the connection."""

    class Another(asyncio.BaseEventLoop):
        """Not the loop that runs."""

    monkeypatch.setattr(asyncio, "SelectorEventLoop", Another)

    with serving(keeping(head(len(BODY)) + BODY)) as server:
        assert bodies(server.url, 1) == [(BODY, False)]


def test_a_server_that_closes_is_not_asked_again() -> None:
    with serving(keeping(head(len(BODY), "Connection: close") + BODY)) as server:
        assert bodies(server.url, 2) == [(BODY, True), (BODY, True)]

    assert server.connections == 2


@pytest.mark.parametrize("late", [0.0, 0.03], ids=["with the body", "after it"])
@pytest.mark.parametrize("more", [b"x" * 1000, head(4) + b"evil"], ids=["more", "an answer"])
def test_a_server_that_says_too_much_is_not_asked_again(late: float, more: bytes) -> None:
    """What stands after the body would be taken for the next answer."""

    def serve(exchange: Exchange) -> None:
        exchange.send(head(len(BODY)) + BODY + (b"" if late else more))
        if late:
            time.sleep(late)
            exchange.send(more)
        if read(exchange.connection, exchange.over):
            exchange.send(head(3) + b"end")

    async def main(url: str) -> list[bytes]:
        async with on_sockets(url) as wire:
            found = [(await body(wire))[0]]
            await anyio.sleep(2 * late)
            return [*found, (await body(wire))[0]]

    with serving(serve) as server:
        assert anyio.run(main, server.url) == [BODY, BODY]
    assert server.connections == 2


def test_a_body_that_takes_longer_than_the_wait_for_one_piece_keeps_its_connection() -> None:
    def slowly(exchange: Exchange) -> None:
        exchange.send(head(len(BODY)))
        for at in range(0, len(BODY), len(BODY) // 5):
            exchange.send(BODY[at : at + len(BODY) // 5])
            time.sleep(0.05)
        keeping(head(3) + b"end")(exchange)

    async def main(url: str) -> list[bytes]:
        async with on_sockets(url) as wire:
            return [(await body(Impatient(wire, 0.15)))[0] for _ in range(2)]

    with serving(slowly) as server:
        assert anyio.run(main, server.url) == [BODY, b"end"]
    assert server.connections == 1


class Watched(bytearray):
    """Memory that weak references know."""


@pytest.mark.parametrize(
    ("ends", "came"),
    [("keep-alive", len(BODY)), ("close", len(BODY)), ("close", BLOCK + 1000)],
    ids=["kept", "closed", "broken"],
)
def test_memory_is_let_go_with_its_body(
    monkeypatch: pytest.MonkeyPatch, ends: str, came: int
) -> None:
    """asyncio's TLS holds on to who read from it, and garbage is collected seldom."""
    authority = trustme.CA()
    server_side, client_side = SSLContext(PROTOCOL_TLS_SERVER), create_default_context()
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(client_side)
    lent, readers = list[weakref.ref[Watched]](), list[weakref.ref[LongBody]]()

    def watched(_taken: int) -> memoryview:
        made = Watched(BLOCK + 1)
        lent.append(weakref.ref(made))
        return memoryview(made)

    def reader(*facts: Any) -> LongBody | None:
        made = taken_over(*facts)
        if made is not None:
            readers.append(weakref.ref(made))
        return made

    def serve(exchange: Exchange) -> None:
        with server_side.wrap_socket(exchange.connection, server_side=True) as inside:
            answer = head(len(BODY), f"Connection: {ends}") + BODY[:came]
            while read(inside, exchange.over):
                inside.sendall(answer)
                if ends == "close":
                    return

    monkeypatch.setattr(sockets, "taken_over", reader)

    async def main(port: int) -> None:
        async with straight(client_side) as wire:
            for _ in range(2):
                with suppress(WireError):
                    request = FILE._replace(url=f"https://localhost:{port}/out.mp4")
                    await body(wire, request, watched)
                await anyio.sleep(0.02)  # the connection's end is noticed
                assert [ref() for ref in lent] == [None] * len(lent)
                assert ends != "close" or [ref() for ref in readers] == [None] * len(readers)
        assert lent

    gc.disable()
    try:
        with serving(serve, before=True) as server:
            anyio.run(main, server.port)
    finally:
        gc.enable()


@pytest.mark.parametrize("came", [1, LONG, BLOCK, BLOCK + 1, 2 * BLOCK, len(BODY) - 1])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_what_came_of_a_body_that_breaks_off_is_told_before_the_error(
    came: int, reset: bool
) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.send(head(len(BODY)) + BODY[:came])
        if reset:
            time.sleep(0.1)  # a reset may overtake what was sent
            exchange.reset()

    with serving(cut) as server:
        found, error = broken(server.url)

    assert found == BODY[:came]
    assert error.began
    assert error.connected


def test_a_server_that_falls_silent_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_body, "TICK", 0.05)

    def stop(exchange: Exchange) -> None:
        exchange.send(head(len(BODY)) + BODY[:BLOCK])
        exchange.stall()

    with serving(stop) as server:
        begun = time.monotonic()
        found, error = broken(server.url, patience=0.3)

    assert found == BODY[:BLOCK]
    assert error.name == "ReadTimeout"
    assert time.monotonic() - begun < 2.0


def test_less_than_a_block_is_told_before_it_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow line fills no block for minutes, and may break before."""
    monkeypatch.setattr(long_body, "TICK", 0.05)

    def slowly(exchange: Exchange) -> None:
        exchange.send(head(len(BODY)) + BODY[:1000])
        for n in range(1, 6):
            time.sleep(0.08)
            exchange.send(BODY[1000 * n : 1000 * n + 1000])
        exchange.stall()

    sizes: list[int] = []

    async def main(url: str) -> None:
        async with on_sockets(url) as wire, wire.send(FILE) as reply:
            async for chunk in reply.chunks(memory()):
                sizes.append(len(chunk))
                if sum(sizes) == 6000:
                    return

    with serving(slowly) as server:
        anyio.run(main, server.url)
    assert len(sizes) > 3


def test_a_body_that_is_left_half_read_ends_with_its_connection() -> None:
    async def some(wire: Wire, *, for_ever: bool = False) -> None:
        async with wire.send(FILE) as reply, aclosing(reply.chunks(memory())) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, memoryview):
                    if for_ever:
                        await anyio.sleep_forever()
                    return

    async def main(url: str) -> None:
        with anyio.fail_after(5):
            async with on_sockets(url) as wire:
                await some(wire)
                with anyio.move_on_after(0.1):
                    await some(wire, for_ever=True)
                assert await body(wire) == (BODY, True)

    with serving(keeping(head(len(BODY)) + BODY)) as server:
        anyio.run(main, server.url)
    assert server.connections == 3


@settings(max_examples=25, deadline=None)
@given(
    pieces=st.lists(st.integers(1, 400_000), min_size=1, max_size=12),
    pauses=st.lists(st.sampled_from([0.0, 0.0, 0.003]), min_size=12, max_size=12),
)
def test_a_file_has_the_bytes_that_were_sent_however_they_come(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int], pauses: list[float]
) -> None:
    """Each piece is written before the next one is read over it."""
    content = random.Random(len(pieces)).randbytes(sum(pieces))

    def slowly(exchange: Exchange) -> None:
        exchange.send(head(len(content)))
        at = 0
        for size, pause in zip(pieces, pauses, strict=False):
            exchange.send(content[at : at + size])
            at += size
            time.sleep(pause)

    path = tmp_path_factory.mktemp("parts") / "part"

    async def main(url: str) -> None:
        part = PartFile(path)
        part.begin(0)
        async with on_sockets(url) as wire, wire.send(FILE) as reply:
            async for chunk in reply.chunks(memory()):
                part.add(chunk)
                if isinstance(chunk, memoryview):
                    await anyio.to_thread.run_sync(part.flush)
        part.complete()
        part.close()

    with serving(slowly) as server:
        anyio.run(main, server.url)
    assert path.read_bytes() == content
