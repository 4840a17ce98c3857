"""Stand-in for fal on one port: fal's protocol over TLS, made to cost little; a process of its own.

    python -m benchmarks.standin FOLDER [--slots 40] [--service 2] [--size 500000] …

It is an HTTP proxy as well: CONNECT to any host is answered by the stand-in itself, which then
speaks TLS as that host on the same connection. A program reaches it as it reaches fal from behind
a proxy, with HTTPS_PROXY and SSL_CERT_FILE. `GET /books` without CONNECT gives its books, and the
first line of its output says where it listens. Everything is accepted and nothing fails,
except with `--trouble`; other faults are the business of `kling_batch.emulator`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import trustme

from benchmarks.answers import Answer, Fal, FileAnswer, Later, Reset
from benchmarks.clips import Clips
from benchmarks.schedule import ServiceTimes, Slots
from benchmarks.trouble import TroubledFal

HOSTS = (
    "queue.fal.run",
    "queue.falrun.com",
    "rest.fal.ai",
    "v3.fal.media",
    "v3b.fal.media",
    "api.fal.ai",
)

#: Bytes written before the next look at whether the client keeps up.
PIECE = 256 * 1024


class Entry(asyncio.Protocol):
    """A connection before TLS: CONNECT, or a question about the books."""

    def __init__(self, fal: Fal, tls: ssl.SSLContext) -> None:
        self._fal = fal
        self._tls = tls
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._upgrade: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if b"\r\n\r\n" not in self._buffer or self._upgrade is not None:
            return
        assert self._transport is not None
        if self._buffer.startswith(b"CONNECT "):
            self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._upgrade = asyncio.ensure_future(self._start_tls(self._transport))
            return
        body = json.dumps(self._fal.books()).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._transport.write(head.encode() + body)
        self._transport.close()

    async def _start_tls(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        protocol = Conversation(self._fal)
        # A client that leaves during the handshake is no news.
        with contextlib.suppress(OSError, ssl.SSLError):
            upgraded = await loop.start_tls(transport, protocol, self._tls, server_side=True)
            if upgraded is not None:
                protocol.connection_made(upgraded)


class Conversation(asyncio.Protocol):
    """Requests and answers on one connection, in turn."""

    def __init__(self, fal: Fal) -> None:
        self._fal = fal
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._file: FileAnswer | None = None
        self._later: asyncio.TimerHandle | None = None
        self._paused = self._pumping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._fal.connected(1)
        self.data_received(b"")  # what came with the end of the handshake

    def connection_lost(self, exc: Exception | None) -> None:
        if self._later is not None:
            self._later.cancel()
        if self._file is not None:
            self._fal.file_ended(self._file, whole=False)
            self._file = None
        if self._transport is not None:
            self._fal.connected(-1)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._transport is not None and self._file is None and self._later is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end])
            whole = end + 4 + _length_of(head)
            if len(self._buffer) < whole:
                return
            body = bytes(self._buffer[end + 4 : whole])
            del self._buffer[:whole]
            self._send(self._fal.answer(head, body))

    def _send(self, answer: Answer) -> None:
        assert self._transport is not None
        match answer:
            case bytes():
                self._transport.write(answer)
            case FileAnswer():
                self._transport.write(answer.head)
                self._file = answer
                self._pump()
            case Reset():
                self._transport.abort()
            case Later(seconds, start, rest):
                if start:
                    self._transport.write(start)
                loop = asyncio.get_running_loop()
                self._later = loop.call_later(seconds, self._send_later, rest)

    def _send_later(self, rest: Callable[[], Answer]) -> None:
        self._later = None
        self._send(rest())
        self.data_received(b"")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._file is not None and not self._pumping:
            self._pump()

    def _pump(self) -> None:
        """Write the file until the client does not keep up."""
        file, transport = self._file, self._transport
        assert file is not None
        assert transport is not None
        self._pumping = True
        end = file.end if file.cut is None else file.cut
        while not self._paused and file.position < end and not transport.is_closing():
            piece = file.clips.piece(file.number, file.position, min(PIECE, end - file.position))
            file.position += len(piece)
            transport.write(piece)
        self._pumping = False
        if file.position >= file.end:
            self._file = None
            self._fal.file_ended(file, whole=True)
            self.data_received(b"")
        elif file.position >= end:
            transport.close()  # after what is written


def _length_of(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    return 0 if at < 0 else int(head[at + 17 :].partition(b"\r\n")[0])


def certificates(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A TLS context for fal's names, and the authority that clients must trust."""
    authority = trustme.CA()
    bundle = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    return context, bundle


def allow_many_connections() -> None:
    """As many open files as the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS calls unlimited what it does not allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def serve(fal: Fal, folder: Path) -> None:
    """Listen until SIGTERM."""
    tls, bundle = certificates(folder)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    server = await loop.create_server(lambda: Entry(fal, tls), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "bundle": str(bundle)}))
    sys.stdout.flush()
    await over.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the certificate authority is written")
    parser.add_argument("--slots", type=int, default=40, help="requests rendered at once")
    parser.add_argument("--service", type=float, default=2.0, help="seconds of a render")
    parser.add_argument("--spread", type=float, default=0.0, help="fraction by which they differ")
    parser.add_argument("--size", type=int, default=500_000, help="bytes of a file")
    parser.add_argument("--trouble", type=float, default=0.0, help="fraction of answers that fail")
    options = parser.parse_args()
    parts = (
        Slots(options.slots),
        ServiceTimes(options.service, options.spread),
        Clips(options.size),
    )
    fal = TroubledFal(*parts, options.trouble) if options.trouble else Fal(*parts)
    allow_many_connections()
    asyncio.run(serve(fal, options.folder))


if __name__ == "__main__":
    main()
