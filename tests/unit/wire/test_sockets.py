"""The wire on real sockets: what leaves, how often, and what a strange server can do to it."""

from __future__ import annotations

import gzip
import resource
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from support.engine import T2V
from support.sockets import Exchange, read, refused_port, serving
from support.wires import KINDS, WireKind, on_sockets

from kling_batch.core.outcomes import Accepted, NotSent, Unconfirmed, Unread, Waiting
from kling_batch.fal.addresses import handle_of
from kling_batch.fal.client import MAX_BODY, FalQueue
from kling_batch.fal.transport import Lines, connections
from kling_batch.wire import sockets
from kling_batch.wire.protocol import Request, Wire, WireError
from kling_batch.wire.sockets import READS_AT_ONCE

ACCEPTED = b'{"request_id": "r-1"}'
WAITING = b'{"status": "IN_PROGRESS"}'

both = pytest.mark.parametrize("kind", KINDS)


@asynccontextmanager
async def lines(url: str, kind: WireKind = "aiohttp") -> AsyncIterator[Lines]:
    async with (
        on_sockets(url, kind) as wire,
        connections("Key an-id:a-secret-key", wire=wire) as opened,
    ):
        yield opened


def post(queue: FalQueue) -> Awaitable[Any]:
    return queue.submit(T2V, {"prompt": "x"})


def look(queue: FalQueue) -> Awaitable[Any]:
    return queue.status(handle_of(T2V, "r-1"))


def kept(body: bytes) -> bytes:
    """An answer after which the connection stays open."""
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def asked(url: str, *questions: Callable[[FalQueue], Any], kind: WireKind = "aiohttp") -> list[Any]:
    """The questions one after the other, over the connections of one run."""

    async def main() -> list[Any]:
        async with lines(url, kind) as (api, _):
            queue = FalQueue(api)
            return [await question(queue) for question in questions]

    return anyio.run(main)


# -- how often a request leaves ----------------------------------------------------------------


@both
def test_connections_are_used_again(kind: WireKind) -> None:
    def keep(exchange: Exchange) -> None:
        exchange.send(kept(WAITING))
        while read(exchange.connection, exchange.over):
            exchange.send(kept(WAITING))

    with serving(keep) as server:
        told = asked(server.url, *[look] * 20, kind=kind)

    assert told == [Waiting("IN_PROGRESS")] * 20
    assert server.connections == 1


@both
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "held up"])
def test_a_post_takes_no_connection_that_the_server_has_closed(kind: WireKind, busy: bool) -> None:
    """It would be lost, which is doubt about money; the event loop may have been held up, too."""

    def once(exchange: Exchange) -> None:
        exchange.send(kept(ACCEPTED))

    async def pause(_: FalQueue) -> None:
        if busy:
            time.sleep(0.1)  # noqa: ASYNC251 - as the ledger's sync does
        else:
            await anyio.sleep(0.1)

    with serving(once) as server:
        told = asked(server.url, post, pause, post, kind=kind)

    assert [type(told[0]), type(told[2])] == [Accepted, Accepted], told
    assert len(server.requests) == server.connections == 2


@both
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_post_that_breaks_on_a_kept_connection_is_doubt_and_leaves_once(
    kind: WireKind, reset: bool
) -> None:
    posts: list[Exchange] = []

    def swallow(exchange: Exchange) -> None:
        exchange.send(kept(ACCEPTED))
        following = read(exchange.connection, exchange.over)
        assert following is not None
        posts.append(following)
        if reset:
            exchange.reset()

    with serving(swallow) as server:
        told = asked(server.url, post, post, kind=kind)

    assert [type(outcome) for outcome in told] == [Accepted, Unconfirmed], told
    assert len(posts) == 1
    assert server.connections == 1


def test_a_read_that_breaks_on_a_kept_connection_is_asked_again() -> None:
    """It costs nothing, and a connection that was idle may have been closed at any moment."""

    def one_each(exchange: Exchange) -> None:
        exchange.send(kept(WAITING))
        read(exchange.connection, exchange.over)

    with serving(one_each) as server:
        told = asked(server.url, look, look)

    assert told == [Waiting("IN_PROGRESS")] * 2
    assert server.connections == 2


@both
def test_hundreds_of_answers_that_hang_keep_nobody_waiting(kind: WireKind) -> None:
    token: Any = None
    everybody = anyio.Event()

    async def main(url: str) -> Any:
        nonlocal token
        token = anyio.lowlevel.current_token()
        async with lines(url, kind) as (api, _), anyio.create_task_group() as tasks:
            queue = FalQueue(api)
            for _n in range(READS_AT_ONCE + 20):
                tasks.start_soon(look, queue)
            await everybody.wait()
            outcome = await post(queue)
            tasks.cancel_scope.cancel()
            return outcome

    def answer(exchange: Exchange) -> None:
        if exchange.line.startswith("GET"):
            if len(server.requests) == READS_AT_ONCE:
                anyio.from_thread.run_sync(everybody.set, token=token)
            exchange.stall()
        exchange.send(kept(ACCEPTED))

    with serving(answer) as server:
        assert isinstance(anyio.run(main, server.url), Accepted)


def test_a_post_that_finds_no_place_in_time_was_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "POSTS_AT_ONCE", 1)
    monkeypatch.setattr(sockets, "PLACE_WAIT", 0.1)
    told: list[Any] = []

    async def main(url: str) -> None:
        async with lines(url) as (api, _), anyio.create_task_group() as tasks:
            queue = FalQueue(api)

            async def one() -> None:
                told.append(await post(queue))
                tasks.cancel_scope.cancel()

            tasks.start_soon(one)
            tasks.start_soon(one)

    with serving(Exchange.stall) as server:
        anyio.run(main, server.url)

    assert told == [NotSent("PoolTimeout: no connection was free in time (queue.fal.run)")]
    assert len(server.requests) == 1


def test_a_slow_server_does_not_take_the_files_that_the_ledger_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (40, 4096))
    told: list[Any] = []

    async def main(url: str) -> None:
        async with lines(url) as (api, _), anyio.create_task_group() as tasks:
            queue = FalQueue(api)

            async def one() -> None:
                told.append(await look(queue))

            for _n in range(60):
                tasks.start_soon(one)

    lock, busy, most = threading.Lock(), 0, 0

    def slow(exchange: Exchange) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.02)
        with lock:
            busy -= 1
        exchange.answer(200, WAITING)

    with serving(slow) as server:
        anyio.run(main, server.url)

    assert told == [Waiting("IN_PROGRESS")] * 60
    assert 1 < most <= 10


@both
def test_a_server_that_refuses_is_asked_by_many_and_all_are_reported(kind: WireKind) -> None:
    told: list[Any] = []

    async def main() -> None:
        async with lines(f"http://127.0.0.1:{refused_port()}", kind) as (api, _):
            queue = FalQueue(api)

            async def one(question: Callable[[FalQueue], Any]) -> None:
                told.append(await question(queue))

            async with anyio.create_task_group() as tasks:
                for n in range(200):
                    tasks.start_soon(one, post if n % 2 else look)

    anyio.run(main)

    assert Counter(map(type, told)) == {NotSent: 100, Unread: 100}


# -- strange answers ---------------------------------------------------------------------------


def with_header(raw: bytes) -> Callable[[Exchange], None]:
    def answer(exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 21\r\n"
        exchange.send(head + raw + b"\r\n\r\n" + ACCEPTED)

    return answer


@both
@pytest.mark.parametrize(
    "raw",
    [b"X-Odd: \xe9t\xe9", b"X-Odd: \xc3\xa9\xf0\x9f", b"X-Odd: " + b"a" * 40_000, b"X-Odd:"],
    ids=["latin-1", "half a character", "long", "empty"],
)
def test_an_odd_header_loses_no_answer(kind: WireKind, raw: bytes) -> None:
    async def main(url: str) -> Any:
        async with on_sockets(url, kind) as wire:
            async with wire.send(Request("GET", "https://queue.fal.run/x")) as reply:
                reply.headers["x-odd"].encode()
            async with connections("Key k", wire=wire) as (api, _):
                return await post(FalQueue(api))

    with serving(with_header(raw)) as server:
        assert isinstance(anyio.run(main, server.url), Accepted)


@both
@pytest.mark.parametrize(
    "raw",
    [
        b"X-Odd: " + b"a" * 300_000,
        b"no colon",
        b"X-Odd: a\x00b",
        b"\xff\xfe: x",
        b"Content-Length: 7",
        b"Transfer-Encoding: chunked, chunked",
    ],
    ids=["endless", "no colon", "nul", "name", "two lengths", "encoding"],
)
def test_a_header_that_is_none_is_no_traceback(kind: WireKind, raw: bytes) -> None:
    """Either wire may take it or not; what it does not take is no verdict."""
    with serving(with_header(raw)) as server:
        read_, posted = asked(server.url, look, post, kind=kind)

    assert isinstance(read_, Unread), read_
    assert isinstance(posted, Unconfirmed | Accepted), posted
    assert server.connections == 2


@both
def test_headers_of_one_name_are_joined(kind: WireKind) -> None:
    async def main(url: str) -> Any:
        async with (
            on_sockets(url, kind) as wire,
            wire.send(Request("GET", "https://queue.fal.run/x")) as reply,
        ):
            return reply.headers["x-two"]

    with serving(with_header(b"X-Two: a\r\nx-two: b")) as server:
        assert anyio.run(main, server.url) == "a, b"


@both
def test_no_cookie_is_kept(kind: WireKind) -> None:
    with serving(with_header(b"Set-Cookie: a=b; Path=/; Domain=127.0.0.1")) as server:
        asked(server.url, look, look, post, kind=kind)

    assert [e.headers.get("cookie") for e in server.requests] == [None] * 3


def zipped(body: bytes) -> Callable[[Exchange], None]:
    packed = gzip.compress(body)
    return lambda exchange: exchange.answer(200, packed, Content_Encoding="gzip")


@both
def test_a_compressed_answer_is_read(kind: WireKind) -> None:
    with serving(zipped(ACCEPTED)) as server:
        (outcome,) = asked(server.url, post, kind=kind)

    assert isinstance(outcome, Accepted)


@both
def test_a_body_that_swells_without_end_is_left_in_time(kind: WireKind) -> None:
    with serving(zipped(bytes(2 * MAX_BODY))) as server:
        (outcome,) = asked(server.url, look, kind=kind)

    assert isinstance(outcome, Unread)


def test_a_body_swells_in_small_pieces_only() -> None:
    most = 0

    async def main(url: str) -> None:
        nonlocal most
        async with (
            on_sockets(url) as wire,
            wire.send(Request("GET", "https://queue.fal.run/x")) as reply,
        ):
            async for chunk in reply.chunks():
                most = max(most, len(chunk))

    with serving(zipped(bytes(MAX_BODY))) as server:
        anyio.run(main, server.url)

    assert 0 < most <= 4 * 1024 * 1024


@both
def test_a_file_is_taken_as_it_is_stored(kind: WireKind) -> None:
    packed = gzip.compress(b"x" * 500)

    async def main(url: str) -> bytes:
        request = Request("GET", "https://v3b.fal.media/x.gz", raw=True)
        async with lines(url, kind) as (_, files), files.send(request) as reply:
            return b"".join([chunk async for chunk in reply.chunks()])

    with serving(zipped(b"x" * 500)) as server:
        assert anyio.run(main, server.url) == packed
    assert server.requests[0].headers["accept-encoding"] == "identity"


@both
def test_no_more_than_five_redirects_are_followed(kind: WireKind) -> None:
    def on(exchange: Exchange) -> None:
        exchange.answer(302, Location="/again")

    async def main(url: str) -> None:
        request = Request("GET", "https://v3b.fal.media/x")
        async with lines(url, kind) as (_, files), files.send(request):
            pass

    with serving(on) as server, pytest.raises(WireError, match="more than 5"):
        anyio.run(main, server.url)
    assert len(server.requests) == 6


@both
@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:99999/x",
        "https://xn--/x",
        "https:///x",
        "ftp://x/y",
        "",
        "https://[::1/x",
    ],
)
def test_an_impossible_address_is_never_asked(kind: WireKind, url: str) -> None:
    async def main(server: str) -> None:
        async with on_sockets(server, kind) as wire:
            for method in ("GET", "POST"):
                with pytest.raises(WireError) as caught:
                    async with wire.send(Request(method, url)):
                        pass
                assert not caught.value.began

    with serving(with_header(b"X: y")) as server:
        anyio.run(main, server.url)
    assert server.connections == 0


def test_nothing_of_a_run_stays_open(tmp_path: Path) -> None:
    """Connections that were kept, and one whose answer was left half-read, end with the run."""

    def keep(exchange: Exchange) -> None:
        exchange.send(kept(bytes(1_000_000)))
        while read(exchange.connection, exchange.over):
            exchange.send(kept(WAITING))
        ended.append(exchange)

    ended: list[Exchange] = []

    async def some(wire: Wire) -> None:
        async with wire.send(Request("GET", "https://v3b.fal.media/x")) as reply:
            async for _ in reply.chunks():
                break

    async def main(url: str) -> None:
        async with lines(url) as (api, files):
            await some(files)
            await look(FalQueue(api))

    with serving(keep) as server:
        anyio.run(main, server.url)
        opened = server.connections
    assert opened == 2
    assert len(ended) <= 2
