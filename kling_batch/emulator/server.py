"""HTTP server of the emulator: in the foreground, or in a thread for the current process."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from . import create_app
from .errors import EmulatorError
from .world import World


class _Server(uvicorn.Server):
    """Server that stops at the first SIGINT or SIGTERM and returns, so that the exit is clean."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(_number: int, _frame: FrameType | None) -> None:
            self.should_exit = True

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    world: World,
    host: str = "127.0.0.1",
    port: int = 8765,
    certfile: Path | str | None = None,
    keyfile: Path | str | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        EmulatorError: the port is not available, or the certificate cannot be used.
    """
    server = _server(world, certfile, keyfile)
    with _bound(host, port) as listening:
        scheme = "https" if certfile else "http"
        base = f"{scheme}://{_shown(host)}:{listening.getsockname()[1]}"
        sys.stderr.write(f"fal.ai emulator on {base} (control plane {base}/_emulator/)\n")
        server.run(sockets=[listening])


@contextmanager
def running(world: World) -> Iterator[str]:
    """Context with the emulator on a free loopback port; yields its base URL."""
    with _bound("127.0.0.1", 0) as listening:
        server = _server(world, None, None)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listening]}, name="emulator", daemon=True
        )
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.002)
            if not server.started:
                raise EmulatorError("the emulator did not start")
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=5)


def _server(world: World, certfile: Path | str | None, keyfile: Path | str | None) -> _Server:
    config = uvicorn.Config(
        create_app(world),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        date_header=False,  # the emulator's `Date` header uses its own clock
        # Longer than clients keep idle connections, so that no POST goes to a closing socket.
        timeout_keep_alive=300,
        # Do not wait for calls that hang because of a fault.
        timeout_graceful_shutdown=0,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
    )
    try:
        config.load()  # with the certificates, before anybody is told an address
    except OSError as error:  # also ssl.SSLError
        files = " with ".join(str(file) for file in (certfile, keyfile) if file is not None)
        reason = error.strerror or error
        raise EmulatorError(f"the certificate {files} cannot be used: {reason}") from error
    return _Server(config)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Explicit TCP, else asyncio leaves Nagle's delay of 40 ms in every response.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise EmulatorError(
            f"the emulator cannot listen on {host}:{port}: {error.strerror or error}"
        ) from error
    return listening


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
