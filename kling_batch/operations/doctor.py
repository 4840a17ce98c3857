"""Checks of `doctor`: output folder, key file, key, prices and request list. Sends nothing paid."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import anyio

from kling_batch.catalog.registry import endpoints
from kling_batch.core.outcomes import BillingEvents, ListForbidden, Listing, Unread
from kling_batch.core.quantities import format_time
from kling_batch.errors import AuthError, ExitCode, KlingBatchError
from kling_batch.fal.client import connect
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION, authorization
from kling_batch.operations.checks import Check
from kling_batch.operations.services import gateway_of, now
from kling_batch.settings import Settings


def check_service(settings: Settings) -> list[Check]:
    """The key, and whether it may read prices and the request list that finds lost submissions."""
    checks: list[Check] = []
    try:
        with gateway_of(settings) as gateway:
            # Before the way to fal, so that what is wrong with one is not said of the other.
            auth = DUMMY_AUTHORIZATION if gateway else authorization()
            checks.append(Check("key", True, "found"))
            checks += anyio.run(partial(_ask, gateway, auth))
    except AuthError as error:
        checks.append(Check("key", False, str(error), error.exit_code))
    except KlingBatchError as error:  # a host, a proxy, certificates, an emulator
        checks.append(Check("connection", False, str(error), error.exit_code))
    return checks


async def _ask(gateway: str | None, auth: str) -> list[Check]:
    checks: list[Check] = []
    endpoint = endpoints()[0].id
    async with connect(gateway, auth) as fal:
        prices = await fal.queue.prices([endpoint])
        if isinstance(prices, Unread):
            code = ExitCode.AUTH if prices.refused else ExitCode.SOME_FAILED
            checks.append(Check("fal", False, prices.reason, code))
        else:
            checks.append(Check("fal", True, "reachable, and accepts the key"))
        since = format_time(now() - timedelta(hours=1))
        checks.append(_request_list(await fal.queue.listing(endpoint, since=since)))
        checks.append(_billing_events(await fal.queue.billing_events(since=since)))
    return checks


def _billing_events(answer: BillingEvents | Unread) -> Check:
    """No run needs them without `account_max_per_day`: nothing is wrong where they stay unread."""
    if isinstance(answer, BillingEvents):
        return Check("billing events", True, "readable: account_max_per_day can be held")
    uses = "`report --billing` and account_max_per_day need an admin key"
    return Check("billing events", True, f"not readable ({answer.reason}): {uses}")


def _request_list(answer: Listing | ListForbidden | Unread) -> Check:
    match answer:
        case Listing(complete=False):
            message = "not readable to its end: lost submissions may need `resolve`"
            return Check("request list", False, message, ExitCode.SOME_FAILED)
        case Listing():
            return Check("request list", True, "readable: lost submissions are found by themselves")
        case ListForbidden(reason):
            message = f"{reason}: lost submissions will need `resolve`"
            return Check("request list", False, message, ExitCode.SOME_FAILED)
        case Unread(reason):
            return Check("request list", False, reason, ExitCode.SOME_FAILED)
