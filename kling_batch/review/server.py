"""The review server in the foreground, on loopback, until it is interrupted.

Must not listen on any other address: whoever has the address may judge.
"""

from __future__ import annotations

import errno
import os
import secrets
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

import uvicorn

from kling_batch.core.jobs import JobKey
from kling_batch.errors import UsageError
from kling_batch.review.app import create_app
from kling_batch.review.board import Board

HOST = "127.0.0.1"
#: Where it is free; otherwise any port.
USUAL_PORT = 8766


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewOptions:
    """What a review is about, and how it is served."""

    ledger: Path
    #: The folder that keeps the posters.
    output: Path
    #: None: the usual one, or any.
    port: int | None = None
    #: Who judges, where the page does not say.
    author: str = ""
    tags: Mapping[JobKey, tuple[str, ...]] | None = None


class _Server(uvicorn.Server):
    """Server that ends at the first SIGINT or SIGTERM, without raising it again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while serving."""

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
    options: ReviewOptions, now: Callable[[], datetime], on_ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is told the address.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
        UsageError: the port is in use.
    """
    token = secrets.token_urlsafe(24)
    board = Board(options.ledger, token, options.tags)
    board.refresh()
    app = create_app(board, options.output, token, options.author, now)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    with _listening(options.port) as listening:
        on_ready(f"http://{HOST}:{listening.getsockname()[1]}/?token={token}")
        _Server(config).run(sockets=[listening])


def _listening(port: int | None) -> socket.socket:
    if port is not None:
        return _bound(port)
    try:
        return _bound(USUAL_PORT)
    except UsageError:
        return _bound(0)


def _bound(port: int) -> socket.socket:
    # Explicit TCP, else asyncio leaves Nagle's delay of 40 ms in every response.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        free = "; leave --port out for a free one" if error.errno == errno.EADDRINUSE else ""
        raise UsageError(
            f"cannot listen on {HOST}:{port}: {error.strerror or error}{free}"
        ) from error
    return listening


def open_browser(address: str) -> bool:
    """Open the page where there is a display to show it on; whether it was tried."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    return webbrowser.open(address)
