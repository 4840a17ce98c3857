"""Why nothing more is bought: caps, a locked account, a refused key, prices that nobody expects.

Closed for good by `close`; one batch's own cap bars that batch alone. What is open is still
collected. Must not buy, wait or look at anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kling_batch.catalog.registry import ROUNDING, exceeds_estimate, far_exceeds_estimate
from kling_batch.core.events import RunEvent, StopReason
from kling_batch.core.jobs import Job
from kling_batch.core.outcomes import Failure, FailureKind
from kling_batch.core.quantities import MicroUSD, format_usd
from kling_batch.core.records import Attempt, OverCap
from kling_batch.engine.context import RunContext
from kling_batch.errors import ExitCode


class SubmissionGate:
    """What a run may still buy."""

    def __init__(
        self, context: RunContext, stops: list[StopReason], closed: Callable[[], None]
    ) -> None:
        """`stops` collects the reasons; `closed` is told when nothing more may be bought at all."""
        self._context = context
        self._stops = stops
        self._closed = closed
        self._batches: set[str] = set()
        #: Batches whose own cap is reached, while others go on.
        self._capped_batches: set[str] = set()
        # What earlier runs have learnt holds for this one.
        known = context.ledger.highest_cost_ratios().items()
        context.cost_ratios |= {endpoint: ratio for endpoint, ratio in known if ratio > ROUNDING}

    def open_for(self, batches: Iterable[str]) -> None:
        """What this run is about."""
        self._batches = set(batches)

    def allows(self, job: Job) -> bool:
        """Whether this may be bought, as far as its batch's cap is known to be reached."""
        return job.batch not in self._capped_batches

    def close(self, code: ExitCode, reason: str, *, cap: str = "") -> None:
        """Buy nothing more; what is open is still collected."""
        self._note(code, reason, cap)
        self._context.halted = True
        self._closed()

    def _note(self, code: ExitCode, reason: str, cap: str) -> None:
        # One sentence a code is enough, but for the ledger's: each may hold a paid request's id.
        told = [stop.reason for stop in self._stops if stop.code is code]
        if not told or (code is ExitCode.LEDGER and reason not in told):
            self._stops.append(StopReason(code, reason, cap))
            self._context.notify(RunEvent(kind="stopping", message=reason))

    def over_cap(self, job: Job, over: OverCap) -> None:
        """Close, or bar the batches that the cap is about where there are others."""
        reason = (
            f"{job.label} would pass {over.cap.name} of {format_usd(over.cap.limit)}: "
            f"{format_usd(over.committed)} committed, {format_usd(over.estimate)} more needed"
        )
        if over.estimate > job.estimate:
            times = over.estimate / job.estimate
            reason += f" (renders of {job.endpoint} have cost {times:.1f} times their estimate)"
        if over.cap.batches is None or self._batches <= set(over.cap.batches):
            self.close(ExitCode.BUDGET, reason, cap=over.cap.name)
        else:
            self._capped_batches |= set(over.cap.batches)
            self._note(ExitCode.BUDGET, reason, over.cap.name)

    def refused(self, failure: Failure) -> bool:
        """Close for what is nobody's job's fault; whether it is worth staying to collect."""
        if failure.kind is FailureKind.LOCKED:
            self.close(ExitCode.BUDGET, f"{failure.message}; still collecting")
        elif failure.status == 401:
            self.close(ExitCode.AUTH, f"fal refuses the key: {failure.message}")
            return False
        else:
            self.close(ExitCode.AUTH, f"the key has no access: {failure.message}")
        return True

    def billed(self, job: Job, attempt: Attempt) -> str:
        """Learn from what a render cost; what to say of it, where it was more than planned."""
        if attempt.cost is None or not exceeds_estimate(attempt.cost, attempt.estimate):
            return ""
        known = self._context.cost_ratios.get(attempt.endpoint, 1.0)
        expected = MicroUSD(round(attempt.estimate * known))
        self._context.cost_ratios[attempt.endpoint] = max(known, attempt.cost / attempt.estimate)
        told = f"cost {format_usd(attempt.cost)}, estimated {format_usd(attempt.estimate)}"
        if far_exceeds_estimate(attempt.cost, expected):  # what was known before has been agreed to
            reason = "the prices are not the catalogue's; nothing more is submitted"
            self.close(ExitCode.BUDGET, f"{job.label} {told}: {reason}")
        return told
