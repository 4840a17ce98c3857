"""A look at the bills of the whole account while a plan is made. Must not pay or write anything."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kling_batch.core.outcomes import Unread
from kling_batch.core.records import AccountBills
from kling_batch.engine.account import read_bills
from kling_batch.errors import KlingBatchError
from kling_batch.fal.client import connect
from kling_batch.operations.list_search import authorization_for
from kling_batch.operations.own_loop import in_own_loop
from kling_batch.operations.services import now
from kling_batch.settings import Settings


def look(
    settings: Settings,
    gateway: Callable[[], str | None],
    *,
    trace: Callable[[str], None] | None = None,
) -> AccountBills | Unread | None:
    """The account's bills, or why they cannot be read; None where there is nobody to ask."""
    auth = authorization_for(settings)
    if auth is None:
        return None
    try:
        return in_own_loop(partial(_ask, gateway(), auth, trace))
    except KlingBatchError as error:  # a proxy, an emulator in use: a plan needs neither
        return Unread(str(error))


async def _ask(
    gateway: str | None, auth: str, trace: Callable[[str], None] | None
) -> AccountBills | Unread:
    async with connect(gateway, auth, trace=trace) as fal:
        return await read_bills(fal.queue, now())
