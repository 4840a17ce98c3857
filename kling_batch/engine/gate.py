"""Stop conditions for submissions: cap, locked account, refused key, cost far above the estimate.

`close` is final for the run; a cap of one batch stops only that batch. Open requests are still
collected, unless the run leaves. Must not submit, wait or read anything.
"""

from __future__ import annotations

from collections.abc import Callable

from kling_batch.catalog.registry import ROUNDING, exceeds_estimate, far_exceeds_estimate
from kling_batch.core.events import EventKind, StopReason
from kling_batch.core.jobs import Job
from kling_batch.core.outcomes import Failure, FailureKind, Unread
from kling_batch.core.quantities import MicroUSD, format_usd
from kling_batch.core.records import Attempt, OverCap
from kling_batch.engine.context import RunContext
from kling_batch.engine.failures import Failures
from kling_batch.errors import ExitCode
from kling_batch.fal.classify import is_admin_lock
from kling_batch.planning.account import unheld, unheld_code
from kling_batch.planning.plan import Action, Plan
from kling_batch.settings import ACCOUNT_PER_DAY, MAX_FAILURES

#: What helps against an administrator's lock (docs/fal-api.md#account-lock).
SUPPORT = "only fal's support can lift an administrator's lock (support@fal.ai)"


class SubmissionGate:
    """Decides whether this run may submit anything more.

    Args:
        context: of the run.
        stops: collects the reasons.
        on_leave: called when open requests are not to be collected any more, either.
    """

    def __init__(
        self,
        context: RunContext,
        stops: list[StopReason],
        on_leave: Callable[[], None],
    ) -> None:
        """Open, and informed of what earlier renders have cost."""
        self._context = context
        self._stops = stops
        self._on_leave = on_leave
        self._batches: set[str] = set()
        #: Batches whose own cap is reached, while others go on.
        self._capped_batches: set[str] = set()
        self._failures = Failures(None, 0)
        known = context.ledger.highest_cost_ratios().items()
        context.cost_ratios |= {endpoint: ratio for endpoint, ratio in known if ratio > ROUNDING}
        for endpoint, factor in context.price_factors.items():
            context.cost_ratios[endpoint] = max(context.cost_ratios.get(endpoint, 1.0), factor)
            message = f"fal's unit price of {endpoint} is {factor:.2f} times the catalogue's"
            context.emit(EventKind.WARNING, None, f"{message}; caps count with it")

    def open_for(self, plan: Plan) -> None:
        """Learn what the run is about."""
        self._batches = {item.job.batch for item in plan.items}
        self._failures = Failures(self._context.policy.max_failures, _renders(plan))

    def allows(self, job: Job) -> bool:
        """Whether the job may be submitted, as far as its batch's cap is known to be reached."""
        return job.batch not in self._capped_batches

    def close(self, code: ExitCode, reason: str, *, cap: str = "") -> None:
        """Submit nothing more; what is open is still collected."""
        self._note(code, reason, cap)
        self._context.submit_stop.set()
        self._context.feeder.wake()

    def leave(self, code: ExitCode, reason: str) -> None:
        """Submit nothing more and stop collecting too; only POSTs in flight get their answer."""
        self.close(code, reason)
        self._on_leave()

    def _note(self, code: ExitCode, reason: str, cap: str) -> None:
        # One reason a code is enough, but for the ledger's: each may hold a paid request's id.
        if code is ExitCode.LEDGER or all(stop.code is not code for stop in self._stops):
            support = is_admin_lock(reason)
            if support:
                reason = f"{reason}; {SUPPORT}"
            self._stops.append(StopReason(code, reason, cap, support=support))
            self._context.emit(
                EventKind.STOPPING, None, reason, reason=reason, exit_code=code.value
            )

    def over_cap(self, job: Job, over: OverCap) -> None:
        """Close; or stop the batches that the cap is about, where the run has others."""
        reason = (
            f"{job.label} would pass {over.cap.name} of {format_usd(over.cap.limit)}: "
            f"{format_usd(over.committed)} committed, {format_usd(over.estimate)} more needed"
        )
        if over.cap.bills is not None:
            billed = over.cap.bills.total
            reason += (
                f" (fal billed the account {format_usd(billed)} in 24 hours; "
                f"{format_usd(MicroUSD(over.committed - billed))} is out here and not billed yet)"
            )
        if over.estimate > job.estimate:
            times = over.estimate / job.estimate
            by_price = times <= self._context.price_factors.get(job.endpoint, 1.0) * ROUNDING
            reason += (
                f" (fal's unit price of {job.endpoint} is {times:.1f} times the catalogue's)"
                if by_price
                else f" (renders of {job.endpoint} have cost {times:.1f} times their estimate)"
            )
        if over.cap.batches is None or self._batches <= set(over.cap.batches):
            self.close(ExitCode.BUDGET, reason, cap=over.cap.name)
        else:
            self._capped_batches |= set(over.cap.batches)
            self._note(ExitCode.BUDGET, reason, over.cap.name)

    def bills_unread(self, unread: Unread) -> None:
        """Stop, because the limit over all hosts of the account cannot be held."""
        self.close(unheld_code(unread), unheld(unread), cap=ACCOUNT_PER_DAY)

    def ended(self, failure: Failure | None) -> None:
        """Count the end of a render, and stop where too many have failed; None: it succeeded."""
        if reason := self._failures.count(failure):
            self.close(ExitCode.SOME_FAILED, reason, cap=MAX_FAILURES)

    def refused(self, failure: Failure) -> None:
        """Stop after a refusal that is not about the job; a refused key ends collecting, too."""
        if failure.kind is FailureKind.LOCKED:
            self.close(ExitCode.BUDGET, f"{failure.message}; still collecting")
        elif failure.status == 401:
            self.leave(ExitCode.AUTH, f"fal refuses the key: {failure.message}")
        else:
            self.close(ExitCode.AUTH, f"the key has no access: {failure.message}")

    def billed(self, job: Job, attempt: Attempt) -> str:
        """Learn from what a render cost; the message for a cost above the estimate, or empty."""
        if attempt.cost is None or not exceeds_estimate(attempt.cost, attempt.estimate):
            return ""
        known = self._context.cost_ratios.get(attempt.endpoint, 1.0)
        expected = MicroUSD(round(attempt.estimate * known))
        self._context.cost_ratios[attempt.endpoint] = max(known, attempt.cost / attempt.estimate)
        message = f"cost {format_usd(attempt.cost)}, estimated {format_usd(attempt.estimate)}"
        # A ratio that was known at the start was part of what was approved.
        if far_exceeds_estimate(attempt.cost, expected):
            reason = (
                "the prices are not the catalogue's; nothing more is submitted. "
                "To compare them: kling-batch plan MANIFEST --live-prices"
            )
            self.close(ExitCode.BUDGET, f"{job.label} {message}: {reason}")
        return message


def _renders(plan: Plan) -> int:
    """How many renders may end in this run."""
    return sum(
        item.action in (Action.SUBMIT, Action.COLLECT, Action.RECONCILE) and not item.duplicate
        for item in plan.items
    )
