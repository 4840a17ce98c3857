"""The plan of a run, made without one: reads manifests, ledger and disk, sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kling_batch.core.jobs import Batch
from kling_batch.ledger.queries import service_of
from kling_batch.ledger.reader import Reader
from kling_batch.operations.nearby import ledgers_nearby
from kling_batch.operations.services import coverage_now
from kling_batch.planning.builder import build_plan, with_granted_takes
from kling_batch.planning.coverage import Coverage
from kling_batch.planning.plan import Plan
from kling_batch.settings import RunOptions, Settings, resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A plan with the settings that it was made under."""

    plan: Plan
    settings: Settings
    #: Median seconds of a render by endpoint, as far as the ledger knows.
    typical_seconds: Mapping[str, float]
    #: How far the caps reach in the plan; None: to its end.
    coverage: Coverage | None = None
    #: Other ledgers that have these jobs, a sentence each.
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
    """
    planned = _plan_run(batches, resolve(batches, options), select)
    return replace(planned, warnings=ledgers_nearby(batches, planned.settings, planned.plan))


def _plan_run(
    batches: Sequence[Batch], settings: Settings, select: Callable[[Batch], Batch]
) -> PlannedRun:
    if not settings.ledger.exists():
        plan = build_plan(None, [select(batch) for batch in batches], settings, whole=batches)
        coverage = coverage_now(None, plan, settings)
        return PlannedRun(plan=plan, settings=settings, typical_seconds={}, coverage=coverage)
    with Reader.open(settings.ledger) as reader:
        whole = with_granted_takes(reader, batches)
        plan = build_plan(reader, [select(batch) for batch in whole], settings, whole=whole)
        # The emulator's seconds say nothing about fal's.
        same = service_of(reader) in (None, settings.service)
        seconds = reader.typical_seconds() if same else {}
        coverage = coverage_now(reader, plan, settings)
    return PlannedRun(plan=plan, settings=settings, typical_seconds=seconds, coverage=coverage)
