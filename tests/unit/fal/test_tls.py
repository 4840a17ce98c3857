"""What breaks below HTTP: damaged TLS records and headers that cannot be parsed."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from support.engine import (
    T2V,
)
from support.sockets import Exchange, serving
from support.wires import KINDS, WireKind, on_sockets, straight

from kling_batch.core.outcomes import (
    RemoteFile,
    Unconfirmed,
    Unfetched,
    Unread,
)
from kling_batch.fal.addresses import handle_of
from kling_batch.fal.client import FalQueue
from kling_batch.fal.transport import connections
from kling_batch.output.download import Downloader
from kling_batch.wire.headers import Authorized
from kling_batch.wire.routes import Gateway


@contextmanager
def damaging() -> Iterator[tuple[int, ssl.SSLContext]]:
    """A TLS server that reads a request and answers with a record that nobody can decrypt."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while listening.fileno() >= 0:
            with suppress(OSError, ValueError):
                raw, _ = listening.accept()
                with server.wrap_socket(raw, server_side=True) as connection:
                    connection.recv(65536)
                    with socket.socket(fileno=os.dup(connection.fileno())) as below:
                        below.sendall(b"\x17\x03\x03\x00\x40" + os.urandom(64))
                        connection.unwrap()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1], client
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_tls_record_is_an_outcome_and_no_exception(
    tmp_path: Path, kind: WireKind
) -> None:
    async def ask() -> list[Any]:
        with damaging() as (port, context):
            async with straight(context, kind) as wire:
                there = Gateway(wire, f"https://localhost:{port}")
                queue, found = FalQueue(Authorized(there, {}, "Key k")), list[Any]()
                file = RemoteFile(url=f"https://localhost:{port}/x.png")
                for call in (
                    lambda: queue.submit(T2V, {"prompt": "x"}),
                    lambda: queue.status(handle_of(T2V, "r")),
                    lambda: Downloader(wire).fetch(file, tmp_path / "x.part"),
                ):
                    try:
                        found.append(await call())
                    except OSError as error:
                        found.append(error)
                return found

    told = anyio.run(ask)
    assert [type(one) for one in told] == [Unconfirmed, Unread, Unfetched], told


@pytest.mark.parametrize("kind", KINDS)
def test_a_garbled_header_that_echoes_the_key_is_not_reported(kind: WireKind) -> None:
    def answer(exchange: Exchange) -> None:
        echo = f"You said Authorization {exchange.headers['authorization']}"
        exchange.send(f"HTTP/1.1 200 OK\r\n{echo}\r\n\r\n".encode())

    async def ask(url: str) -> list[Any]:
        async with (
            on_sockets(url, kind) as wire,
            connections("Key an-id:very-secret", wire=wire) as (api, _),
        ):
            queue = FalQueue(api)
            return [await queue.status(handle_of(T2V, "r")), await queue.submit(T2V, {})]

    with serving(answer) as server:
        assert "very-secret" not in repr(anyio.run(ask, server.url))
