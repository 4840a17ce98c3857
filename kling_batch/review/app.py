"""HTTP of the review server: the page, its files with ranges, what is new, and verdicts.

Everything needs the token. Verdicts come as JSON with the token in a header, which a page of
another origin cannot send. Files are those of the ledger, by digest. Must not know SQL.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from html import escape
from pathlib import Path
from secrets import compare_digest
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kling_batch.core.jobs import JobKey
from kling_batch.errors import LedgerError, UsageError
from kling_batch.report.gallery import policy
from kling_batch.report.gallery_entries import is_whole
from kling_batch.report.posters import WORKERS, keep_poster
from kling_batch.review.board import Board, Judgement, StaleError
from kling_batch.review.copies import LocalCopies

TOKEN_HEADER = "x-review-token"  # noqa: S105 - its name
#: Of a request with a verdict: the longest note in the widest characters, escaped.
LONGEST_BODY = 200_000
LONGEST_AUTHOR = 80
#: Digits of a number that the page may send.
_LONGEST_NUMBER = 18

HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
#: What a browser may show as it is; everything else is handed out as a download.
SHOWN_TYPES = frozenset({"image", "video", "audio"})

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}
NEVER_KEPT = HEADERS | {"cache-control": "no-store"}
#: A file of a digest never changes.
KEPT = HEADERS | {
    "cache-control": "private, max-age=86400",
    "content-security-policy": (
        "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
    ),
}


def create_app(
    board: Board, output: Path, token: str, author: str, now: Callable[[], datetime]
) -> ASGIApp:
    """The application; `output` keeps the posters, `author` is who judges by default."""
    api = _Review(board, output, author, now)
    routes = [
        Route("/", api.page),
        Route("/state", api.state),
        Route("/file/{digest}/{name}", api.file),
        Route("/poster/{digest}.jpg", api.poster),
        Route("/verdict", api.verdict, methods=["POST"]),
    ]
    return _Guard(Starlette(routes=routes), token)


class _Guard:
    """Refuses what does not come from the page itself, or from a person with the address."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        refused = self._refusal(request)
        await (self._app if refused is None else refused)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if _host_name(host) not in HOSTS:
            return _refused(request, "This server answers on its loopback address only.")
        site = request.headers.get("sec-fetch-site", "none")
        arriving = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
        if site not in ("none", "same-origin") and not arriving:
            return _refused(request, "Another site asked for this, so it is refused.")
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return _refused(request, "Another site asked for this, so it is refused.")
        if request.method == "POST":
            given = request.headers.get(TOKEN_HEADER, "")
        else:
            given = request.query_params.get("token", "")
        if compare_digest(given.encode("utf-8", "replace"), self._token):
            return None
        return _refused(
            request,
            "The token in the address is missing or of another session. Open the address that "
            "`kling-batch review` printed when it was started last.",
        )


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _refused(request: Request, why: str) -> Response:
    if request.method == "GET" and request.url.path == "/":
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>Not allowed</title><h1>Not allowed</h1><p>{escape(why)}</p></html>"
        )
        return HTMLResponse(
            page, 403, NEVER_KEPT | {"content-security-policy": "default-src 'none'"}
        )
    return _json({"error": why}, 403)


def _json(value: Any, status: int = 200) -> Response:
    return JSONResponse(value, status, NEVER_KEPT)


class _Review:
    """The endpoints."""

    def __init__(
        self, board: Board, output: Path, author: str, now: Callable[[], datetime]
    ) -> None:
        self._board, self._output, self._author, self._now = board, output, author, now
        #: The board is read and written by one thread at a time.
        self._turn = anyio.Lock()
        self._decoders = anyio.CapacityLimiter(WORKERS)
        self._copies = LocalCopies()

    async def page(self, _: Request) -> Response:
        async with self._turn:
            try:
                await run_sync(self._board.refresh)
                text = await run_sync(self._board.page, self._author)
            except LedgerError as error:
                why = escape(str(error))
                text = f'<!doctype html><meta charset="utf-8"><h1>No ledger to review</h1><p>{why}'
                return HTMLResponse(text, 503, NEVER_KEPT)
        allowed = {"content-security-policy": f"{policy(served=True)}; frame-ancestors 'none'"}
        return HTMLResponse(text, 200, NEVER_KEPT | allowed)

    async def state(self, request: Request) -> Response:
        since = request.query_params.get("since", "0")
        epoch = request.query_params.get("epoch", "")
        async with self._turn:
            try:
                await run_sync(self._board.refresh)
            except LedgerError as error:
                return _json({"error": str(error)}, 503)
            number = int(since) if since.isdecimal() and len(since) <= _LONGEST_NUMBER else 0
            news = self._board.news(number, epoch)
        return _json(news)

    async def file(self, request: Request) -> Response:
        media = self._board.files.get(request.path_params["digest"])
        path = None
        if media is not None and await run_sync(is_whole, media):
            path = await run_sync(self._copies.path, media)
        if media is None or path is None:
            return _json({"error": "the ledger has no such file, or it is gone or changed"}, 404)
        shown = media.content_type.partition("/")[0] in SHOWN_TYPES
        return FileResponse(
            path,
            media_type=media.content_type if shown else "application/octet-stream",
            filename=media.name,
            content_disposition_type="inline" if shown else "attachment",
            headers=KEPT,
        )

    async def poster(self, request: Request) -> Response:
        media = self._board.files.get(request.path_params["digest"])
        if media is None:
            return _json({"error": "the ledger has no such file"}, 404)
        if not await run_sync(is_whole, media):
            return _json({"error": "the file is gone or changed"}, 404)
        path = await run_sync(self._copies.path, media) or media.path
        made = await run_sync(
            keep_poster, self._output, media.sha256, path, media.kind, limiter=self._decoders
        )
        if made is None:
            return _json({"error": "it cannot be decoded"}, 404)
        return Response(made, 200, KEPT, "image/jpeg")

    async def verdict(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _json({"error": "a verdict is sent as application/json"}, 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LONGEST_BODY:
                return _json({"error": "the note is too long"}, 413)
        try:
            judgement = _judgement(body, self._author)
        except UsageError as error:
            return _json({"error": str(error)}, 400)
        async with self._turn:
            return await self._judge(judgement)

    async def _judge(self, judgement: Judgement) -> Response:
        board = self._board
        if reason := board.why_read_only():
            return _json({"error": reason}, 403)
        try:
            await run_sync(board.judge, judgement, self._now())
        except (StaleError, UsageError) as error:
            news = board.news(judgement.since, board.epoch)
            return _json({"error": str(error), "news": news}, 409)
        except LedgerError as error:
            return _json({"error": str(error)}, 503)
        return _json(board.news(judgement.since, board.epoch))


def _judgement(body: bytes, author: str) -> Judgement:
    try:
        sent = json.loads(body)
        found = Judgement(
            key=JobKey(_text(sent["key"])),
            verdict=_text(sent["verdict"]),
            attempt=_number(sent["attempt"]),
            expected=_number(sent.get("expected", 0)),
            since=_number(sent.get("since", 0)),
            note=_text(sent.get("note", "")).strip(),
            author=(_text(sent.get("author", "")).strip() or author)[:LONGEST_AUTHOR],
        )
    except KeyError as error:
        raise UsageError(f"not a verdict: {error.args[0]} is missing") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"not a verdict: {error}") from None
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value.encode("utf-8", "replace").decode()


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    return value
