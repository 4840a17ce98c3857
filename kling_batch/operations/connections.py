"""Connections of a run: credentials, fal or an emulator, and the engine's context around them.

Imported where there is work to do; a run with nothing to do loads neither client nor engine. Must
not decide about jobs or money.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from random import Random

from kling_batch.catalog.registry import by_id
from kling_batch.core.events import RunEvent
from kling_batch.core.records import AccountBills
from kling_batch.engine.account import AccountWatch
from kling_batch.engine.context import RunContext, RunPolicy
from kling_batch.fal.client import connect
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION, authorization
from kling_batch.ledger.ledger import Ledger
from kling_batch.operations.logged_uploads import LoggedUploads
from kling_batch.operations.moving import moving
from kling_batch.operations.services import now
from kling_batch.operations.unit_prices import dearer_cost, dearer_units
from kling_batch.output.download import Downloader
from kling_batch.output.worker import RunThreads
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.renditions.elsewhere import Elsewhere
from kling_batch.settings import Settings

#: Actions that need the key; output files are public to whoever has their URL.
_KEYED = (Action.SUBMIT, Action.COLLECT, Action.RECONCILE)

#: Threads for file work. Half of it waits for the disk, which writes several files in one go; with
#: more of them, the loop waits for a processor (200 files of 10 MB on two: 8 took 6 % longer).
FILE_THREADS = 3


def authorization_for(settings: Settings, plan: Plan) -> str:
    """The `Authorization` header; a dummy where the plan needs no key.

    Raises:
        AuthError: there is no key, and the plan needs one.
    """
    if settings.service == "emulator" or not any(map(_needs_key, plan.items)):
        return DUMMY_AUTHORIZATION
    return authorization()


def makes_files(endpoint_id: str) -> bool:
    """Whether an answer without a file would be no result: of what the catalogue knows, nearly all.

    A raw endpoint may answer with anything.
    """
    endpoint = by_id(endpoint_id)
    return endpoint is not None and not endpoint.value


def _needs_key(item: PlannedJob) -> bool:
    fetched = item.found is not None and not item.found.files
    return item.action in _KEYED or (item.action is Action.RECOVER and fetched)


@asynccontextmanager
async def run_context(
    settings: Settings,
    ledger: Ledger,
    policy: RunPolicy,
    *,
    gateway: str | None,
    auth: str,
    notify: Callable[[RunEvent], None],
    priced: Sequence[str] = (),
    trace: Callable[[str], None] | None = None,
    bills: AccountBills | None = None,
    offer: Callable[[Elsewhere], None] | None = None,
) -> AsyncIterator[RunContext]:
    """The engine's context with open connections.

    Args:
        settings: of the run.
        ledger: open for writing.
        policy: the limits in force.
        gateway: the emulator's address; None for fal.
        auth: the `Authorization` header.
        notify: is told of every event.
        priced: endpoints whose unit prices are asked of fal, for the caps.
        trace: is told of every request, without secrets.
        bills: of the account, as the plan saw them.
        offer: is given workers that make renditions, where there are any.
    """
    # With fal-client, which loads only where something is sent.
    from kling_batch.fal.upload import FalUploader  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        fal = await stack.enter_async_context(connect(gateway, auth, trace=trace))
        factors = await dearer_units(fal.queue, priced)
        worker = stack.enter_context(RunThreads(FILE_THREADS))
        uploader = FalUploader(auth, gateway=gateway)
        # Renditions are made of what is here, and stores get it from here.
        here = Downloader(fal.files, worker, cached=settings.in_stores or offer is not None)
        files = await stack.enter_async_context(
            moving(settings, here, worker, gateway=gateway, notify=notify, offer=offer)
        )
        yield RunContext(
            ledger=ledger,
            queue=fal.queue,
            fetcher=files.fetcher,
            downloads=files.downloads,
            uploader=uploader if trace is None else LoggedUploads(uploader, trace),
            store=files.store,
            worker=files.worker,
            log_worker=stack.enter_context(RunThreads(1)),
            policy=policy,
            now=now,
            rng=Random(),  # noqa: S311 - jitter, not a secret
            notify=notify,
            cost_of=partial(dearer_cost, factors),
            price_factors=factors,
            media=makes_files,
            account=AccountWatch(bills),
        )
