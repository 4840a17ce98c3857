"""Lists of fal's platform, page by page: where they end, and what is kept of the request list.

A page that cannot be read is no end, and a list that was not read to its end never passes for a
whole one (docs/fal-api.md#request-list). Must not send anything itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from kling_batch.core.outcomes import Listed, Unread
from kling_batch.core.quantities import parse_foreign_time
from kling_batch.fal.responses import Answer, http_status, rows_of, sent_at

#: Pages of the request list that are read: three times the requests of the largest manifest, which
#: memory can hold.
MOST_PAGES = 3000
#: Pages of billing events, which have ten times as many rows.
MOST_BILLING_PAGES = 200
#: Pages in a row without anything new after which a list goes in a circle; one or two may be what
#: new arrivals have pushed on.
MOST_REPEATED = 3

Keep: TypeAlias = Callable[[dict[str, Any]], bool]
"""Takes a page; whether anything in it is new."""


@dataclass(slots=True)
class Pages:
    """What is known of a list whose pages were read."""

    #: fal's own clock at its first answer, or None where it did not say.
    asked_at: datetime | None = None
    #: False where it had no end, or its pages repeated.
    complete: bool = False


async def pages_of(
    read: Callable[[dict[str, str]], Awaitable[Answer | Unread]],
    parameters: dict[str, str],
    keep: Keep,
    most: int,
) -> Pages | Answer | Unread:
    """Read a list to its end, at most so many pages; or what came instead of one of them."""
    pages = Pages()
    cursors: set[str] = set()
    repeated = 0
    for _page in range(most):
        answer = await read(parameters)
        if isinstance(answer, Unread):
            return answer
        body = answer.json()
        if answer.status != 200 or not isinstance(body, dict):
            return answer
        pages.asked_at = pages.asked_at or sent_at(answer)
        repeated = 0 if keep(body) else repeated + 1
        cursor = str(body.get("next_cursor") or "")
        if not cursor or body.get("has_more") is False:
            pages.complete = True
            break
        if cursor in cursors or repeated >= MOST_REPEATED:
            break
        cursors.add(cursor)
        parameters = parameters | {"cursor": cursor}
    return pages


class ListedItems:
    """The requests of one endpoint since a moment, or of one id; each is kept once.

    What is of another endpoint, or older, is left out, also where fal does not filter by it: the
    same input at another endpoint is another render.
    """

    def __init__(self, endpoint: str, *, since: str, request_id: str | None = None) -> None:
        """Nothing is listed yet."""
        self._endpoint, self._by_id = endpoint, request_id is not None
        self._since = None if self._by_id else parse_foreign_time(since)
        self._seen: set[str] = set()
        self._found: list[Listed] = []

    @property
    def items(self) -> tuple[Listed, ...]:
        """In the order of the list."""
        return tuple(self._found)

    def keep(self, body: dict[str, Any]) -> bool:
        """Take a page; whether anything in it is new."""
        before = len(self._seen)
        for row in rows_of(body):
            if row.get("request_id"):
                self._add(_listed(row))
        return len(self._seen) > before

    def _add(self, item: Listed) -> None:
        if item.request_id not in self._seen:
            self._seen.add(item.request_id)
            if self._by_id or self._belongs(item):
                self._found.append(item)

    def _belongs(self, item: Listed) -> bool:
        sent = parse_foreign_time(item.sent_at)
        older = self._since is not None and sent is not None and sent < self._since
        # An app's name is that of all its endpoints, among which fal itself has chosen.
        named = f"{self._endpoint}/".startswith(f"{item.endpoint}/") if item.endpoint else True
        return not older and named


def _listed(row: dict[str, Any]) -> Listed:
    return Listed(
        request_id=str(row["request_id"]),
        endpoint=str(row.get("endpoint_id") or ""),
        sent_at=str(row.get("sent_at") or row.get("started_at") or ""),
        payload=row.get("json_input"),
        output=row.get("json_output"),
        status_code=http_status(row.get("status_code")),
    )
