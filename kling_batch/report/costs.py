"""Wording of costs: `charged` at fal, `would have cost` on the emulator. Pure.

Every display of a ledger's money uses these, so that no emulated amount is ever reported as paid.
Must not read the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import Charged
from kling_batch.core.quantities import MicroUSD, format_usd
from kling_batch.core.records import Attempt, Money
from kling_batch.report.run_report import RunReport

#: For lists in which some amount is no whole number of cents, so that the sum of what is shown may
#: be more than the total.
ROUNDED = "each amount is rounded up to the cent"

_CENT = 10_000
_FREE = "nothing was paid: this is the emulator"


def is_rounded(amounts: Iterable[int]) -> bool:
    """Whether some amount is shown as more than it is."""
    return any(amount % _CENT for amount in amounts)


def totals(money: Money, *, emulated: bool) -> str:
    """The money of a ledger, or of some of its batches, in one sentence."""
    if emulated:
        sure, perhaps = format_usd(money.charged), format_usd(money.exposed)
        more = f", and perhaps {perhaps} more" if money.exposed else ""
        return f"would have cost {sure} on fal{more}; {_FREE}"
    over = f", {format_usd(money.unknown)} of it for what is over" if money.unknown else ""
    charged, owed = format_usd(money.charged), format_usd(money.exposed)
    return f"charged {charged}, possibly owed {owed}{over}"


def parts(charged: MicroUSD, exposed: MicroUSD, *, emulated: bool) -> str:
    """What one batch cost on one day."""
    if emulated:
        perhaps = f"  perhaps {format_usd(exposed)} more" if exposed else ""
        return f"would have cost {format_usd(charged)}{perhaps}"
    return f"{format_usd(charged)} charged  {format_usd(exposed)} possibly owed"


def overall(money: Money, *, emulated: bool) -> str:
    """The last line of a report by batch and day."""
    if emulated:
        return totals(money, emulated=True)
    pending = format_usd(money.exposed - money.unknown)
    return (
        f"{format_usd(money.charged)} charged, {pending} open,"
        f" {format_usd(money.unknown)} over and perhaps billed (--billing may tell)"
    )


def attempt_cost(attempt: Attempt, *, emulated: bool) -> str:
    """The money of one attempt, in a few words."""
    estimate = format_usd(attempt.estimate)
    if attempt.origin == "adopted":
        return "adopted, nothing paid"
    if attempt.charged is Charged.NO:
        return "would have cost nothing" if emulated else "nothing charged"
    if attempt.cost is not None:
        cost = format_usd(attempt.cost)
        charged = f"would have cost {cost}" if emulated else f"{cost} charged"
        return f"{charged} (estimated {estimate})"
    if attempt.state not in (State.FAILED, State.CANCELLED) or attempt.charged is None:
        return f"{estimate} estimated"
    if attempt.charged is Charged.YES:
        lost = f"{estimate} charged and lost"
        return f"would have cost {estimate}, lost" if emulated else lost
    return f"might have cost {estimate}" if emulated else f"{estimate} possibly charged"


def run_cost(report: RunReport, usd: Callable[[int], str] = format_usd) -> str:
    """The cost of a run and of its batches over all runs; `usd` writes an amount."""
    owed = report.charged + report.exposed
    now, total = usd(report.spent_now), usd(owed)
    cap = "" if report.cap is None else f"cap {usd(report.cap)}"
    if cap and report.counted is not None:
        cap += f", against which {usd(report.counted)} counts"
    if report.emulated:
        over_all = f" ({total} over all runs)" if owed != report.spent_now else ""
        cost = f"would have cost {now} on fal{over_all}; the emulator charges nothing"
        return f"{cost}; {cap}" if cap and report.counted is not None else cost
    amounts = [f"{now} this run", f"{total} in all"]
    if report.exposed:
        amounts.append(f"{usd(report.exposed)} of it not certain yet")
    return ", ".join([*amounts, cap] if cap else amounts)
