"""fal over HTTP: what each break of a connection means, and where the key goes."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import anyio
import fal_client.client
import httpx
import pytest
import trio
import trio.testing
from support.engine import T2V
from support.sockets import Exchange, refused_port, serving
from support.wires import KINDS, Impatient, WireKind, in_process, on_sockets

from kling_batch.core.outcomes import (
    Accepted,
    CancelAnswer,
    FailureKind,
    Finished,
    Handle,
    Listed,
    ListForbidden,
    Listing,
    NotSent,
    Refused,
    Rendered,
    Unconfirmed,
    Unread,
    UploadError,
    Waiting,
)
from kling_batch.errors import AuthError
from kling_batch.fal import client
from kling_batch.fal.client import MAX_BODY, FalQueue
from kling_batch.fal.credentials import authorization
from kling_batch.fal.transport import BackupDomains, connections
from kling_batch.fal.upload import FalUploader
from kling_batch.wire.protocol import Request, Wire, WireError

KEY = "key-id:key-secret"
AUTH = f"Key {KEY}"
BASE = "https://queue.fal.run/fal-ai/kling-video/requests/r-1"
HANDLE = Handle(
    request_id="r-1", response_url=BASE, status_url=f"{BASE}/status", cancel_url=f"{BASE}/cancel"
)
SINCE = "2026-05-01T12:00:00.000Z"

T = TypeVar("T")
Ask = Callable[[FalQueue], Awaitable[T]]


def ask(transport: httpx.AsyncBaseTransport, question: Ask[T]) -> T:
    """Put one question to a queue behind `transport`."""
    return over(in_process(transport), question)


def over(wire: Wire, question: Ask[T]) -> T:
    async def main() -> T:
        async with connections(AUTH, wire=wire) as (api, _):
            return await question(FalQueue(api))

    return anyio.run(main)


def submit(queue: FalQueue) -> Awaitable[Any]:
    return queue.submit(T2V, {"prompt": "a secret prompt"})


def status(queue: FalQueue) -> Awaitable[Any]:
    return queue.status(HANDLE)


def listing(queue: FalQueue) -> Awaitable[Any]:
    return queue.listing(T2V, since=SINCE)


class Canned(httpx.AsyncBaseTransport):
    """Answers or raises what it is told, in order, the last one for ever; keeps what it saw."""

    def __init__(self, *answers: httpx.Response | Exception | Any) -> None:
        self.answers = list(answers)
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.seen.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer) and not isinstance(answer, type):
            answer = answer(request)
        if isinstance(answer, Exception):
            answer.request = request  # type: ignore[attr-defined] # as httpx's own transports do
            raise answer
        assert isinstance(answer, httpx.Response)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=answer.stream)


def page(*ids: str, cursor: str | None = None, **more: Any) -> httpx.Response:
    items = [
        {"request_id": i, "endpoint_id": T2V, "sent_at": SINCE, "json_input": {"p": i}} for i in ids
    ]
    body = {"items": items, "next_cursor": cursor, "has_more": cursor is not None} | more
    return httpx.Response(200, json=body)


# -- the paid POST -----------------------------------------------------------------------------


def family(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


#: Everything httpx can raise while a request is on its way. (`HTTPStatusError` needs somebody to
#: ask for it, stream errors need a misuse.)
ERRORS = sorted(
    {*family(httpx.RequestError)} - {httpx.RequestError}, key=lambda kind: kind.__name__
)
#: Those that are raised before a byte of the request has left.
BEFORE = {
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_only_what_never_left_may_be_sent_again(kind: type[Exception]) -> None:
    wire = Canned(kind("broken"))

    outcome = ask(wire, submit)

    assert type(outcome) is (NotSent if kind in BEFORE else Unconfirmed)
    assert len(wire.seen) == 1
    if isinstance(outcome, NotSent):
        assert not outcome.throttled


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_no_error_of_a_read_is_a_verdict(kind: type[Exception]) -> None:
    wire = Canned(kind("broken"))

    assert isinstance(ask(wire, status), Unread)
    assert isinstance(ask(wire, listing), Unread)
    assert isinstance(ask(wire, lambda q: q.result(HANDLE, Finished(), media=True)), Unread)
    assert isinstance(ask(wire, lambda q: q.prices([T2V])), Unread)
    assert ask(wire, lambda q: q.cancel(HANDLE)) is CancelAnswer.UNREAD


@pytest.mark.parametrize(
    "answer",
    [
        *(httpx.Response(code) for code in (200, 204, 400, 401, 403, 408, 409, 422, 425, 429)),
        *(httpx.Response(code, text="<hr>nginx") for code in (500, 502, 503, 504)),
        *(
            httpx.Response(code, headers={"Location": "https://queue.fal.run/elsewhere"})
            for code in (301, 302, 303, 307, 308)
        ),
        httpx.Response(200, text="not json"),
        httpx.Response(200, json={"request_id": "r-1"}),
        httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"no")),
    ],
    ids=lambda answer: str(answer.status_code),
)
def test_one_submission_is_one_post_whatever_the_answer(answer: httpx.Response) -> None:
    wire = Canned(answer)

    ask(wire, submit)

    assert [request.method for request in wire.seen] == ["POST"]
    assert json.loads(wire.seen[0].content) == {"prompt": "a secret prompt"}
    assert str(wire.seen[0].url) == f"https://queue.fal.run/{T2V}"


@pytest.mark.parametrize("kind", [httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_the_backup_domain_is_never_a_second_post(kind: type[Exception]) -> None:
    wire = Canned(kind("broken"))

    outcome = over(BackupDomains(in_process(wire)), submit)

    assert isinstance(outcome, Unconfirmed)
    assert len(wire.seen) == 1


def test_the_backup_domain_is_tried_where_nothing_left() -> None:
    wire = Canned(httpx.ConnectError("refused"), httpx.Response(200, json={"request_id": "r-1"}))

    outcome = over(BackupDomains(in_process(wire)), submit)

    assert isinstance(outcome, Accepted)
    assert [r.url.host for r in wire.seen] == ["queue.fal.run", "queue.falrun.com"]


def test_an_answer_without_urls_gets_them_built_by_owner_and_app() -> None:
    wire = Canned(httpx.Response(200, json={"request_id": "r-1"}))

    assert ask(wire, submit) == Accepted(HANDLE)


@pytest.mark.parametrize("endpoint", ["workflows/one", "comfy/one", "word", "a/b", "a/b/c/d"])
def test_no_endpoint_is_too_odd_for_the_urls_of_a_paid_request(endpoint: str) -> None:
    """The POST has been taken when its URLs are built: an exception here would lose its id."""
    wire = Canned(httpx.Response(200, json={"request_id": "r-1"}))

    outcome = ask(wire, lambda queue: queue.submit(endpoint, {}))

    assert isinstance(outcome, Accepted)
    assert outcome.handle.request_id == "r-1"
    assert outcome.handle.status_url.startswith("https://queue.fal.run/")
    assert outcome.handle.status_url.endswith("/requests/r-1/status")


@pytest.mark.parametrize("request_id", ["../../x", "a/b", "a?b=c", "a#b", "a b", "ä", "a\nb"])
def test_an_odd_request_id_stays_inside_its_path(request_id: str) -> None:
    wire = Canned(httpx.Response(200, json={"request_id": request_id}))

    outcome = ask(wire, submit)

    assert isinstance(outcome, Accepted)
    assert outcome.handle.request_id == request_id
    url = httpx.URL(outcome.handle.status_url)
    assert url.raw_path.startswith(b"/fal-ai/kling-video/requests/")
    assert url.raw_path.count(b"/") == 5
    assert not url.query


@pytest.mark.parametrize("payload", [{"prompt": "\ud83d"}, {"n": float("nan")}, {"x": object()}])
def test_a_payload_that_cannot_be_written_is_refused_before_anything_leaves(payload: Any) -> None:
    wire = Canned(httpx.Response(200))

    outcome = ask(wire, lambda queue: queue.submit(T2V, payload))

    assert isinstance(outcome, Refused)
    assert outcome.failure.kind is FailureKind.INVALID
    assert wire.seen == []


@pytest.mark.parametrize("endpoint", ["a/b\x00", "a/b\n", "a/" + "b" * 70_000])
def test_an_endpoint_that_has_no_address_is_refused_before_anything_leaves(endpoint: str) -> None:
    wire = Canned(httpx.Response(200))

    outcome = ask(wire, lambda queue: queue.submit(endpoint, {}))

    assert isinstance(outcome, Refused)
    assert outcome.failure.kind is FailureKind.INVALID
    assert wire.seen == []


# -- sockets -----------------------------------------------------------------------------------


def through(url: str, question: Ask[T], kind: WireKind = "aiohttp", *, patience: float = 30) -> T:
    async def main() -> T:
        async with (
            on_sockets(url, kind) as wire,
            connections(AUTH, wire=Impatient(wire, patience)) as (api, _),
        ):
            return await question(FalQueue(api))

    return anyio.run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_port_was_never_sent(kind: WireKind) -> None:
    url = f"http://127.0.0.1:{refused_port()}"

    outcome = through(url, submit, kind)

    assert isinstance(outcome, NotSent)
    assert outcome.reason.startswith("ConnectError")


def reset(exchange: Exchange) -> None:
    exchange.reset()


def hang_up(exchange: Exchange) -> None:
    """Close politely, without an answer."""


def half_a_head(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Le")


def half_a_body(exchange: Exchange) -> None:
    exchange.answer(200, b'{"request_id": "r-', length=400)


def half_a_chunk(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{")


def reset_in_body(exchange: Exchange) -> None:
    exchange.answer(200, b"{", length=400)
    exchange.reset()


def nonsense(exchange: Exchange) -> None:
    exchange.send(b"\x00\xff\x16\x03\x01 garbage\r\n\r\n" * 400)


BREAKS = [reset, hang_up, half_a_head, half_a_body, half_a_chunk, reset_in_body, nonsense]


@pytest.mark.parametrize("breaks", BREAKS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_break_after_the_body_left_is_doubt(
    breaks: Callable[[Exchange], None], kind: WireKind
) -> None:
    with serving(breaks) as server:
        outcome = through(server.url, submit, kind)

    assert isinstance(outcome, Unconfirmed)
    assert len(server.requests) == server.connections == 1
    assert len(outcome.reason) < 400
    assert "secret" not in outcome.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_before_the_body_was_read_is_doubt_unless_it_met_the_connecting(
    kind: WireKind,
) -> None:
    """What the server has read cannot be told from here."""
    with serving(reset, before=True) as server:
        outcome = through(server.url, submit, kind)

    assert server.connections == 1
    if isinstance(outcome, NotSent):
        assert outcome.reason.startswith("ConnectError")
    else:
        assert isinstance(outcome, Unconfirmed)


@pytest.mark.parametrize("breaks", BREAKS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_read_is_no_verdict(breaks: Callable[[Exchange], None], kind: WireKind) -> None:
    with serving(breaks) as server:
        assert isinstance(through(server.url, status, kind), Unread)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hanging_answer_is_doubt_when_the_time_is_over(kind: WireKind) -> None:
    with serving(Exchange.stall) as server:
        outcome = through(server.url, submit, kind, patience=0.1)

    assert isinstance(outcome, Unconfirmed)
    assert "ReadTimeout" in outcome.reason
    assert server.connections == 1


def whole(exchange: Exchange) -> None:
    exchange.answer(202, b'{"status": "IN_PROGRESS"}')


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_answer_is_read(kind: WireKind) -> None:
    with serving(whole) as server:
        assert through(server.url, status, kind) == Waiting("IN_PROGRESS")


# -- answers without end -----------------------------------------------------------------------


class Endless(httpx.AsyncByteStream):
    """A body that never stops: `size` bytes every `pause` seconds."""

    def __init__(self, size: int, pause: float) -> None:
        self.size, self.pause, self.sent = size, pause, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await anyio.sleep(self.pause)
            self.sent += self.size
            yield b" " * self.size


def virtually(transport: httpx.AsyncBaseTransport, question: Ask[T]) -> tuple[T, float]:
    """The answer and the virtual seconds it took."""

    async def main() -> tuple[T, float]:
        async with connections(AUTH, wire=in_process(transport)) as (api, _):
            got = await question(FalQueue(api))
            return got, anyio.current_time()

    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(main, clock=clock)


def test_a_body_without_end_does_not_fill_the_memory() -> None:
    body = Endless(1024 * 1024, 0)

    outcome = ask(Canned(httpx.Response(200, stream=body)), status)

    assert isinstance(outcome, Unread)
    assert body.sent <= MAX_BODY + 2 * body.size


def test_a_dripping_answer_to_a_read_is_given_up() -> None:
    """Each byte resets httpx's read timeout: without a bound of ours it would never end."""
    outcome, seconds = virtually(Canned(httpx.Response(200, stream=Endless(1, 20))), status)

    assert isinstance(outcome, Unread)
    assert seconds < 600


def test_a_dripping_answer_to_the_paid_post_is_doubt_in_the_end() -> None:
    """The POST is shielded from Ctrl-C: what does not end would hold the program for ever."""
    outcome, seconds = virtually(Canned(httpx.Response(200, stream=Endless(1, 20))), submit)

    assert isinstance(outcome, Unconfirmed)
    assert 120 <= seconds < 600


# -- the request list --------------------------------------------------------------------------


def test_pages_are_followed_to_the_end() -> None:
    wire = Canned(page("a", "b", cursor="2"), page("c", cursor="3"), page("d"))

    outcome = ask(wire, listing)

    assert isinstance(outcome, Listing)
    assert [item.request_id for item in outcome.items] == ["a", "b", "c", "d"]
    assert outcome.complete
    assert [r.url.params.get("cursor") for r in wire.seen] == [None, "2", "3"]
    for request in wire.seen:
        assert request.method == "GET"
        assert request.url.host == "api.fal.ai"
        assert request.url.params["endpoint_id"] == T2V
        assert request.url.params["expand"] == "payloads"
        assert request.url.params["start"] == SINCE


def test_a_request_is_asked_for_by_its_id_alone() -> None:
    wire = Canned(page("r-1"))

    ask(wire, lambda queue: queue.listing(T2V, since=SINCE, request_id="r-1"))

    assert wire.seen[0].url.params["request_id"] == "r-1"
    assert "start" not in wire.seen[0].url.params


def test_items_that_shift_to_the_next_page_are_kept_once() -> None:
    wire = Canned(page("a", "b", cursor="2"), page("b", "c"))

    outcome = ask(wire, listing)

    assert isinstance(outcome, Listing)
    assert [item.request_id for item in outcome.items] == ["a", "b", "c"]


@pytest.mark.parametrize("cursors", [["2", "2"], ["2", "3", "2"]])
def test_cursors_that_go_in_a_circle_end_and_the_list_is_known_to_be_incomplete(
    cursors: list[str],
) -> None:
    wire = Canned(*(page(f"r-{n}", cursor=c) for n, c in enumerate(cursors)))

    outcome = ask(wire, listing)

    assert isinstance(outcome, Listing)
    assert len(outcome.items) == len(cursors)
    assert not outcome.complete
    assert len(wire.seen) == len(cursors)


def test_a_long_list_is_read_to_its_end() -> None:
    """A manifest may have a hundred thousand jobs, and a page has a hundred requests."""
    pages = [page(f"r-{n}", cursor=f"{n}") for n in range(250)]
    wire = Canned(*pages, page("last"))

    outcome = ask(wire, listing)

    assert isinstance(outcome, Listing)
    assert len(outcome.items) == 251
    assert outcome.complete


def test_a_list_that_never_ends_is_known_to_be_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.MOST_PAGES * 100 >= 2 * 100_000
    monkeypatch.setattr(client, "MOST_PAGES", 20)
    numbers = count()
    wire = Canned(lambda _: page(f"r-{next(numbers)}", cursor=f"{next(numbers)}"))

    outcome = ask(wire, listing)

    assert isinstance(outcome, Listing)
    assert not outcome.complete
    assert len(wire.seen) == 20


def test_pages_that_repeat_under_new_cursors_end_and_the_list_is_incomplete() -> None:
    numbers = count()
    wire = Canned(lambda _: page("a", "b", cursor=f"{next(numbers)}"))

    outcome = ask(wire, listing)

    assert isinstance(outcome, Listing)
    assert [item.request_id for item in outcome.items] == ["a", "b"]
    assert not outcome.complete
    assert len(wire.seen) < 10


def test_what_is_of_another_endpoint_or_older_is_left_out() -> None:
    """Also where fal does not filter: the same input at another endpoint is another render."""
    rows = [
        {"request_id": "ours", "endpoint_id": T2V, "sent_at": SINCE},
        {"request_id": "unnamed", "endpoint_id": None, "sent_at": SINCE},
        {"request_id": "undated", "endpoint_id": T2V},
        {"request_id": "of the app", "endpoint_id": "fal-ai/kling-video", "sent_at": SINCE},
        {"request_id": "other", "endpoint_id": T2V.replace("standard", "pro"), "sent_at": SINCE},
        {"request_id": "older", "endpoint_id": T2V, "sent_at": "2026-05-01T11:59:59Z"},
    ]

    outcome = ask(Canned(httpx.Response(200, json={"items": rows})), listing)

    assert isinstance(outcome, Listing)
    assert [item.request_id for item in outcome.items] == [
        "ours",
        "unnamed",
        "undated",
        "of the app",
    ]


@pytest.mark.parametrize("code", [401, 403])
def test_a_list_that_may_not_be_read_says_so(code: int) -> None:
    assert isinstance(ask(Canned(httpx.Response(code, json={})), listing), ListForbidden)


@pytest.mark.parametrize(
    "second",
    [
        *(httpx.Response(code) for code in (404, 408, 429, 500, 502, 503, 504)),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[1]),
        httpx.ReadError("reset"),
    ],
)
def test_a_list_of_which_a_page_is_missing_is_not_read_at_all(
    second: httpx.Response | Exception,
) -> None:
    """Half a list would say of a request that it is not there."""
    wire = Canned(page("a", cursor="2"), second)

    assert isinstance(ask(wire, listing), Unread)


@pytest.mark.parametrize(
    "body",
    [
        {"items": None},
        {"items": 7},
        {"items": {"a": 1}},
        {"items": "text"},
        {"items": [None, 7, [], {}, {"request_id": None}, {"request_id": ""}]},
        {},
    ],
    ids=str,
)
def test_a_list_without_items_is_empty(body: dict[str, Any]) -> None:
    assert ask(Canned(httpx.Response(200, json=body)), listing) == Listing(())


@pytest.mark.parametrize("beside", [{"warnings": []}, {"warnings": ["x"]}, {"warnings": [{}]}])
@pytest.mark.parametrize("name", ["items", "requests"])
def test_another_list_in_the_answer_does_not_hide_the_rows(name: str, beside: Any) -> None:
    """A list that looks empty says of a paid request that it is not there."""
    body = beside | {name: [{"request_id": "r-1"}]}

    outcome = ask(Canned(httpx.Response(200, json=body)), listing)

    assert isinstance(outcome, Listing)
    assert [item.request_id for item in outcome.items] == ["r-1"]


@pytest.mark.parametrize("name", ["items", "requests", "results", "whatever"])
def test_items_may_stand_under_any_of_their_documented_names(name: str) -> None:
    row = {"request_id": "r-1", "started_at": SINCE, "json_input": {}, "json_output": {"a": 1}}

    outcome = ask(Canned(httpx.Response(200, json={name: [row]})), listing)

    assert isinstance(outcome, Listing)
    assert outcome.items == (
        Listed(request_id="r-1", endpoint="", sent_at=SINCE, payload={}, output={"a": 1}),
    )


@pytest.mark.parametrize(
    ("code", "known"), [(200, 200), (422, 422), (None, None), ("422", None), ({}, None)]
)
def test_a_listed_status_code_counts_only_where_it_is_a_number(code: Any, known: Any) -> None:
    row = {"request_id": "r-1", "status_code": code}

    outcome = ask(Canned(httpx.Response(200, json={"items": [row]})), listing)

    assert isinstance(outcome, Listing)
    assert outcome.items[0].status_code == known


# -- cancel and prices -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (httpx.Response(202, json={"status": "CANCELLATION_REQUESTED"}), CancelAnswer.REQUESTED),
        (httpx.Response(200, json={"status": "OK"}), CancelAnswer.REMOVED),
        (httpx.Response(400, json={"status": "ALREADY_COMPLETED"}), CancelAnswer.ALREADY_COMPLETED),
        (httpx.Response(404, json={"status": "NOT_FOUND"}), CancelAnswer.NOT_FOUND),
        (httpx.Response(200, json={"success": True}), CancelAnswer.REQUESTED),
        (httpx.Response(400, text="no json"), CancelAnswer.ALREADY_COMPLETED),
        (httpx.Response(404, json=["x"]), CancelAnswer.NOT_FOUND),
        (httpx.Response(202, json={"status": ["odd"]}), CancelAnswer.REQUESTED),
        (httpx.Response(202, json={"status": {}}), CancelAnswer.REQUESTED),
        (httpx.Response(401, json={}), CancelAnswer.REFUSED),
        (httpx.Response(403, json={}), CancelAnswer.REFUSED),
        (httpx.Response(503, text="<html>"), CancelAnswer.UNREAD),
    ],
)
def test_a_cancellation_is_reported_in_fals_own_words(
    answer: httpx.Response, word: CancelAnswer
) -> None:
    wire = Canned(answer)

    assert ask(wire, lambda queue: queue.cancel(HANDLE)) is word
    assert (wire.seen[0].method, str(wire.seen[0].url)) == ("PUT", HANDLE.cancel_url)


@pytest.mark.parametrize(
    ("prices", "known"),
    [
        ([{"endpoint_id": T2V, "unit_price": 0.14, "unit": "second"}], {T2V: (0.14, "second")}),
        ([{"endpoint_id": T2V, "unit_price": 1}], {T2V: (1.0, "")}),
        ([{"endpoint_id": T2V, "unit_price": "0.14"}], {}),
        *(([{"endpoint_id": T2V, "unit_price": odd}], {}) for odd in (1e308, -1, True, 10**19)),
        ([{"unit_price": 0.14}], {}),
        ([None, 7, []], {}),
        (None, {}),
        (7, {}),
    ],
)
def test_prices_are_read_where_they_are_prices(prices: Any, known: Any) -> None:
    wire = Canned(httpx.Response(200, json={"prices": prices}))

    assert ask(wire, lambda queue: queue.prices([T2V])) == known


# -- the key -----------------------------------------------------------------------------------


# -- bills -------------------------------------------------------------------------------------


def billed(queue: FalQueue) -> Awaitable[Any]:
    return queue.billed(["a", "b"], since=SINCE)


def events(*rows: dict[str, Any], cursor: str | None = None) -> httpx.Response:
    body = {"billing_events": rows, "next_cursor": cursor, "has_more": cursor is not None}
    return httpx.Response(200, json=body)


def event(name: str, usd: Any, at: int = 0) -> dict[str, Any]:
    return {"request_id": name, "timestamp": f"{SINCE}+{at}", "cost_total": usd}


def test_bills_are_summed_over_all_pages_since_the_asked_moment() -> None:
    wire = Canned(
        events(event("a", 0.5), event("b", 0.25), cursor="2"),
        # New events have pushed one onto the next page; a second part of a bill stands there too.
        events(event("b", 0.25), event("a", 0.125, at=1)),
    )

    assert ask(wire, billed) == {"a": 0.625, "b": 0.25}
    assert [r.url.params.get("cursor") for r in wire.seen] == [None, "2"]
    for request in wire.seen:
        assert request.url.params["request_id"] == "a,b"
        assert request.url.params["start"] == SINCE


def test_equal_parts_of_one_bill_on_one_page_are_both_owed() -> None:
    assert ask(Canned(events(event("a", 0.5), event("a", 0.5))), billed) == {"a": 1.0}


@pytest.mark.parametrize("odd", [None, "0.5", True, [0.5], 10**400, -3], ids=lambda o: str(o)[:5])
def test_an_amount_that_is_none_is_no_bill(odd: Any) -> None:
    """Half a sum would be taken for all of it, and never be asked for again."""
    wire = Canned(events(event("a", 0.5), event("a", odd, at=1), event("b", 0)))

    assert ask(wire, billed) == {"b": 0.0}


@pytest.mark.parametrize(
    "second",
    [httpx.Response(500), events(event("a", 0.1, at=1), cursor="2"), httpx.ReadError("reset")],
    ids=["an error", "a circle", "a break"],
)
def test_bills_of_which_a_page_is_missing_are_not_read_at_all(second: Any) -> None:
    assert isinstance(ask(Canned(events(event("a", 0.5), cursor="2"), second), billed), Unread)


async def body_of(wire: Wire, url: str, method: str = "GET", body: bytes | None = None) -> str:
    async with wire.send(Request(method, url, body=body)) as reply:
        return b"".join([chunk async for chunk in reply.chunks()]).decode()


def test_the_key_goes_to_fals_api_and_not_to_its_files() -> None:
    wire = Canned(httpx.Response(200, text="x"))

    async def main() -> None:
        async with connections(AUTH, wire=in_process(wire)) as (api, files):
            await body_of(api, "https://queue.fal.run/x")
            await body_of(files, "https://v3b.fal.media/files/b/0a/x.mp4")
            await body_of(files, "https://queue.fal.run/x")

    anyio.run(main)

    assert [r.headers.get("authorization") for r in wire.seen] == [AUTH, None, None]


def test_the_key_follows_no_redirect() -> None:
    wire = Canned(httpx.Response(302, headers={"Location": "https://evil.example/"}))

    assert isinstance(ask(wire, status), Unread)
    assert [request.url.host for request in wire.seen] == ["queue.fal.run"]


def test_files_are_not_followed_to_a_place_without_encryption() -> None:
    wire = Canned(httpx.Response(302, headers={"Location": "http://169.254.169.254/latest"}))

    async def main() -> None:
        async with connections(AUTH, wire=in_process(wire)) as (_, files):
            await body_of(files, "https://v3b.fal.media/x.mp4")

    with pytest.raises(WireError, match="not https"):
        anyio.run(main)

    assert [request.url.host for request in wire.seen] == ["v3b.fal.media"]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_no_error_in_words_holds_anything_of_the_request_but_its_host(
    kind: type[Exception],
) -> None:
    wire = Canned(kind(f"Illegal header value b'{AUTH}'" if kind in LEAKY else "broken"))

    outcome = ask(wire, submit)

    assert "queue.fal.run" in outcome.reason
    for secret in ("secret", T2V, "requests"):
        assert secret not in outcome.reason + repr(outcome)


#: h11 quotes the header that it does not like.
LEAKY = {httpx.LocalProtocolError}


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_cannot_be_sent_is_not_shown(kind: WireKind) -> None:
    async def main(url: str) -> Any:
        async with (
            on_sockets(url, kind) as wire,
            connections("Key a\nsecret", wire=wire) as (api, _),
        ):
            return await FalQueue(api).submit(T2V, {})

    with serving(whole) as server:
        outcome = anyio.run(main, server.url)

    assert isinstance(outcome, NotSent)
    assert server.connections == 0
    assert "secret" not in repr(outcome)


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("a:secret", "Key a:secret"),
        ("a:secret\n", "Key a:secret"),
        ("a:secret\r\n", "Key a:secret"),
    ],
)
def test_the_key_is_found_as_fals_client_finds_it(
    monkeypatch: pytest.MonkeyPatch, value: str, header: str
) -> None:
    monkeypatch.setenv("FAL_KEY", value)

    assert authorization() == header


def test_the_older_pair_of_variables_is_a_key_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAL_KEY_ID", "a")
    monkeypatch.setenv("FAL_KEY_SECRET", "secret")

    assert authorization() == "Key a:secret"


def test_no_key_is_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAL_HOME_DIR", str(tmp_path))

    with pytest.raises(AuthError, match="FAL_KEY"):
        authorization()


@pytest.mark.parametrize("value", ["a:\x01secret", "a:secrét", "a:sec\nret", "a:se\x7fcret"])
def test_a_key_with_odd_characters_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("FAL_KEY", value)

    with pytest.raises(AuthError) as caught:
        authorization()

    assert "se" not in str(caught.value).replace("characters", "")
    assert caught.value.__cause__ is None


def test_an_upload_that_fails_does_not_show_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A key file's line ending is a header that h11 refuses, quoting it."""
    for name in ("REST_URL", "CDN_URL"):
        monkeypatch.setattr(fal_client.client, name, getattr(fal_client.client, name))
    monkeypatch.setattr(fal_client.client, "MAX_ATTEMPTS", 1)
    monkeypatch.setenv("FAL_KEY", "a:secret\n")
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"x")

    def broken(exchange: Exchange) -> None:
        exchange.answer(403, b'{"detail": "no"}')

    with serving(broken) as server:
        uploader = FalUploader(gateway=server.url)
        with pytest.raises(UploadError) as caught:
            anyio.run(partial(uploader.upload, photo, b"x", "image/png"))

    shown = str(caught.value)
    assert "photo.png" in shown
    assert "secret" not in shown


def test_addresses_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ask(Canned(httpx.Response(200, json={"status": "COMPLETED"})), status)

    assert caplog.records == []


# -- the emulator's address --------------------------------------------------------------------


def test_every_host_is_reached_below_one_address_with_path_and_query() -> None:
    def echo(exchange: Exchange) -> None:
        exchange.answer(200, exchange.line.encode())

    async def main(url: str) -> list[str]:
        async with connections(AUTH, gateway=f"{url}/") as (api, files):
            return [
                await body_of(api, "https://queue.fal.run/a/b", "POST", b"{}"),
                await body_of(api, "https://api.fal.ai/v1/x?a=1&b=%2F%20&c="),
                await body_of(files, "https://v3b.fal.media/files/a%20b/ü?sig=a%2Bb/c"),
                await body_of(files, "https://v3b.fal.media"),
            ]

    with serving(echo) as server:
        lines = anyio.run(main, server.url)

    assert lines == [
        "POST /queue.fal.run/a/b HTTP/1.1",
        "GET /api.fal.ai/v1/x?a=1&b=%2F%20&c= HTTP/1.1",
        "GET /v3b.fal.media/files/a%20b/%C3%BC?sig=a%2Bb/c HTTP/1.1",
        "GET /v3b.fal.media/ HTTP/1.1",
    ]
    assert {e.headers["host"] for e in server.requests} == {f"127.0.0.1:{server.port}"}


def test_a_result_comes_with_the_headers_that_tell_its_bill() -> None:
    answer = httpx.Response(
        200, json={"video": {"url": "https://v"}}, headers={"X-FAL-Billable-Units": "4"}
    )

    outcome = ask(Canned(answer), lambda q: q.result(HANDLE, Finished(), media=True))

    assert isinstance(outcome, Rendered)
    assert outcome.billable_units == 4.0


# -- the key ------------------------------------------------------------------------------------


async def _asked(url: str, key: str) -> Any:
    async with connections(f"Key {key}", gateway=url) as (api, _):
        return await FalQueue(api).submit("fal-ai/x", {"prompt": "p"})


def test_a_key_that_an_answer_echoes_is_not_in_what_is_reported() -> None:
    def echo(exchange: Exchange) -> None:
        body = json.dumps({"detail": f"refused: {exchange.headers['authorization']}"})
        exchange.answer(400, body.encode())

    with serving(echo) as server:
        outcome = anyio.run(_asked, server.url, "kid-1234:SECRET5678")

    assert isinstance(outcome, Refused)
    assert "refused" in outcome.failure.message
    assert "SECRET" not in repr(outcome)
