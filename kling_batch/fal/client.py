"""fal over HTTP: one request per call, each answered as an outcome.

The paid POST is ours and is sent once: fal-client's `submit` repeats it up to ten times
(docs/fal-api.md#fal-client-retries). fal-client supplies credentials, the backup-domain transport,
the request URLs and uploads. Its `status` and `get` are not used: they retry on a wall clock,
reject answers that lack a field, and hide the headers with the billable units. Must not know the
ledger, the manifest or a display.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import anyio

from kling_batch.core.jobs import JSON
from kling_batch.core.outcomes import (
    BillingEvents,
    CancelAnswer,
    Failure,
    FailureKind,
    Finished,
    Handle,
    ListForbidden,
    Listing,
    ListOutcome,
    NotSent,
    Refused,
    ResultOutcome,
    StatusOutcome,
    SubmitOutcome,
    Unconfirmed,
    Unread,
)
from kling_batch.core.text import with_certificate_hint
from kling_batch.fal.addresses import handle_of, queue_url
from kling_batch.fal.classify import (
    classify_result,
    classify_status,
    classify_submit,
    unread,
)
from kling_batch.fal.credentials import (
    DUMMY_AUTHORIZATION,
    authorization,
    redact,
    redact_bytes,
    secrets_of,
)
from kling_batch.fal.platform_lists import (
    MOST_BILLING_PAGES,
    MOST_PAGES,
    Keep,
    ListedItems,
    Pages,
    pages_of,
)
from kling_batch.fal.request_headers import START_TIMEOUT, TAGS, refuses_tags, tags_header
from kling_batch.fal.responses import (
    Answer,
    billing_events,
    bills,
    unit_prices,
)
from kling_batch.wire.headers import Authorized
from kling_batch.wire.protocol import AddressError, Request, Timeouts, Wire, WireError, body_of

#: docs/fal-api.md#platform-api; not among fal-client's constants.
PLATFORM_URL = "https://api.fal.ai/v1"

#: A submission is answered in well under a second; a lost one is worth waiting for, because the
#: alternative to its answer is doubt about money.
SUBMIT_TIMEOUTS = Timeouts(connect=15.0, read=120.0)

#: Seconds for an entire answer: those limits restart with every byte, so a server that sends
#: byte by byte would hold a shielded POST, and with it the program, for ever. Above the sum of
#: those limits.
SUBMIT_PATIENCE = 240.0
READ_PATIENCE = 180.0

#: No status or result is larger; an endless body must not fill the memory.
MAX_BODY = 64 * 1024 * 1024


class FalQueue:
    """fal's queue and request list, one HTTP request per method call."""

    def __init__(self, api: Authorized) -> None:
        """`api` carries the key; see `connections`."""
        self._api = api
        self._secrets = secrets_of(api.authorization)
        self._send_tags = True

    async def submit(
        self,
        endpoint: str,
        payload: JSON,
        *,
        tags: Mapping[str, str] | None = None,
        start_timeout: float | None = None,
    ) -> SubmitOutcome:
        """Send the paid POST, once.

        Cancelling this call loses the answer: shield it.

        Args:
            endpoint: id of the endpoint.
            payload: the input.
            tags: for fal's billing pages; left out once the account has refused them.
            start_timeout: seconds within which the work must begin, or fal gives it up.
        """
        headers = {"Content-Type": "application/json"}
        if start_timeout is not None:
            headers[START_TIMEOUT] = f"{start_timeout:.10g}"
        tagged = tags_header(tags or {}) if self._send_tags else ""
        if tagged:
            headers[TAGS] = tagged
        try:
            body = _written(payload)
        except (ValueError, TypeError) as error:
            return _unwritable(type(error).__name__)
        request = Request("POST", queue_url(endpoint), headers, body, SUBMIT_TIMEOUTS)
        try:
            answer = await self._ask(request, SUBMIT_PATIENCE)
        except AddressError as error:  # an endpoint that cannot be one
            return _unwritable(error.name)
        except WireError as error:
            # The kind of an error does not tell whether the body had arrived; that it never began
            # to leave is certain.
            message = self._message(error, request)
            return Unconfirmed(message) if error.began else NotSent(message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the POST may have been taken
            return Unconfirmed(self._message(error, request))
        outcome = classify_submit(answer, partial(handle_of, endpoint))
        if tagged and isinstance(outcome, Refused) and refuses_tags(outcome.failure.message):
            self._send_tags = False
            return NotSent(f"fal takes no tags from this account ({outcome.failure.message})")
        return outcome

    def handle(self, endpoint: str, request_id: str) -> Handle:
        """The URLs of a request that is known only by its id."""
        return handle_of(endpoint, request_id)

    async def status(self, handle: Handle) -> StatusOutcome:
        """Where the request stands."""
        answer = await self._read("GET", handle.status_url)
        return answer if isinstance(answer, Unread) else classify_status(answer)

    async def result(
        self, handle: Handle, finished: Finished, *, media: bool, cancelled: bool = False
    ) -> ResultOutcome:
        """What a finished request gave, with the headers about its cost."""
        answer = await self._read("GET", handle.response_url)
        if isinstance(answer, Unread):
            return answer
        return classify_result(answer, finished, media=media, cancelled=cancelled)

    async def cancel(self, handle: Handle) -> CancelAnswer:
        """Ask fal to stop a request; fal's answer, which is not the final state of the request."""
        answer = await self._read("PUT", handle.cancel_url)
        if isinstance(answer, Unread):
            return CancelAnswer.UNREAD
        body = answer.json()
        status = body.get("status") if isinstance(body, dict) else None
        if isinstance(status, str) and status in set(CancelAnswer):
            return CancelAnswer(status)
        by_code = {
            200: CancelAnswer.REQUESTED,
            202: CancelAnswer.REQUESTED,
            400: CancelAnswer.ALREADY_COMPLETED,
            401: CancelAnswer.REFUSED,
            403: CancelAnswer.REFUSED,
            404: CancelAnswer.NOT_FOUND,
        }
        return by_code.get(answer.status, CancelAnswer.UNREAD)

    async def listing(
        self, endpoint: str, *, since: str, request_id: str | None = None
    ) -> ListOutcome:
        """Every request of an endpoint since a moment, with its payload.

        Source: docs/fal-api.md#request-list. Pages are numbered, so new arrivals may shift them; an
        item seen twice is kept once. A list whose pages repeat or do not end is marked incomplete.
        What is of another endpoint, or older, is left out, also where fal does not filter by it.
        """
        parameters: dict[str, str] = {"endpoint_id": endpoint, "expand": "payloads", "limit": "100"}
        parameters |= {"request_id": request_id} if request_id else {"start": since}
        listed = ListedItems(endpoint, since=since, request_id=request_id)
        pages = await self._pages(
            "models/requests/by-endpoint", parameters, listed.keep, MOST_PAGES
        )
        if isinstance(pages, Unread):
            return pages
        if isinstance(pages, Answer):
            if pages.status in (401, 403):
                return ListForbidden("this key may not read the request list")
            return unread(pages)
        return Listing(listed.items, pages.asked_at, complete=pages.complete)

    async def _pages(
        self, path: str, parameters: dict[str, str], keep: Keep, most: int
    ) -> Pages | Answer | Unread:
        return await pages_of(
            partial(self._read, "GET", f"{PLATFORM_URL}/{path}"), parameters, keep, most
        )

    async def prices(self, endpoints: list[str]) -> Mapping[str, tuple[float, str]] | Unread:
        """Unit price in USD and unit per endpoint (docs/fal-api.md#pricing).

        The unit need not be a second: docs/fal-api.md#billing-units.
        """
        answer = await self._read(
            "GET", f"{PLATFORM_URL}/models/pricing", params={"endpoint_id": ",".join(endpoints)}
        )
        if isinstance(answer, Unread):
            return answer
        body = answer.json()
        if answer.status != 200 or not isinstance(body, dict):
            return unread(answer)
        return unit_prices(body)

    async def billed(self, request_ids: list[str], *, since: str) -> Mapping[str, float] | Unread:
        """What requests cost in US dollars, as billed; needs an admin key.

        Source: docs/fal-api.md#billing-events.
        Without a start the list reaches back for a day only; it may not reach back for more than
        ninety.
        """
        parameters = {"request_id": ",".join(request_ids), "start": since, "limit": "1000"}
        pages = await self._billing_pages(parameters)
        return pages if isinstance(pages, Unread) else bills(pages[0])

    async def billing_events(self, *, since: str) -> BillingEvents | Unread:
        """Every billing event of the account since a moment; needs an admin key.

        Source: docs/fal-api.md#billing-events.
        """
        pages = await self._billing_pages({"start": since, "limit": "1000"})
        if isinstance(pages, Unread):
            return pages
        bodies, asked_at = pages
        events = billing_events(bodies)
        if events is None:
            return Unread("a billing event has no amount")  # a sum without it would be too small
        return BillingEvents(events, asked_at)

    async def _billing_pages(
        self, parameters: dict[str, str]
    ) -> tuple[list[dict[str, Any]], datetime | None] | Unread:
        """Every page of billing events, and fal's clock at the first."""
        bodies: list[dict[str, Any]] = []

        def keep(body: dict[str, Any]) -> bool:
            bodies.append(body)
            return True  # events have no ids, and equal ones may be two

        pages = await self._pages("models/billing-events", parameters, keep, MOST_BILLING_PAGES)
        if isinstance(pages, Unread):
            return pages
        if isinstance(pages, Answer):
            return unread(pages)
        if not pages.complete:
            return Unread("the list of billing events has no end")  # bills may be missing
        return bodies, pages.asked_at

    async def _read(
        self, method: str, url: str, params: Mapping[str, str] | None = None
    ) -> Answer | Unread:
        """A request that costs nothing: whatever breaks is only "not read"."""
        request = Request(method, f"{url}?{urlencode(params)}" if params else url)
        try:
            return await self._ask(request, READ_PATIENCE)
        except AddressError as error:
            return Unread(f"unusable address: {error.text}")
        except Exception as error:  # noqa: BLE001 - as in `submit`
            return Unread(self._message(error, request))

    async def _ask(self, request: Request, patience: float) -> Answer:
        # Not `fail_after`, which looks for the event loop three times over: one scope a request.
        with anyio.CancelScope(deadline=anyio.current_time() + patience):
            async with self._api.send(request) as reply:
                body = redact_bytes(await body_of(reply, MAX_BODY), self._secrets)
                return Answer(reply.status, reply.headers, body)
        raise TimeoutError

    def _message(self, error: Exception, request: Request) -> str:
        """Message for an error, without anything of the request but its host."""
        name, text = type(error).__name__, ""
        if isinstance(error, WireError):
            name, text = error.name, error.text
        text = with_certificate_hint(" ".join(redact(text, self._secrets).split())[:200])
        try:
            host = f" ({urlsplit(request.url).hostname})"
        except ValueError:
            host = ""
        return f"{name}: {text}{host}" if text else f"{name}{host}"


def _unwritable(reason: str) -> Refused:
    message = f"it cannot be put into a request ({reason})"
    return Refused(Failure(kind=FailureKind.INVALID, message=message))


#: Made once, because `json.dumps` with options makes an encoder each time.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def _written(payload: JSON) -> bytes:
    """The body of a request. Raises `ValueError` or `TypeError` for what is no JSON."""
    return _encode(payload).encode()


class Connection(NamedTuple):
    """Open connections to fal, or to an emulator of it."""

    queue: FalQueue
    #: Wire for output files; it sends no key.
    files: Wire
    #: The `Authorization` header in use.
    authorization: str


@asynccontextmanager
async def connect(
    gateway: str | None, auth: str | None = None, *, trace: Callable[[str], None] | None = None
) -> AsyncIterator[Connection]:
    """Connect to fal, or to the emulator at `gateway`; the only place where that is done.

    Args:
        gateway: the emulator's address; None for fal.
        auth: the `Authorization` header; None: fal's key from the environment, none for an
            emulator.
        trace: is told of every request, without secrets.

    Raises:
        AuthError: there is no key.
    """
    if auth is None:
        auth = DUMMY_AUTHORIZATION if gateway else authorization()
    # The network stack loads only where something is sent.
    from kling_batch.fal.transport import connections  # noqa: PLC0415

    async with connections(auth, gateway=gateway, trace=trace) as (api, files):
        yield Connection(queue=FalQueue(api), files=files, authorization=auth)
