"""Routes of rest.fal.ai and the CDN: tokens, uploads, and downloads with Range."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response

from .checking import LARGEST, read_json
from .faults import Call
from .files import UPLOAD_HOST, File, Multipart
from .http import Incoming, refused, require_key
from .misbehaviour import guarded

REST_HOSTS = frozenset({"rest.fal.ai", "rest.alpha.fal.ai"})
PUT_HOST = "upload.fal.media"
"""Host of the PUT of an initiated upload; fal uses a pre-signed URL of a cloud store."""
_TOKEN = "emulated-cdn-token"  # noqa: S105 (not a secret)
_TOKEN_LIFETIME = 24 * 3600


async def handle_rest(incoming: Incoming) -> Response:
    """Answer a request for a token or for the older form of upload."""

    async def answer() -> Response:
        require_key(incoming)
        match (incoming.method, incoming.path):
            case ("POST", ("storage", "auth", "token")):
                return _token(incoming)
            case ("POST", ("storage", "upload", "initiate")):
                return await _initiate(incoming)
            case _:
                raise refused(404, "Not Found")

    return await guarded(incoming, Call(stage="upload"), answer)


async def handle_cdn(incoming: Incoming) -> Response:
    """Answer an upload or download."""
    if incoming.method in ("GET", "HEAD"):
        return await _download(incoming)

    async def answer() -> Response:
        match (incoming.method, incoming.path):
            case ("POST", ("files", "upload")):
                return await _single(incoming)
            case ("POST", ("files", "upload", "multipart")):
                return _begin(incoming)
            case ("PUT", (*path, "multipart", upload_id, number)):
                return await _part(incoming, path, upload_id, number)
            case ("POST", (*path, "multipart", upload_id, "complete")):
                return await _finish(incoming, path, upload_id)
            case _:
                raise refused(404, "Not Found")

    return await guarded(incoming, Call(stage="upload"), answer)


async def handle_put(incoming: Incoming) -> Response:
    """Answer the PUT of an initiated upload; its URL is the permission, so it needs no key."""

    async def answer() -> Response:
        if incoming.method != "PUT":
            raise refused(405, "Method Not Allowed")
        path = "/" + "/".join(incoming.path)
        if incoming.query("signature") != _digest(path):
            raise refused(403, "The signature does not match")
        content_type = incoming.http.headers.get("content-type", "application/octet-stream")
        await _shelve(incoming, path, content_type)
        return Response(status_code=200)

    return await guarded(incoming, Call(stage="upload"), answer)


# -- uploads --


def _token(incoming: Incoming) -> Response:
    expires = datetime.fromtimestamp(incoming.world.now() + _TOKEN_LIFETIME, UTC)
    body = {
        "token": _TOKEN,
        "token_type": "Bearer",
        "base_url": f"https://{UPLOAD_HOST}",
        "expires_at": expires.isoformat(),
    }
    return JSONResponse(body)


async def _initiate(incoming: Incoming) -> Response:
    try:
        body = await incoming.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise refused(400, "The body must be a JSON object")
    path = incoming.world.files.reserve(str(body.get("file_name") or "upload.bin"))
    signed = f"https://{PUT_HOST}{path}?signature={_digest(path)}"
    return JSONResponse({"upload_url": signed, "file_url": f"https://{UPLOAD_HOST}{path}"})


async def _single(incoming: Incoming) -> Response:
    _require_token(incoming)
    headers = incoming.http.headers
    path = incoming.world.files.reserve(headers.get("x-fal-file-name", "upload.bin"))
    content_type = headers.get("content-type", "application/octet-stream")
    file = await _shelve(incoming, path, content_type)
    return JSONResponse({"access_url": file.url})


async def _shelve(incoming: Incoming, path: str, content_type: str) -> File:
    world, data = incoming.world, await incoming.http.body()
    file = world.files.upload(path, data, content_type, world.now(), _lifetime(incoming))
    world.books.count("upload", file.sha256)
    return file


def _begin(incoming: Incoming) -> Response:
    _require_token(incoming)
    headers = incoming.http.headers
    path, upload_id = incoming.world.files.begin(
        headers.get("x-fal-file-name", "upload.bin"),
        headers.get("content-type", "application/octet-stream"),
        _lifetime(incoming),
    )
    return JSONResponse({"access_url": f"https://{UPLOAD_HOST}{path}", "uploadId": upload_id})


async def _part(incoming: Incoming, path: list[str], upload_id: str, number: str) -> Response:
    _require_token(incoming)
    upload = _multipart(incoming, path, upload_id)
    if not number.isdecimal() or int(number) < 1:
        raise refused(400, "Part numbers begin with 1")
    data = await incoming.http.body()
    upload.parts[int(number)] = data
    return Response(status_code=200, headers={"ETag": _etag(data)})


async def _finish(incoming: Incoming, path: list[str], upload_id: str) -> Response:
    _require_token(incoming)
    upload = _multipart(incoming, path, upload_id)
    try:
        parts = {part["partNumber"]: part["etag"] for part in (await incoming.json())["parts"]}
    except (ValueError, KeyError, TypeError):
        raise refused(400, "The parts are not listed") from None
    if any(n not in upload.parts or _etag(upload.parts[n]) != parts[n] for n in parts):
        raise refused(400, "A listed part was never uploaded, or differs")
    world = incoming.world
    file = world.files.finish(upload_id, list(parts), world.now())
    world.books.count("upload", file.sha256)
    return JSONResponse({"access_url": file.url})


def _multipart(incoming: Incoming, path: list[str], upload_id: str) -> Multipart:
    found = incoming.world.files.multipart("/" + "/".join(path), upload_id)
    if found is None:
        raise refused(404, "Not Found")
    return found


def _require_token(incoming: Incoming) -> None:
    authorization = incoming.http.headers.get("authorization", "")
    if authorization != f"Bearer {_TOKEN}":
        raise refused(401, "Invalid CDN token")


def _lifetime(incoming: Incoming) -> float | None:
    """Requested lifetime in seconds; None, fal's default, is unlimited."""
    headers = incoming.http.headers
    text = headers.get("x-fal-object-lifecycle") or headers.get("x-fal-object-lifecycle-preference")
    try:
        seconds = float(read_json(text or "{}")["expiration_duration_seconds"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return seconds if abs(seconds) <= LARGEST else None


# -- downloads --


async def _download(incoming: Incoming) -> Response:
    world, path = incoming.world, "/" + "/".join(incoming.path)
    file = world.files.find(path, world.now())
    request = file.request if file is not None else None
    call = Call(stage="download")
    if request is not None:
        call = Call(
            stage="download",
            endpoint=request.endpoint,
            prompt=request.prompt,
            request=request.ordinal,
        )

    async def answer() -> Response:
        if file is None:
            raise refused(404, "Not Found")
        if incoming.method == "GET":
            world.books.count("download", path)
        return _served(incoming, file)

    return await guarded(incoming, call, answer)


def _served(incoming: Incoming, file: File) -> Response:
    data = incoming.world.files.data(file)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": _etag(data),
        "Cache-Control": "public, max-age=5184000, immutable",
        "Access-Control-Allow-Origin": "*",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Type": file.content_type,
    }
    asked = incoming.http.headers.get("range")
    condition = incoming.http.headers.get("if-range")
    if asked is None or incoming.ignore_range or condition not in (None, headers["ETag"]):
        return Response(data, 200, headers)
    part = _part_asked(asked, len(data))
    if part is None:
        return Response(data, 200, headers)
    if part.start >= len(data):
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
    return Response(data[part.start : part.stop], 206, headers)


def _part_asked(text: str, size: int) -> range | None:
    """Bytes that a single-range header asks for; may lie past the end of the file.

    None if the header is not understood, which means the whole file.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = int(last)
        return range(max(0, size - length) if length else size, size)
    stop = min(int(last) + 1, size) if last else size
    return None if last and int(last) < int(first) else range(int(first), max(stop, 0))


def _etag(data: bytes) -> str:
    return f'"{_digest(data)}"'


def _digest(data: bytes | str) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()
