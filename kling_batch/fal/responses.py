"""An HTTP answer of fal, and what can be read from its headers and body without judging it. Pure.

Input from outside is untrusted: malformed JSON, lone surrogates, deep nesting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any, TypeGuard

from kling_batch.core.jobs import JSON, whole_characters
from kling_batch.core.outcomes import BillingEvent, RemoteFile
from kling_batch.core.quantities import foreign_time, parse_foreign_time
from kling_batch.core.urls import host_of, without_signatures

#: What the platform calls its rows (docs/fal-api.md#platform-api).
ROWS = ("items", "requests", "results", "prices", "billing_events")

#: Levels of nesting that are kept of an answer; a manifest may have sixty.
DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as these tables need it; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> JSON:
        """The body as JSON that the ledger can keep, or None where it is something else.

        JSON has no NaN and UTF-8 no lone surrogates (JavaScript cuts emoji in two). Python reads
        both and SQLite refuses them, as it refuses what is nested too deep: a paid result must not
        fail on its way into the ledger.
        """
        try:
            text = self.body.decode("utf-8-sig")
            value = _decode(text)
            if text.count("[") + text.count("{") > DEEPEST:
                _level([value])
            return whole_characters(value, text)
        except (ValueError, RecursionError):
            return None

    def text(self) -> str:
        """The start of the body for a message; never long. Of a web page only its title."""
        if self.body[:400].lstrip().lower().startswith((b"<!doctype", b"<html")):
            title = _TITLE.search(self.body[:4096].decode("utf-8", "replace"))
            if title:
                name = " ".join(title[1].split())[:80]
                return f'a web page ("{name}"), as a proxy or firewall sends it, not fal'
        return " ".join(self.body[:400].decode("utf-8", "replace").split())[:200]


_TITLE = re.compile(r"<(?:title|h1|center)>([^<]+)", re.IGNORECASE)


def _level(value: JSON) -> None:
    """Remove, in place, what is nested deeper than any answer of fal or request of ours."""
    todo = [(value, 1)]
    while todo:
        outer, depth = todo.pop()
        for name, inner in list(outer.items() if isinstance(outer, dict) else enumerate(outer)):
            if isinstance(inner, dict | list):
                if depth < DEEPEST:
                    todo.append((inner, depth + 1))
                else:
                    outer[name] = None


def _no_number(_: str) -> None:
    """`NaN` and `Infinity`, as Python's own `json.dumps` writes them."""


def _finite(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None


def _whole(text: str) -> int | float | None:
    """An integer of 64 bits as it is; of more digits than those have, as a fraction.

    Python's integers have no end, and the first calculation with a fraction fails.
    """
    return int(text) if len(text) <= _MOST_DIGITS else _finite(text)


_MOST_DIGITS = len(str(-(2**63)))

#: Made once, because `json.loads` with options makes a decoder each time.
_decode = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite, parse_int=_whole).decode


def retry_after(answer: Answer) -> float | None:
    """Seconds of a `Retry-After`, as a number or as a date; None where nobody can mean it."""
    value = answer.headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        # On the server's clock alone: ours may be wrong.
        then, sent = _moment(value), sent_at(answer)
        if not (then and sent):
            return None
        seconds = (then - sent).total_seconds()
    return None if seconds > _LONGEST_WAIT else max(0.0, seconds)


#: Seconds above which a `Retry-After` is an odd answer: a day.
_LONGEST_WAIT = 86400.0


def sent_at(answer: Answer) -> datetime | None:
    """When the server sent this, by its own clock."""
    return _moment(answer.headers.get("date", ""))


def _moment(text: str) -> datetime | None:
    # With sockets; the idle run, which reads no answer, does without them.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        moment = parsedate_to_datetime(text)
        return foreign_time(moment.replace(tzinfo=moment.tzinfo or UTC))
    except (ValueError, TypeError, OverflowError):
        return None


#: Seconds above which a duration is none, but an odd answer: a week.
LONGEST_RENDER = 7 * 86400.0


def billable_units(answer: Answer) -> float | None:
    """`X-Fal-Billable-Units`: a count of units, not dollars (docs/fal-api.md#response-headers)."""
    try:
        units = float(answer.headers["x-fal-billable-units"])
    except (KeyError, ValueError):
        return None
    return units if 0 <= units <= _MOST_UNITS else None


#: Billable units; the longest clip has fewer than a hundred.
_MOST_UNITS = 1_000_000


def queue_position(body: Mapping[str, Any]) -> int | None:
    """The place in fal's queue; None where no queue is as long."""
    position = body.get("queue_position")
    return position if _is_whole(position) and 0 <= position <= _LONGEST_QUEUE else None


_LONGEST_QUEUE = 10_000_000


def http_status(value: object) -> int | None:
    """The HTTP status that a request of the platform's list ended with; None where it is none."""
    return value if _is_whole(value) and 100 <= value <= 599 else None


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def inference_seconds(metrics: JSON) -> float | None:
    """How long fal says it rendered; None where no render can have taken as long."""
    seconds = metrics.get("inference_time") if isinstance(metrics, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return float(seconds) if 0 < seconds <= LONGEST_RENDER else None


def message_of(body: JSON, answer: Answer) -> str:
    """The message in one line, without the echoed input (it may hold a whole data URI).

    URLs in it lose their signatures.
    """
    if isinstance(body, dict):
        detail = body.get("detail", body.get("error"))
        if isinstance(detail, list):
            parts = [_detail_text(item) for item in detail if isinstance(item, dict)]
            if parts:
                return without_signatures("; ".join(parts))[:MOST_TEXT]
        if isinstance(detail, dict):
            detail = detail.get("message")
        if isinstance(detail, str) and detail:
            return without_signatures(detail)[:MOST_TEXT]
    return without_signatures(answer.text()) or "no text"


def _detail_text(item: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in loc_of(item) if part != "body")
    message = str(item.get("msg") or item.get("type") or "invalid")
    return f"{where}: {message}" if where else message


def first_detail(body: JSON) -> dict[str, Any]:
    """The first entry of a structured `detail`, or nothing."""
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        return detail[0]
    return {}


def loc_of(detail: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Where in the arguments a detail points."""
    loc = detail.get("loc")
    if not isinstance(loc, list):
        return ()
    return tuple(part for part in loc if isinstance(part, str | int))


def files_in(output: JSON) -> tuple[RemoteFile, ...]:
    """Every file of a model's output, in order: `video`, `images[]`, or whatever holds a URL."""
    found: list[RemoteFile] = []
    _collect(output, found, 0)
    return tuple(found)


def _collect(value: JSON, found: list[RemoteFile], depth: int) -> None:
    if depth > 8:
        return
    if isinstance(value, list):
        for item in value:
            _collect(item, found, depth + 1)
    elif isinstance(value, dict):
        url = value.get("url")
        if isinstance(url, str) and _is_file(url):
            size = value.get("file_size")
            found.append(
                RemoteFile(
                    url=url,
                    content_type=text_of(value.get("content_type")),
                    name=text_of(value.get("file_name")),
                    size=size if _is_whole(size) and size > 0 else None,
                )
            )
            return
        for name, item in value.items():
            if name not in _ERRORS:  # they may hold the input, or a page of fal's manual
                _collect(item, found, depth + 1)


#: Where an answer tells of an error, and what stands beside it.
_ERRORS = ("detail", "error")
_BESIDE_ERRORS = frozenset({*_ERRORS, "error_type", "message", "request_id", "status"})


def is_error(body: JSON) -> bool:
    """Whether an answer tells of an error and holds nothing else: no output of any endpoint."""
    return (
        isinstance(body, dict)
        and any(body.get(name) for name in _ERRORS)
        and _BESIDE_ERRORS.issuperset(body)
    )


def _is_file(url: str) -> bool:
    """Whether a file may lie there; with an odd address the answer is read again, not kept."""
    return url.startswith("data:") or (
        url.startswith(("https://", "http://")) and host_of(url) != "" and url.isprintable()
    )


def text_of(value: object) -> str:
    """A string, or nothing."""
    return value if isinstance(value, str) else ""


def error_of(body: Mapping[str, Any]) -> str:
    """What a status says that went wrong, also where it says so as the platform API does."""
    error = body.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    return without_signatures(text_of(error))[:MOST_TEXT]


def type_of(value: object) -> str:
    """The type of an error, which is a word."""
    return text_of(value)[:_MOST_WORD]


#: Characters of a message that are kept, and of one word.
MOST_TEXT, _MOST_WORD = 500, 100


def unit_prices(body: dict[str, Any]) -> dict[str, tuple[float, str]]:
    """Unit price in US dollars and unit by endpoint; a price that is none is left out."""
    return {
        str(row["endpoint_id"]): (float(row["unit_price"]), text_of(row.get("unit")))
        for row in rows_of(body)
        if "endpoint_id" in row and _is_unit_price(row.get("unit_price"))
    }


def rows_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a platform answer: under a name we know, else its first list with anything in."""
    named = [body[name] for name in ROWS if isinstance(body.get(name), list)]
    lists = [value for value in body.values() if isinstance(value, list) and value]
    rows: list[JSON] = next(iter(named or lists), [])
    return [row for row in rows if isinstance(row, dict)]


def bills(pages: Iterable[dict[str, Any]]) -> dict[str, float]:
    """US dollars per request id: the sum of its billing events (docs/fal-api.md#billing-events).

    Pages are numbered: an event that new ones push onto the next page is counted once. A request
    with an amount that is none is left out: half a sum would pass for its bill.
    """
    totals: dict[str, float] = {}
    odd: set[str] = set()
    earlier: set[str] = set()
    for page in pages:
        events = [(json.dumps(row, sort_keys=True), row) for row in rows_of(page)]
        for row in (row for text, row in events if text not in earlier):
            name, cost = str(row.get("request_id")), row.get("cost_total")
            if _is_amount(cost):
                totals[name] = totals.get(name, 0.0) + cost
            else:
                odd.add(name)
        earlier.update(text for text, _ in events)
    # What is a little below nothing is a sum of fractions; a real credit is no price.
    return {name: max(0.0, usd) for name, usd in totals.items() if name not in odd and usd > -1e-6}


def billing_events(pages: Iterable[dict[str, Any]]) -> tuple[BillingEvent, ...] | None:
    """Every billing event; None where one has no amount, because none may be left out.

    Pages are numbered: an event that new ones push onto the next page is counted once.
    """
    found: list[BillingEvent] = []
    earlier: set[str] = set()
    for page in pages:
        events = [(json.dumps(row, sort_keys=True), row) for row in rows_of(page)]
        for row in (row for text, row in events if text not in earlier):
            usd = next(filter(_is_amount, map(row.get, _AMOUNTS)), None)
            if usd is None:
                return None
            at = parse_foreign_time(text_of(row.get("timestamp")), zone=UTC)
            found.append(BillingEvent(text_of(row.get("request_id")), usd, at))
        earlier.update(text for text, _ in events)
    return tuple(found)


def _is_amount(value: object) -> TypeGuard[int | float]:
    """Whether it is a number of US dollars that a render can cost."""
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= _MOST


def _is_unit_price(value: object) -> bool:
    return _is_amount(value) and 0 <= value <= _MOST_UNIT


#: What was billed; where that is missing, what it was before a discount.
_AMOUNTS = ("cost_total", "cost_subtotal")

#: US dollars; no render costs as much, nor does a unit of one.
_MOST, _MOST_UNIT = 1_000_000, 10_000
