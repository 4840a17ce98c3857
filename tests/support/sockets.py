"""A server on a real socket that answers, stalls, cuts and resets exactly as it is told."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

TIMEOUT = 5.0


@dataclass
class Exchange:
    """One request as it came over the wire, and the connection it came on."""

    connection: socket.socket
    line: str
    headers: dict[str, str]
    body: bytes
    #: Set when the test is over: a stalled answer need not wait any longer.
    over: threading.Event

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(
        self, status: int, body: bytes = b"", *, length: int | None = None, **headers: str
    ) -> None:
        """A whole answer; `length` declares another size than the body has."""
        lines = [f"HTTP/1.1 {status} Word", "Connection: close"]
        if "Transfer-Encoding" not in {name.replace("_", "-") for name in headers}:
            lines.append(f"Content-Length: {len(body) if length is None else length}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def reset(self) -> None:
        """Close so that the client's next read fails, instead of ending."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def stall(self) -> None:
        """Say nothing more until the test is over."""
        self.over.wait(TIMEOUT)


@dataclass
class Server:
    """Where it listens and what came in."""

    port: int
    requests: list[Exchange] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(handler: Callable[[Exchange], None], *, before: bool = False) -> Iterator[Server]:
    """Let `handler` answer every request; `before`: as soon as the connection stands."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(listening.getsockname()[1])
    over = threading.Event()
    threads: list[threading.Thread] = []

    def talk(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(TIMEOUT)
            try:
                exchange = (
                    Exchange(connection, "", {}, b"", over) if before else read(connection, over)
                )
                if exchange is not None:
                    server.requests.append(exchange)
                    handler(exchange)
            except OSError:
                pass  # the client went away, which some tests want

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            server.connections += 1
            threads.append(threading.Thread(target=talk, args=(connection,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)  # wakes the accept; close alone does not
        listening.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def read(connection: socket.socket, over: threading.Event) -> Exchange | None:
    """One request, or None where the client closed without one."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return Exchange(connection, line, headers, body, over)


def refused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
