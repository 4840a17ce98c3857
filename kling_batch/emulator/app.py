"""ASGI application: dispatches each request to the routes of the fal host that it is for.

A host is named by the Host header, or, on a plain loopback port, by the first part of the path:
http://127.0.0.1:8765/queue.fal.run/fal-ai/… is https://queue.fal.run/fal-ai/…. Must not contain
routes or state.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Any

import anyio
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from . import control, files, platform_api, queue_api, schema_api, storage_api
from .faults import ConnectionDropped
from .http import Incoming, Refusal
from .world import World

Handler = Callable[[Incoming], Awaitable[Response]]
logger = logging.getLogger("kling_batch.emulator")

HOSTS: Mapping[str, Handler] = {
    "queue.fal.run": queue_api.handle,
    "queue.falrun.com": queue_api.handle,
    **dict.fromkeys(storage_api.REST_HOSTS, storage_api.handle_rest),
    **dict.fromkeys(files.HOSTS, storage_api.handle_cdn),
    storage_api.PUT_HOST: storage_api.handle_put,
    "api.fal.ai": platform_api.handle,
    "fal.ai": schema_api.handle,
}


class App:
    """ASGI application that serves one `World`."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the emulator does not speak {scope['type']}")
        try:
            response = await self._answer(HttpRequest(scope, receive))
            response.headers["date"] = formatdate(self.world.now(), usegmt=True)
            await response(scope, receive, send)
        except ConnectionDropped as dropped:
            await _drop(dropped, receive, send)
        except ClientDisconnect:
            return  # the client disconnected while it was still sending
        except anyio.get_cancelled_exc_class():
            # The server is stopping and would answer 500 to every pending request.
            _reset(_transport(send))
            raise
        except Exception:
            logger.exception("the emulator failed on %s %s", scope["method"], scope["path"])
            raise

    async def _answer(self, http: HttpRequest) -> Response:
        parts = tuple(part for part in http.scope["path"].split("/") if part)
        host = http.headers.get("host", "").partition(":")[0].lower()
        if host not in HOSTS and parts and parts[0] in HOSTS:
            host, parts = parts[0], parts[1:]
        if parts[:1] == ("_emulator",):
            handler: Handler | None = control.handle
        else:
            handler = HOSTS.get(host)
        if handler is None:
            return JSONResponse({"detail": _LOST}, 404)
        try:
            return await handler(Incoming(self.world, http, host, parts))
        except Refusal as refusal:
            return refusal.response


_LOST = (
    "This is the kling-batch emulator of fal.ai. Name one of fal's hosts in the Host header or "
    "as the first part of the path, for instance /queue.fal.run/fal-ai/… ; /_emulator/ is the "
    "control plane."
)


async def _drop(dropped: ConnectionDropped, receive: Receive, send: Send) -> None:
    """Close the connection's socket; in process, the exception stands for the lost connection."""
    transport = _transport(send)
    if transport is None:
        raise dropped
    if dropped.politely:
        transport.close()
    else:
        _reset(transport)
    # Returning earlier would make the server answer with a 500 on the closed connection.
    while (await receive())["type"] != "http.disconnect":
        pass


def _transport(send: Send) -> Any:
    """Transport of the connection of an ASGI call; None in process."""
    return getattr(getattr(send, "__self__", None), "transport", None)


def _reset(transport: Any) -> None:
    if transport is None:
        return
    # With a linger time of 0 the peer gets a reset instead of an orderly close.
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
