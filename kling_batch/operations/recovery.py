"""Search of fal's request list while a plan is made: what is listed there is not bought again.

Says why it was not asked, and never stops a run. Must not pay or write anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kling_batch.core.jobs import JobKey
from kling_batch.core.recovery import Recovery
from kling_batch.errors import KlingBatchError
from kling_batch.ledger.reader import Reader
from kling_batch.planning.plan import Action, Plan, PlannedJob, is_paid, recovering
from kling_batch.settings import Settings


class ListSearch:
    """Turns payments of a plan into recoveries, where fal's list has their renders.

    Args:
        settings: of the run.
        reader: its ledger, or None.
        gateway: the emulator's address, or None for fal; called once, and only if fal is asked.
        trace: is told of every HTTP request, without secrets.
    """

    def __init__(
        self,
        settings: Settings,
        reader: Reader | None,
        gateway: Callable[[], str | None],
        *,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        """Nothing is asked yet."""
        self._settings, self._reader = settings, reader
        self._gateway, self._trace = gateway, trace
        #: Messages for people: why the list was not asked, or is of no use.
        self.notices: list[str] = []

    def recover(self, plan: Plan) -> Plan:
        """The same plan, with what the list has to be collected and not to be bought."""
        wanted = [item.job for item in plan.items if self._looked_for(item)]
        if not wanted:
            return plan
        # The client of fal loads where there is something to pay for.
        from kling_batch.operations import list_search  # noqa: PLC0415

        auth = list_search.authorization_for(self._settings)
        if auth is None:
            return plan
        found = [(item.job, item.found) for item in plan.items if item.found is not None]
        known = list_search.known(self._reader, wanted, found)
        try:
            reuse = self._settings.reuse
            search = list_search.search(
                wanted, known, reuse, gateway=self._gateway(), auth=auth, trace=self._trace
            )
        except KlingBatchError as error:  # a proxy, an emulator in use: a plan needs neither
            self.notices.append(f"fal's request list cannot be asked: {error}")
            return plan
        self.notices += search.notices
        return Plan(tuple(_recovered(item, search.found) for item in plan.items))

    def _looked_for(self, item: PlannedJob) -> bool:
        reuse = self._settings.reuse.get(item.job.batch, 0.0)
        return is_paid(item) and reuse > 0


def _recovered(item: PlannedJob, found: Mapping[JobKey, Recovery]) -> PlannedJob:
    recovery = found.get(item.job.key)
    if recovery is None or item.action is not Action.SUBMIT:
        return item
    if item.duplicate:
        return item._replace(action=Action.RECOVER)  # it gets a copy, as it would of a payment
    return recovering(item, recovery)
