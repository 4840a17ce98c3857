"""Who has agreed to pay for what: flags, caps, answers, and the command itself.

Decided once, before anything is sent. Must not send, print, or write anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from kling_batch.catalog.registry import ALARM
from kling_batch.core.jobs import Batch, Job, JobKey
from kling_batch.core.quantities import MicroUSD, format_usd
from kling_batch.core.records import Cap
from kling_batch.errors import UsageError
from kling_batch.ledger.reader import Reader
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.settings import PER_DAY, Settings


@dataclass(frozen=True)
class Approval:
    """What one invocation says about money.

    Args:
        batches: what it is about.
        settings: after flag, environment, manifest and default have spoken.
        single: typing a single-shot command is the consent, and its cap is the job's own.
        reviewed: a plan on paper bounds it.
        ask: asks the person; None where nobody may be asked.
    """

    batches: Sequence[Batch]
    settings: Settings
    single: bool = False
    reviewed: bool = False
    ask: Callable[[str], bool] | None = None

    @cached_property
    def caps(self) -> tuple[Cap, ...]:
        """Every cap in force: of the flag or the manifests, and of the day."""
        caps: list[Cap] = []
        flag = self.settings.options.max_cost
        if flag is not None and self.single:
            (job,) = self.batches[0].jobs
            caps.append(Cap(limit=flag, key=job.key, name="--max-cost"))
        elif flag is not None:
            names = tuple(batch.name for batch in self.batches)
            caps.append(Cap(limit=flag, batches=names, name="--max-cost"))
        else:
            caps += [
                Cap(limit=batch.limits.max_cost, batches=(batch.name,), name="max_cost")
                for batch in self.batches
                if batch.limits.max_cost is not None
            ]
        if self.settings.max_cost_per_day is not None:
            day = timedelta(days=1)
            caps.append(Cap(limit=self.settings.max_cost_per_day, window=day, name=PER_DAY))
        return tuple(caps)

    def require(self, plan: Plan, ledger: Reader) -> None:
        """Nothing is paid without somebody's word: a flag, a cap, an answer, or the command itself.

        Raises:
            UsageError: there is none, or a cap could not hold.
        """
        payable = [item for item in plan.items if self._may_pay(item)]
        for job in (item.job for item in payable if self._uncapped(item.job)):
            cap = next(cap for cap in self.caps if cap.covers(job))
            raise UsageError(
                f"{job.label}: its price is unknown, so {cap.name} cannot hold; "
                "give the job a `price:`"
            )
        if not payable or self._bounded_by_money or self.settings.options.yes:
            return
        if self.alarm(plan, ledger):
            return  # nothing will be bought
        total = format_usd(MicroUSD(sum(i.job.estimate for i in payable if not i.duplicate)))
        if self.ask is None:
            raise UsageError(
                f"this would cost up to {total}; with no terminal to ask, paying needs --yes or a "
                "cap (--max-cost USD, or limits: max_cost in the manifest). Nothing was sent"
            )
        if not self.ask(f"{len(payable)} jobs, up to {total}. Pay?"):
            raise UsageError("not confirmed; nothing was sent")

    def alarm(self, plan: Plan, ledger: Reader) -> str:
        """Why nothing may be bought although somebody says so, or nothing.

        Renders have cost so much more than estimated that only a cap, which reckons with that,
        bounds what is spent. What is open is collected all the same.
        """
        if self._bounded_by_money:
            return ""
        dearest = ledger.highest_cost_ratios()
        payable = [item.job.endpoint for item in plan.items if self._may_pay(item)]
        times = max((dearest.get(endpoint, 1.0) for endpoint in payable), default=1.0)
        if times < ALARM:
            return ""
        return (
            f"renders have cost {times:.1f} times what was estimated: paying needs a cap now "
            "(--max-cost USD), which reckons with that"
        )

    def payable(self, plan: Plan) -> frozenset[JobKey]:
        """What somebody has agreed to pay for: what the plan says, and what a word for all covers.

        A request that is only collected may fail, and its next attempt is a payment that no plan
        showed: without a flag or a cap, over a limit, or beside a reviewed plan it waits.
        """
        bounded = self.settings.options.limit is not None or self.reviewed
        agreed = [
            item
            for item in plan.items
            if self._may_pay(item) and not (bounded and item.action is Action.RECONCILE)
        ]
        if not bounded and (self._bounded_by_money or self.settings.options.yes):
            agreed += [item for item in plan.items if not self._uncapped(item.job)]
        return frozenset(item.job.key for item in agreed)

    @property
    def _bounded_by_money(self) -> bool:
        """Whether what may be spent has a bound of its own: a cap, one job, or nothing at all."""
        emulated = self.settings.service == "emulator"
        return emulated or self.single or self.settings.max_cost is not None

    def _may_pay(self, item: PlannedJob) -> bool:
        """A doubt that is let go after its time is one more payment."""
        again = item.action is Action.RECONCILE and self.settings.on_doubt == "resubmit"
        return item.action is Action.SUBMIT or (again and not item.orphaned)

    def _uncapped(self, job: Job) -> bool:
        """Whether a cap is to hold that cannot, because nobody knows what this costs."""
        unpriced = job.estimate == 0 and bool(job.estimate_note)
        return unpriced and any(cap.covers(job) for cap in self.caps)
