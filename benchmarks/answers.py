"""The stand-in's fal: requests by the list schedule, answers as bytes, and books of what was asked.

Source of the protocol: docs/fal-api.md. Time is the machine's monotonic clock; nothing runs here
between two calls. Must not touch a connection.
"""

from __future__ import annotations

import json
import resource
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from uuid import uuid4

from benchmarks.clips import Clips
from benchmarks.schedule import ServiceTimes, Slots

#: Units of a silent standard clip of five seconds, and the price of one.
UNITS, UNIT_PRICE = "3.0", 0.14

PAGE = 100


@dataclass(slots=True)
class Request:
    """An accepted submission and when it is rendered."""

    number: int
    id: str
    app: str
    endpoint: str
    payload: bytes
    arrived: float
    start: float
    end: float
    #: When the client was first told that it is done.
    noticed: float | None = None


@dataclass(slots=True)
class FileAnswer:
    """A part of a file that is sent in pieces."""

    clips: Clips
    number: int
    head: bytes
    position: int
    end: int
    #: Where the connection breaks, if it does.
    cut: int | None = None


class Reset(NamedTuple):
    """No answer: the connection breaks."""


class Later(NamedTuple):
    """Bytes now, and another answer after some seconds."""

    seconds: float
    start: bytes
    rest: Callable[[], bytes | FileAnswer | Reset | Later]


Answer = bytes | FileAnswer | Reset | Later


class Fal:
    """fal's queue, its files and its request list, and the books."""

    def __init__(self, slots: Slots, times: ServiceTimes, clips: Clips) -> None:
        self._slots = slots
        self._times = times
        self._clips = clips
        self._requests: list[Request] = []
        self._by_id: dict[str, Request] = {}
        self._starts: list[float] = []
        self._run = str(uuid4())[8:]
        self._asked: Counter[str] = Counter()
        self._connections = self._files = self._bytes = self._whole = 0
        self._peaks: Counter[str] = Counter()
        self._last_file = 0.0
        # Wall time of the monotonic zero.
        self._epoch = time.time() - time.monotonic()
        self._stamp = (0, b"")

    # -- what connections tell -----------------------------------------------------------------

    def connected(self, change: int) -> None:
        """A connection came or went."""
        self._connections += change
        self._peaks["connections"] = max(self._peaks["connections"], self._connections)

    def file_ended(self, file: FileAnswer, *, whole: bool) -> None:
        """A file's last byte was written, or its connection is gone."""
        self._files -= 1
        if whole:
            self._whole += 1
            self._last_file = time.monotonic()

    # -- answers -------------------------------------------------------------------------------

    def answer(self, head: bytes, body: bytes) -> Answer:
        """The answer to one request."""
        line, _, fields = head.partition(b"\r\n")
        method, target, _ = line.decode("latin-1").split(" ", 2)
        path, _, query = target.partition("?")
        if path.startswith("/files/"):
            return self._file(path, b"\r\n" + fields)
        if method == "POST":
            return self._submit(path, body)
        _, found, rest = path.partition("/requests/")
        if found and not path.startswith("/v1/"):
            name, _, what = rest.partition("/")
            request = self._by_id.get(name)
            if request is None:
                return self._reply(404, b'{"detail": "Request not found"}', "other")
            return self._about(request, method, what)
        if path == "/v1/models/requests/by-endpoint":
            return self._list(query)
        if path == "/v1/models/pricing":
            return self._prices(query)
        return self._reply(404, b'{"detail": "Not Found"}', "other")

    def _reply(self, status: int, body: bytes, kind: str, more: bytes = b"") -> bytes:
        self._asked[kind] += 1
        second = int(time.time())
        if second != self._stamp[0]:
            self._stamp = second, formatdate(second, usegmt=True).encode()
        return (
            b"HTTP/1.1 %d OK\r\nDate: %b\r\nContent-Type: application/json\r\n%b"
            b"Content-Length: %d\r\n\r\n%b" % (status, self._stamp[1], more, len(body), body)
        )

    def _submit(self, path: str, body: bytes) -> bytes:
        now = time.monotonic()
        start, end = self._slots.take(now, next(self._times))
        number, endpoint = len(self._requests), path.strip("/")
        app = "/".join(endpoint.split("/")[:2])
        name = f"{number:08x}{self._run}"
        request = Request(number, name, app, endpoint, body, now, start, end)
        self._requests.append(request)
        self._by_id[name] = request
        self._starts.append(start)
        base = f"https://queue.fal.run/{app}/requests/{name}"
        urls = {
            "response_url": base,
            "status_url": f"{base}/status",
            "cancel_url": f"{base}/cancel",
        }
        answer = {"status": "IN_QUEUE", "request_id": name, **urls, "queue_position": 0}
        return self._reply(200, json.dumps(answer).encode(), "submit", _named(request))

    def _about(self, request: Request, method: str, what: str) -> Answer:
        match method, what:
            case "GET", "status":
                return self._status(request)
            case "GET", "status/stream":
                return self._stream(request)
            case "GET", "" | "response":
                return self._result(request)
            case "PUT", "cancel":
                return self._reply(400, b'{"status": "ALREADY_COMPLETED"}', "cancel")
            case _:
                return self._reply(405, b'{"detail": "Method Not Allowed"}', "other")

    def _state(self, request: Request, now: float) -> bytes:
        """The body of a status."""
        if now >= request.end:
            request.noticed = request.noticed or now
            seconds = request.end - request.start
            return (
                b'{"status": "COMPLETED", "logs": null, "metrics": {"inference_time": %.3f}}'
                % seconds
            )
        if now >= request.start:
            return b'{"status": "IN_PROGRESS", "logs": null}'
        # Starts come in order of arrival, because the schedule is.
        ahead = request.number - bisect_right(self._starts, now)
        return b'{"status": "IN_QUEUE", "queue_position": %d}' % max(0, ahead)

    def _status(self, request: Request) -> bytes:
        now = time.monotonic()
        body = self._state(request, now)
        return self._reply(200 if now >= request.end else 202, body, "status", _named(request))

    def _stream(self, request: Request) -> Answer:
        """Server-sent events until the request is done; the connection stays usable."""
        self._asked["stream"] += 1
        return self._told(
            request,
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
        )

    def _told(self, request: Request, start: bytes = b"") -> Answer:
        now = time.monotonic()
        event = b"data: %b\n\n" % self._state(request, now)
        start += b"%x\r\n%b\r\n" % (len(event), event)
        if now >= request.end:
            return start + b"0\r\n\r\n"
        following = request.start if now < request.start else request.end
        return Later(max(0.0, following - now) + 0.0005, start, lambda: self._told(request))

    def _result(self, request: Request) -> bytes:
        now = time.monotonic()
        if now < request.end:
            return self._reply(400, b'{"detail": "Request is still in progress"}', "result")
        request.noticed = request.noticed or now
        more = _named(request) + b"x-fal-billable-units: %b\r\n" % UNITS.encode()
        return self._reply(200, json.dumps(self._output(request)).encode(), "result", more)

    def _output(self, request: Request) -> dict[str, Any]:
        return {
            "video": {
                "url": f"https://v3.fal.media/files/bench/{request.number}.mp4",
                "content_type": "video/mp4",
                "file_name": "out.mp4",
                "file_size": self._clips.size,
            }
        }

    def _file(self, path: str, fields: bytes) -> FileAnswer | bytes:
        number = path.rpartition("/")[2].partition(".")[0]
        if not number.isdecimal() or int(number) >= max(1, len(self._requests)):
            return self._reply(404, b"", "other")
        size, start, status = self._clips.size, 0, b"200 OK"
        asked = fields.lower().partition(b"\r\nrange: bytes=")[2].partition(b"\r\n")[0]
        more = b""
        if asked:
            first, _, last = asked.partition(b"-")
            start = int(first)
            if start >= size:
                return self._reply(416, b"", "file", b"Content-Range: bytes */%d\r\n" % size)
            end = min(size, int(last) + 1 if last else size)
            status, more = (
                b"206 Partial Content",
                b"Content-Range: bytes %d-%d/%d\r\n"
                % (
                    start,
                    end - 1,
                    size,
                ),
            )
        else:
            end = size
        self._asked["file"] += 1
        self._files += 1
        self._bytes += end - start
        self._peaks["files"] = max(self._peaks["files"], self._files)
        head = (
            b"HTTP/1.1 %b\r\nContent-Type: video/mp4\r\nAccept-Ranges: bytes\r\n%b"
            b"Content-Length: %d\r\n\r\n" % (status, more, end - start)
        )
        return FileAnswer(self._clips, int(number), head, start, end)

    # -- the platform's lists ------------------------------------------------------------------

    def _list(self, query: str) -> bytes:
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        now, page = time.monotonic(), int(asked.get("cursor", 0))
        name, endpoint = asked.get("request_id"), asked.get("endpoint_id", "")
        known = [self._by_id[name]] if name in self._by_id else []
        # The newest first; what has not begun is not listed.
        rows = known if name else [each for each in reversed(self._requests) if each.start <= now]
        rows = [each for each in rows if each.endpoint == endpoint]
        items = [
            self._item(each, now, payloads=asked.get("expand") == "payloads")
            for each in rows[page * PAGE : (page + 1) * PAGE]
        ]
        more = len(rows) > (page + 1) * PAGE
        body = {"items": items, "has_more": more, "next_cursor": str(page + 1) if more else None}
        return self._reply(200, json.dumps(body).encode(), "list")

    def _item(self, request: Request, now: float, *, payloads: bool) -> dict[str, Any]:
        done = now >= request.end
        item: dict[str, Any] = {
            "request_id": request.id,
            "endpoint_id": request.endpoint,
            "started_at": self._moment(request.start),
            "sent_at": self._moment(request.arrived),
            "ended_at": self._moment(request.end) if done else None,
            "status_code": 200 if done else None,
            "duration": request.end - request.start if done else None,
        }
        if payloads:
            item["json_input"] = json.loads(request.payload)
            item["json_output"] = self._output(request) if done else None
        return item

    def _moment(self, monotonic: float) -> str:
        moment = datetime.fromtimestamp(self._epoch + monotonic, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _prices(self, query: str) -> bytes:
        names = parse_qs(query).get("endpoint_id", [])
        entry = {"unit_price": UNIT_PRICE, "unit": "credits", "currency": "USD"}
        prices = [{"endpoint_id": each, **entry} for name in names for each in name.split(",")]
        body = {"prices": prices, "has_more": False, "next_cursor": None}
        return self._reply(200, json.dumps(body).encode(), "prices")

    # -- books ---------------------------------------------------------------------------------

    def books(self) -> dict[str, Any]:
        """What was asked, how late ends were noticed, and what answering has cost."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        first = self._requests[0].arrived if self._requests else 0.0
        late = [(r.noticed - r.end, r.end - r.start) for r in self._requests if r.noticed]
        return {
            "submitted": len(self._requests),
            "submitted_again": len(self._requests) - len({r.payload for r in self._requests}),
            "asked": dict(self._asked),
            "files": self._whole,
            "bytes": self._bytes,
            "seconds": max(0.0, self._last_file - first) if self._requests else 0.0,
            "submitting": self._requests[-1].arrived - first if self._requests else 0.0,
            "late": sum(each for each, _ in late) / max(1, len(late)),
            "late_fraction": sum(each / long for each, long in late) / max(1, len(late)),
            "open": self._most_open(),
            "peaks": dict(self._peaks),
            "cpu": usage.ru_utime + usage.ru_stime,
        }

    def _most_open(self) -> int:
        """The most requests that were accepted and not yet rendered at one moment."""
        changes = [(r.arrived, 1) for r in self._requests] + [(r.end, -1) for r in self._requests]
        most = now = 0
        for _, change in sorted(changes):
            now += change
            most = max(most, now)
        return most


def _named(request: Request) -> bytes:
    return b"x-fal-request-id: %b\r\n" % request.id.encode()
