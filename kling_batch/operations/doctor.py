"""Checks of the key and its permissions, for `doctor`; only reads that cost nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kling_batch.catalog.registry import CATALOG
from kling_batch.core.outcomes import ListForbidden, Listing, Unread
from kling_batch.core.quantities import format_time
from kling_batch.errors import ExitCode
from kling_batch.fal.client import FalQueue
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION, authorization
from kling_batch.fal.transport import GatewayTransport, connections

Check = tuple[str, bool, str, int]


async def look(gateway: str | None) -> list[Check]:
    """A check each of key, prices and request list.

    Raises:
        AuthError: there is no key.
    """
    auth = DUMMY_AUTHORIZATION if gateway else authorization()
    checks: list[Check] = [("key", True, "found", 0)]
    endpoint = CATALOG[0].id
    async with connections(auth, GatewayTransport(gateway) if gateway else None) as (api, _):
        queue = FalQueue(api)
        prices = await queue.prices([endpoint])
        if isinstance(prices, Unread):
            code = ExitCode.AUTH if prices.refused else ExitCode.SOME_FAILED
            checks.append(("fal", False, prices.reason, code))
        else:
            checks.append(("fal", True, "answers, and takes the key", 0))
        since = format_time(datetime.now(UTC) - timedelta(hours=1))
        checks.append(_list(await queue.listing(endpoint, since=since)))
    return checks


def _list(answer: object) -> Check:
    match answer:
        case Listing():
            return "request list", True, "readable: lost submissions are found by themselves", 0
        case ListForbidden(reason):
            message = f"{reason}: lost submissions will need `resolve`"
            return "request list", False, message, ExitCode.SOME_FAILED
        case Unread(reason):
            return "request list", False, reason, ExitCode.SOME_FAILED
        case _:
            raise AssertionError(answer)
