"""Search of fal's request list while a plan is made: what is listed there is not bought again.

Says why it was not asked, and never stops a run. Must not pay or write anything.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.lowlevel
from anyio.from_thread import start_blocking_portal

from kling_batch.core.jobs import Job, JobKey
from kling_batch.core.recovery import Recovery
from kling_batch.engine.listed_renders import Known, ListedRenders, Search
from kling_batch.errors import AuthError, KlingBatchError
from kling_batch.fal.client import connect
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION, authorization
from kling_batch.ledger.reader import Reader
from kling_batch.operations.services import emulator_state, now
from kling_batch.output.download import Downloader
from kling_batch.planning.plan import Action, Plan, PlannedJob, recovering
from kling_batch.settings import Settings

#: Seconds for the whole search; then the run goes on without it.
PATIENCE = 300.0

T = TypeVar("T")


class ListSearch:
    """Turns payments of a plan into recoveries, where fal's list has their renders.

    Args:
        settings: of the run.
        reader: its ledger, or None.
        gateway: the emulator's address, or None for fal; called once, and only if fal is asked.
    """

    def __init__(
        self, settings: Settings, reader: Reader | None, gateway: Callable[[], str | None]
    ) -> None:
        """Nothing is asked yet."""
        self._settings, self._reader, self._gateway = settings, reader, gateway
        #: Messages for people: why the list was not asked, or is of no use.
        self.notices: list[str] = []

    def recover(self, plan: Plan) -> Plan:
        """The same plan, with what the list has to be collected and not to be bought."""
        wanted = [item.job for item in plan.items if self._looked_for(item)]
        auth = self._authorization() if wanted else None
        if auth is None:
            return plan
        known = Known.of(self._reader, wanted)
        for item in plan.items:
            if item.found is not None:
                known.add(item.job.key, item.found)
        try:
            search = _in_own_loop(partial(self._ask, wanted, known, self._gateway(), auth))
        except KlingBatchError as error:  # a proxy, an emulator in use: a plan needs neither
            self.notices.append(f"fal's request list cannot be asked: {error}")
            return plan
        self.notices += search.notices
        return Plan(tuple(_recovered(item, search.found) for item in plan.items))

    def _looked_for(self, item: PlannedJob) -> bool:
        reuse = self._settings.reuse.get(item.job.batch, 0.0)
        return item.action is Action.SUBMIT and not item.duplicate and reuse > 0

    def _authorization(self) -> str | None:
        """The key; None where there is nobody to ask."""
        if self._settings.options.offline:
            return None
        if self._settings.service == "emulator":
            # One that is started here knows what an earlier run left, or nothing.
            known = self._settings.options.emulator or emulator_state(self._settings).exists()
            return DUMMY_AUTHORIZATION if known else None
        try:
            return authorization()
        except AuthError:
            return None  # the run says so if it has to pay

    async def _ask(
        self, wanted: Sequence[Job], known: Known, gateway: str | None, auth: str
    ) -> Search:
        with anyio.move_on_after(PATIENCE), tempfile.TemporaryDirectory() as scratch:
            async with connect(gateway, auth) as fal:
                fetcher = Downloader(fal.files)
                renders = ListedRenders(fal.queue, fetcher, known, Path(scratch), now)
                return await renders.find(wanted, self._settings.reuse)
        return Search(notices=["fal's request list takes too long; the run goes on without it"])


def _recovered(item: PlannedJob, found: Mapping[JobKey, Recovery]) -> PlannedJob:
    recovery = found.get(item.job.key)
    if recovery is None or item.action is not Action.SUBMIT:
        return item
    if item.duplicate:
        return item._replace(action=Action.RECOVER)  # it gets a copy, as it would of a payment
    return recovering(item, recovery)


def _in_own_loop(work: Callable[[], Awaitable[T]]) -> T:
    """Run asynchronous work to its end, also where the caller is inside an event loop."""
    try:
        anyio.lowlevel.current_token()
    except RuntimeError:
        return anyio.run(work)
    with start_blocking_portal() as portal:
        return portal.call(work)
