"""How far the caps reach in a plan: a count of its payments, made before anything is paid. Pure.

Follows the order in which the engine submits. Only the ledger enforces a cap; this must not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.core.text import count
from kling_batch.planning.plan import Action, Plan


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
        committed: what already counts against a cap.
        ratios: by endpoint, how many times its estimate a render has cost.
    """
    paid = [item.job for item in plan.items if item.action is Action.SUBMIT and not item.duplicate]
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
