"""Faults on the wire: turns a regular response into the faulty one of the plan."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from .faults import Call, ConnectionDropped, Fault
from .http import Incoming
from .world import LOCK_TEXT

_UNITS = "x-fal-billable-units"

Answer = Callable[[], Awaitable[Response]]

_NGINX = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_FRONT: Mapping[int, str] = {
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}
_DETAILS: Mapping[int, str] = {
    401: "Invalid key credentials",
    403: LOCK_TEXT.format("Exhausted balance"),
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    429: "Too many requests",
    500: "Internal Server Error",
}
_KINDS: Mapping[int, str] = {
    401: "authorization_error",
    403: "authorization_error",
    404: "not_found",
    429: "rate_limited",
}


async def guarded(incoming: Incoming, call: Call, answer: Answer) -> Response:
    """Regular response, or the faulty one if a fault applies to the call."""
    fault = incoming.world.faults.draw(call)
    return await answer() if fault is None else await misbehave(fault, incoming, answer)


async def misbehave(fault: Fault, incoming: Incoming, answer: Answer) -> Response:
    """Faulty response; `answer` runs only if its result is still needed."""
    if fault.what == "hang":
        await _hang(incoming.http.receive, fault.seconds)
        raise ConnectionDropped
    if fault.seconds is not None:
        await anyio.sleep(fault.seconds)
    if fault.what in ("reset", "close"):
        raise ConnectionDropped(politely=fault.what == "close")
    if _replaces(fault):
        return _instead(fault, platform=incoming.host == "api.fal.ai")
    incoming.ignore_range = fault.what == "ignore_range"
    return _worsened(fault, await answer())


def answered(fault: Fault | None, status: int) -> int | None:
    """HTTP status that the caller sees; None if it gets no response."""
    if fault is None:
        return status
    if fault.what in ("reset", "close", "hang"):
        return None
    return _instead(fault).status_code if _replaces(fault) else status


def _replaces(fault: Fault) -> bool:
    """Whether the regular response is not needed at all."""
    whole = fault.what in ("status", "expired", "html")
    return whole or (fault.what == "garbage" and fault.stage != "download")


def _instead(fault: Fault, *, platform: bool = False) -> Response:
    headers = dict(fault.headers)
    if fault.body is not None:
        body = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
        media_type = "text/plain" if isinstance(fault.body, str) else "application/json"
        return Response(body, fault.status or 200, headers, media_type)
    if fault.what == "html":
        page = "<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>"
        return HTMLResponse(page, fault.status or 200, headers)
    if fault.what == "garbage":
        return Response(
            b'{"request_id": "\xff\xfe', fault.status or 200, headers, "application/json"
        )
    status = fault.status or 404
    if status in _FRONT:
        return HTMLResponse(_NGINX.format(_FRONT[status]), status, headers)
    text = _DETAILS.get(status, "Error")
    answer: dict[str, Any] = {"detail": text}
    if platform:
        answer = {"error": {"type": _KINDS.get(status, "server_error"), "message": text}}
    return JSONResponse(answer, status, headers)


def _worsened(fault: Fault, good: Response) -> Response:
    match fault.what:
        case "truncated":
            return _Truncated(good)
        case "short":
            return _reworked(good, lambda body: body[: len(body) // 2])
        case "garbage":  # the file's length, but no known format
            return _reworked(good, lambda body: body[::-1])
        case "headers":
            good.headers.update(fault.headers)
        case "units" if _UNITS in good.headers:
            good.headers[_UNITS] = f"{float(good.headers[_UNITS]) * (fault.scale or 0.0):.10g}"
        case _:  # delayed, or the whole file instead of a range
            pass
    return good


class _Truncated(Response):
    """Response that declares the whole length, sends half of it, and closes."""

    def __init__(self, whole: Response) -> None:
        super().__init__(status_code=whole.status_code)
        self.raw_headers = whole.raw_headers
        self.body = _body(whole)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        half = bytes(self.body[: len(self.body) // 2])
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": half, "more_body": True})
        dropped = ConnectionDropped(politely=True)
        dropped.status, dropped.headers, dropped.body = self.status_code, self.raw_headers, half
        raise dropped


def _reworked(whole: Response, change: Callable[[bytes], bytes]) -> Response:
    """The same response with another body and its length."""
    other = Response(change(_body(whole)), whole.status_code)
    for name, value in whole.headers.items():
        if name != "content-length":
            other.headers[name] = value
    return other


def _body(response: Response) -> bytes:
    """Body of a response; empty for a stream, which has none to truncate."""
    return bytes(getattr(response, "body", b""))


async def _hang(receive: Receive, seconds: float | None) -> None:
    """Wait until the time is over or the caller has disconnected."""
    with anyio.move_on_after(seconds):
        while (await receive())["type"] != "http.disconnect":
            pass
