"""The plan of a run, made without one: reads manifests, ledger and disk; asks fal for what is free.

Must not pay or change anything; schemas that were read are kept beside the ledger.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, partial
from typing import NamedTuple

from kling_batch.core.jobs import Batch
from kling_batch.core.outcomes import Unread
from kling_batch.core.records import AccountBills
from kling_batch.ledger.database import is_there
from kling_batch.ledger.queries import service_of
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.trial import is_trial
from kling_batch.operations.nearby import ledgers_nearby, trial_warning
from kling_batch.operations.raw_inputs import check_payments
from kling_batch.operations.recovery import ListSearch
from kling_batch.operations.rendition_tasks import tasks_of
from kling_batch.operations.services import caps_now, gateway_of
from kling_batch.operations.targets import check_folders, check_hold, room_warnings
from kling_batch.planning.account import AccountUse
from kling_batch.planning.approval import unpriced_under_cap
from kling_batch.planning.builder import as_decided, build_plan, store_of
from kling_batch.planning.coverage import Coverage
from kling_batch.planning.plan import Plan
from kling_batch.settings import RunOptions, Settings, resolve


class PlannedRun(NamedTuple):
    """A plan with the settings that it was made under."""

    plan: Plan
    settings: Settings
    #: Median seconds of a render by endpoint, as far as the ledger knows.
    typical_seconds: Mapping[str, float]
    #: How far the caps reach in the plan; None: to its end.
    coverage: Coverage | None = None
    #: The limit over all hosts of the account, where there is one and anything is paid for.
    account: AccountUse | None = None
    #: Renditions that are missing of files that are saved already.
    renditions: int = 0
    #: Other ledgers that have these jobs, why fal's request list was not asked, a full disk.
    warnings: tuple[str, ...] = ()


def plan_run(
    batches: Sequence[Batch],
    options: RunOptions,
    *,
    select: Callable[[Batch], Batch] = lambda batch: batch,
) -> PlannedRun:
    """What a run would do now; without a ledger every job is new.

    Raises:
        KlingBatchError: the ledger cannot be read, or the options contradict each other.
        ManifestError: fal's schema does not take the input of an `endpoint:` job.
    """
    settings = resolve(batches, options)
    check_hold(settings, os.environ)
    with ExitStack() as stack:
        reader = None
        trial = settings.sets_aside and is_trial(settings.ledger)
        if is_there(settings.ledger) and not trial:
            reader = stack.enter_context(Reader.open(settings.ledger))
        whole = as_decided(reader, batches)
        settings = resolve(whole, options)  # caps count what people decided, too
        selected = [select(batch) for batch in whole]
        gateway = cache(lambda: stack.enter_context(gateway_of(settings)))
        search = ListSearch(settings, reader, gateway)
        plan = build_plan(reader, selected, settings, whole=whole, recover=search.recover)
        unchecked = check_payments(plan, whole, settings, gateway)
        # The emulator's seconds say nothing about fal's.
        known = reader if reader and service_of(reader) in (None, settings.service) else None
        # Read from every attempt of the ledger; where there is nothing to do, nobody wants them.
        seconds = known.typical_seconds() if known and not plan.idle else {}
        sizes = known.typical_sizes() if known and not plan.idle else {}
        caps = caps_now(reader, plan, settings, partial(look_at_bills, settings, gateway))
        store = store_of(settings)
        renditions = sum(1 for _ in tasks_of(reader, selected, store)) if reader else 0
    check_folders(plan, settings)
    warnings = (*unchecked, *search.notices, *ledgers_nearby(batches, settings, plan))
    if trial:
        warnings = (*warnings, trial_warning(settings.ledger))
    if refused := unpriced_under_cap(plan, settings):
        warnings = (*warnings, f"`run` will refuse this: {refused}")
    return PlannedRun(
        plan=plan,
        settings=settings,
        typical_seconds=seconds,
        coverage=caps.coverage,
        account=caps.account,
        renditions=renditions,
        warnings=(*warnings, *room_warnings(plan, settings, sizes)),
    )


def look_at_bills(
    settings: Settings,
    gateway: Callable[[], str | None],
    trace: Callable[[str], None] | None = None,
) -> AccountBills | Unread | None:
    """As `account.look`."""
    # The client of fal loads only where the account has a limit.
    from kling_batch.operations.account import look  # noqa: PLC0415

    return look(settings, gateway, trace=trace)
