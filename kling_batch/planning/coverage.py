"""How far the caps reach in a plan: a count of its payments, made before anything is paid. Pure.

Follows the order in which the engine submits. Only the ledger enforces a cap; this must not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from kling_batch.core.jobs import Job
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.core.recovery import Recovery
from kling_batch.core.text import count
from kling_batch.planning.plan import Plan, is_paid


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many of the jobs to be paid for fit under the caps."""

    jobs: int
    of: int
    #: Names of the caps that end it: `max_cost`, `--max-cost`.
    caps: tuple[str, ...]

    def __str__(self) -> str:
        caps, jobs = " and ".join(self.caps), count(self.of, "job")
        return f"{caps} covers {self.jobs:,} of {jobs} to pay for"


def coverage_of(
    plan: Plan,
    caps: Sequence[Cap],
    committed: Callable[[Cap], MicroUSD],
    ratios: Mapping[str, float],
) -> Coverage | None:
    """How far the caps reach; None where they cover every payment of the plan.

    Args:
        plan: of the run.
        caps: in force.
        committed: what counts against a cap before the first payment, `recovered_money` included.
        ratios: by endpoint, how many times its estimate a render has cost.
    """
    paid = [item.job for item in plan.items if is_paid(item)]
    if not caps or not paid:
        return None
    spent = {cap: committed(cap) for cap in caps}
    reached: dict[str, None] = {}
    closed: set[str] = set()
    batches = {job.batch for job in paid}
    fitting = 0
    for job in paid:
        if job.batch in closed:
            continue
        mine = [cap for cap in caps if cap.covers(job)]
        needed = round(job.estimate * max(1.0, ratios.get(job.endpoint, 1.0)))
        over = [cap for cap in mine if spent[cap] + needed > cap.limit]
        for cap in over:
            reached[cap.name] = None
            closed |= batches if cap.batches is None else set(cap.batches)
        if not over:
            fitting += 1
            spent |= {cap: MicroUSD(spent[cap] + needed) for cap in mine}
    return Coverage(jobs=fitting, of=len(paid), caps=tuple(reached)) if reached else None


def recovered_money(plan: Plan, cap: Cap, since: str, ratios: Mapping[str, float]) -> MicroUSD:
    """What the renders that a run is about to recover will count against a cap.

    They are recorded before anything is paid for, and count from then on as the ledger counts
    attempts: by what was billed, or by an estimate that is never below the present one.

    Args:
        plan: of the run.
        cap: that they may count against.
        since: start of the cap's window; empty where it has none.
        ratios: by endpoint, how many times its estimate a render has cost.
    """
    total = 0
    for item in plan.items:
        found = item.found
        if found is None or not found.paid or not cap.covers(item.job):
            continue
        if _in_window(found, cap, since):
            total += _counted(found, item.job, ratios)
    return MicroUSD(total)


def _in_window(found: Recovery, cap: Cap, since: str) -> bool:
    if cap.bills is None:
        return not found.since or found.since >= since
    if found.request_id in cap.bills.requests:
        return False  # its bill is in their total, or older than the window
    if not found.files or not found.rendered_at:
        return True  # its bill may come at any time
    return max(found.since, found.rendered_at) >= since


def _counted(found: Recovery, job: Job, ratios: Mapping[str, float]) -> int:
    estimate = max(found.estimate, job.estimate)
    if found.cost is not None:
        return max(found.cost, estimate)
    return ceil(estimate * max(1.0, ratios.get(job.endpoint, 1.0)))
