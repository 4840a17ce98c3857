"""Routes of queue.fal.run: submit, status, stream, result, cancel. Must not decide about jobs."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import anyio
from starlette.responses import JSONResponse, Response, StreamingResponse

from .books import Cancel, Post
from .checking import LARGEST
from .endpoints import Endpoint, app_of
from .faults import Call, Fault, Stage
from .http import Incoming, Refusal, refused, require_key
from .misbehaviour import answered, guarded, misbehave
from .records import Request, State, prompt_of
from .world import World

_TRUE = ("1", "true", "True", "yes")


async def handle(incoming: Incoming) -> Response:
    """Answer a request to the queue."""
    if "requests" not in incoming.path:
        return await _submit(incoming)
    at = incoming.path.index("requests")
    app, rest = "/".join(incoming.path[:at]), incoming.path[at + 1 :]
    if not rest:
        raise refused(404, "Not Found")
    match (incoming.method, rest[1:]):
        case ("GET", ("status",)):
            stage: Stage = "status"
            answer = _status
        case ("GET", ("status", "stream")):
            stage, answer = "status", _stream
        case ("GET", () | ("response",)):
            stage, answer = "result", _result
        case ("PUT", ("cancel",)):
            stage, answer = "cancel", _cancel
        case _:
            raise refused(405, "Method Not Allowed")
    request = incoming.world.find(rest[0])
    call = _call(stage, request)

    async def checked() -> Response:
        incoming.world.catch_up()  # a fault may have delayed the call
        require_key(incoming)
        _require_access_to_reads(incoming.world)
        if request is None or app not in (app_of(request.endpoint), request.endpoint):
            return JSONResponse({"status": "NOT_FOUND"}, 404)
        return await answer(incoming, request)

    return await guarded(incoming, call, checked)


# -- submit --


async def _submit(incoming: Incoming) -> Response:
    """Accept or refuse a submission; it is recorded before the response is sent."""
    if incoming.method != "POST":
        raise refused(405, "Method Not Allowed")
    submission = await _Submission.read(incoming)
    before = incoming.world.faults.draw(submission.call)
    if before is not None and before.what != "delay":
        submission.book(answered(before, 503), None)
        return await misbehave(before, incoming, _unavailable)
    if before is not None and before.seconds is not None:
        try:
            await anyio.sleep(before.seconds)
        except anyio.get_cancelled_exc_class():
            # A server processes what it received even if the caller has disconnected.
            with suppress(Refusal):
                submission.take()
            raise
    request, after = submission.take()

    async def answer() -> Response:
        return _accepted(incoming.world, request)

    return await answer() if after is None else await misbehave(after, incoming, answer)


@dataclass(frozen=True, slots=True)
class _Submission:
    """A POST to the queue until it is recorded."""

    incoming: Incoming
    endpoint_id: str
    payload: object
    digest: str

    @classmethod
    async def read(cls, incoming: Incoming) -> Self:
        endpoint_id = "/".join(incoming.path)
        try:
            payload = await incoming.json()
        except ValueError:
            payload = None
        return cls(incoming, endpoint_id, payload, incoming.world.hash_of(endpoint_id, payload))

    @property
    def call(self) -> Call:
        prompt = prompt_of(self.payload) if isinstance(self.payload, dict) else ""
        return Call(stage="submit.before", endpoint=self.endpoint_id, prompt=prompt)

    def take(self) -> tuple[Request, Fault | None]:
        """Accept it, and draw the fault of its response; raises Refusal if it is not acceptable."""
        world = self.incoming.world
        try:
            request = _accept(self.incoming, self.endpoint_id, self.payload)
        except Refusal as refusal:
            self.book(refusal.response.status_code, None)
            raise
        fault = world.faults.draw(_call("submit.after", request))
        self.book(answered(fault, world.settings.submit_http), request.request_id)
        return request, fault

    def book(self, status: int | None, request_id: str | None) -> None:
        """Record the submission and its response."""
        world = self.incoming.world
        post = Post(
            at=world.now(),
            endpoint=self.endpoint_id,
            payload_hash=self.digest,
            request_id=request_id,
            status=status,
        )
        world.books.post(post)


async def _unavailable() -> Response:
    return JSONResponse({"detail": "Service Unavailable"}, 503)


def _accept(incoming: Incoming, endpoint_id: str, payload: object) -> Request:
    world = incoming.world
    world.catch_up()
    require_key(incoming)
    endpoint = _usable(world, endpoint_id)
    longest = incoming.query("fal_max_queue_length")
    if longest is not None and longest.isdecimal() and world.queue.length > int(longest):
        raise refused(429, "Queue is too long", error_type="queue_length_exceeded")
    if not isinstance(payload, dict):
        raise refused(400, "The body must be a JSON object", error_type="bad_request")
    headers = incoming.http.headers
    tags = headers.get("x-fal-tags", "")
    if tags and world.settings.refuse_tags:
        raise refused(403, "X-Fal-Tags: request tags are not enabled for this account")
    return world.accept(
        endpoint,
        payload,
        start_timeout=_start_timeout(headers),
        store_io=headers.get("x-fal-store-io") != "0",
        tags=read_tags(tags),
    )


def _usable(world: World, endpoint_id: str) -> Endpoint:
    endpoint = world.endpoint(endpoint_id)
    if endpoint is None:
        raise refused(404, f"Application '{endpoint_id}' not found")
    if not world.may_use(endpoint_id):
        raise refused(403, f"Cannot access application '{endpoint_id}'. Access denied.")
    if text := world.lock_text:
        raise refused(403, text)
    return endpoint


def _start_timeout(headers: Mapping[str, str]) -> float | None:
    # The name of autumn 2026 wins over the older one.
    name = "X-Fal-Request-Start-Timeout"
    text = headers.get(name)
    if text is None:
        name = "X-Fal-Request-Timeout"
        text = headers.get(name)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 < seconds <= LARGEST:  # NaN, too
        raise refused(400, f"Invalid {name} header", error_type="bad_request")
    return seconds


_TAG = re.compile(r"\s*([a-z0-9._-]{1,64})=([\x20-\x2b\x2d-\x7e]{1,256})")


def read_tags(text: str) -> dict[str, str]:
    """The valid pairs of an X-Fal-Tags header; the others are dropped without a word."""
    if len(text) > 1024:
        return {}
    found = [_TAG.fullmatch(pair) for pair in text.split(",")[:10]]
    return {m[1]: m[2] for m in found if m is not None and not m[1].startswith("fal.")}


def _accepted(world: World, request: Request) -> Response:
    body = {
        "status": State.IN_QUEUE,
        "request_id": request.request_id,
        "queue_position": world.queue.position(request),
        "gateway_request_id": request.request_id,
        **_urls(world, request),
    }
    return JSONResponse(body, world.settings.submit_http, _marks(request))


# -- reads --


def _require_access_to_reads(world: World) -> None:
    if world.settings.lock_reads and (text := world.lock_text):
        raise refused(403, text)


async def _status(incoming: Incoming, request: Request) -> Response:
    world = incoming.world
    world.books.status_gets[request.request_id] += 1
    if world.status_expired(request):
        return JSONResponse({"status": "NOT_FOUND"}, 404)
    done = request.state is State.COMPLETED
    status = 200 if done else world.settings.status_http
    return JSONResponse(_status_body(incoming, request), status, _marks(request))


def _status_body(incoming: Incoming, request: Request) -> dict[str, Any]:
    world = incoming.world
    body: dict[str, Any] = {"status": request.state, "request_id": request.request_id}
    body |= _urls(world, request)
    if request.state is State.IN_QUEUE:
        return {**body, "queue_position": world.queue.position(request)}
    body["logs"] = _logs(request) if incoming.query("logs") in _TRUE else None
    if request.state is State.COMPLETED:
        began = request.started_at if request.started_at is not None else request.finished_at
        body["metrics"] = {"inference_time": round((request.finished_at or 0) - (began or 0), 3)}
    if request.failure is not None:
        body |= {"error": request.failure.error, "error_type": request.failure.error_type}
    return body


def _logs(request: Request) -> list[dict[str, Any]]:
    lines = [(request.started_at, "Render started")]
    if request.finished_at is not None:
        lines.append((request.finished_at, "Render ended"))
    return [
        {"message": text, "timestamp": at, "level": "INFO", "source": "emulator"}
        for at, text in lines
        if at is not None
    ]


async def _stream(incoming: Incoming, request: Request) -> Response:
    async def events() -> AsyncIterator[str]:
        last: dict[str, Any] | None = None
        while True:
            incoming.world.catch_up()
            body = _status_body(incoming, request)
            if body != last:
                yield f"data: {json.dumps(body)}\n\n"
                last = body
            # What was sent decides: the request may have completed while it was on its way.
            if body["status"] == State.COMPLETED:
                return
            await anyio.sleep(incoming.world.settings.stream_interval)

    return StreamingResponse(events(), media_type="text/event-stream")


async def _result(incoming: Incoming, request: Request) -> Response:
    world = incoming.world
    world.books.count("result_get", request.request_id)
    if request.state is not State.COMPLETED:
        body = {"detail": "Request is still in progress"}
        return JSONResponse(body, world.settings.early_result_http, _marks(request))
    if world.result_expired(request) or world.status_expired(request):
        raise refused(404, "Request result not found")
    units = {"X-Fal-Billable-Units": f"{request.charged_units:.10g}"}
    if request.failure is None:
        return JSONResponse(world.output(request), 200, {**_marks(request), **units})
    failure = request.failure
    headers = {**_marks(request), **units, **failure.headers}
    if failure.error_type == "startup_timeout" and request.start_by is not None:
        headers["X-Fal-Request-Timeout-Type"] = "user"
    return JSONResponse(dict(failure.body), failure.http, headers)


async def _cancel(incoming: Incoming, request: Request) -> Response:
    world = incoming.world
    queued = request.state is State.IN_QUEUE
    accepted = world.cancel(request)
    removed = accepted and queued and world.settings.cancel_removes
    answer = "CANCELLATION_REQUESTED" if accepted else "ALREADY_COMPLETED"
    answer = "OK" if removed else answer
    world.books.cancel(Cancel(at=world.now(), request_id=request.request_id, answer=answer))
    if removed:  # the reference of autumn 2026
        return JSONResponse({"status": answer}, 200, _marks(request))
    if world.settings.cancel_http == 200:  # the form in the OpenAPI documents of the endpoints
        return JSONResponse({"success": accepted}, 200, _marks(request))
    return JSONResponse({"status": answer}, 202 if accepted else 400, _marks(request))


# -- bodies and headers --


def _urls(world: World, request: Request) -> dict[str, str]:
    form = world.settings.url_form
    app = app_of(request.endpoint) if form == "app" else request.endpoint
    base = f"https://queue.fal.run/{app}/requests/{request.request_id}"
    return {
        "response_url": f"{base}/response" if form == "response" else base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
    }


def _marks(request: Request) -> dict[str, str]:
    """Headers that distinguish fal's own responses from those of a proxy."""
    return {"x-fal-request-id": request.request_id}


def _call(stage: Stage, request: Request | None) -> Call:
    if request is None:
        return Call(stage=stage)
    return Call(
        stage=stage,
        endpoint=request.endpoint,
        prompt=request.prompt,
        request=request.ordinal,
    )
