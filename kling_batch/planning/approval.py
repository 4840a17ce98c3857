"""Approval of payments: options, caps, answers, and the command itself.

Decided once, before anything is sent. Must not send, print, or write anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kling_batch.catalog.registry import ALARM
from kling_batch.core.jobs import Job, JobKey
from kling_batch.core.outcomes import Unread
from kling_batch.core.quantities import MicroUSD, format_usd
from kling_batch.core.text import count
from kling_batch.errors import ExitCode, UsageError
from kling_batch.ledger.reader import Reader
from kling_batch.planning.account import unheld, unheld_code
from kling_batch.planning.plan import Action, Plan, PlannedJob, is_unpriced
from kling_batch.settings import Settings


@dataclass(frozen=True)
class Approval:
    """Consent to pay that one invocation brings along.

    Args:
        settings: decided from option, environment, manifest and default, with the budget.
        single: typing a single-shot command is the consent.
        reviewed: a saved plan bounds what may be paid.
        ask: asks a person at the terminal; None where nobody may be asked.
        confirm: decides on every plan that pays, whatever else allows it; None: nobody.
        unread: why the limit over all hosts of the account cannot be held: nothing is paid for.
    """

    settings: Settings
    single: bool = False
    reviewed: bool = False
    ask: Callable[[str], bool] | None = None
    confirm: Callable[[Plan], bool] | None = None
    unread: Unread | None = None

    def require(self, plan: Plan, ledger: Reader) -> None:
        """Check that the payments of this plan are approved: by option, cap, answer or command.

        Raises:
            UsageError: there is no approval, or a cap could not hold.
        """
        if told := unpriced_under_cap(plan, self.settings):
            raise UsageError(told)
        payable = [item for item in plan.items if _is_payment(item)]
        if not payable or self.unread is not None:
            return
        if self.confirm is not None:
            # Nothing else is consent; what a function with `async` returns is true, too.
            if self.confirm(plan) is not True:
                raise UsageError("not confirmed; nothing was sent")
            return
        if self._bounded_by_money or self.settings.options.yes or self.alarm(plan, ledger):
            return  # where there is an alarm, nothing will be bought
        paid = [item.job.estimate for item in payable if not item.duplicate]
        total = format_usd(MicroUSD(sum(paid)))
        if self.ask is None:
            raise UsageError(
                f"this would cost up to {total}; with no terminal to ask, paying needs --yes or a "
                "cap (--max-cost USD, or limits: max_cost in the manifest). Nothing was sent"
            )
        if not self.ask(f"{count(len(paid), 'job')}, up to {total}. Pay?"):
            raise UsageError("not confirmed; nothing was sent")

    def alarm(self, plan: Plan, ledger: Reader) -> str:
        """Reason why nothing may be bought in spite of an approval; empty where there is none.

        After renders that cost far more than estimated, only a cap bounds what is spent, because
        it counts the real cost. Open requests are collected all the same.
        """
        if self.unread is not None:
            return unheld(self.unread)
        if self._bounded_by_money:
            return ""
        ratios = ledger.highest_cost_ratios()
        payable = [item.job.endpoint for item in plan.items if _is_payment(item)]
        times = max((ratios.get(endpoint, 1.0) for endpoint in payable), default=1.0)
        if times < ALARM:
            return ""
        return (
            f"renders have cost {times:.1f} times what was estimated: paying needs a cap now "
            "(--max-cost USD), which reckons with that"
        )

    @property
    def alarm_code(self) -> ExitCode:
        """Exit code of a run that `alarm` stops."""
        return ExitCode.BUDGET if self.unread is None else unheld_code(self.unread)

    def payable(self, plan: Plan) -> frozenset[JobKey]:
        """Keys of the jobs that may be paid for: the plan's, and all others under a cap or --yes.

        A request that is only collected may fail, and its next attempt is a payment that no plan
        showed: it waits where there is neither cap nor --yes, with --limit, or with a saved plan.
        """
        bounded = self.settings.options.limit is not None or self.reviewed
        all_others = not bounded and (self._bounded_by_money or self.settings.options.yes)
        return frozenset(
            item.job.key
            for item in plan.items
            if _is_payment(item) or (all_others and self._may_be_paid_later(item))
        )

    @property
    def _bounded_by_money(self) -> bool:
        """Whether spending is bounded by a cap, by a single job, or by the emulator (free)."""
        emulated = self.settings.service == "emulator"
        return emulated or self.single or self.settings.budget.total is not None

    def _may_be_paid_later(self, item: PlannedJob) -> bool:
        """Whether a next attempt of what the plan only collects may be a payment."""
        return item.action not in _UNDECIDED and not self._uncapped(item.job)

    def _uncapped(self, job: Job) -> bool:
        """Whether a cap covers this job and cannot hold, because its price is unknown."""
        return is_unpriced(job) and self.settings.budget.cap_of(job) is not None


#: What a person has yet to decide, or decided against, is no part of any approval.
_UNDECIDED = (Action.HOLD, Action.DECLINED)


def unpriced_under_cap(plan: Plan, settings: Settings) -> str:
    """Why a cap cannot hold: jobs of unknown price that it covers; empty where there are none."""
    capped = (
        (item.job, cap)
        for item in plan.items
        if _is_payment(item) and is_unpriced(item.job)
        if (cap := settings.budget.cap_of(item.job)) is not None
    )
    first = next(capped, None)
    if first is None:
        return ""
    job, cap = first
    told = f"{job.label}: its price is unknown, so {cap.name} cannot hold; give the job a `price:`"
    others = sum(1 for _ in capped)
    return f"{told} ({count(others, 'more job')} like it)" if others else told


def _is_payment(item: PlannedJob) -> bool:
    return item.action is Action.SUBMIT
