"""The limit over all hosts of an account, as a plan shows it: what counts, or why nobody knows.

Pure. Only the ledger enforces a cap; this must not.
"""

from __future__ import annotations

from dataclasses import dataclass

from kling_batch.core.outcomes import Unread
from kling_batch.core.quantities import MicroUSD, format_usd
from kling_batch.core.records import AccountBills, Cap
from kling_batch.errors import ExitCode
from kling_batch.fal.classify import is_lock
from kling_batch.settings import ACCOUNT_PER_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUse:
    """What counts against the limit, as far as this moment and this host know."""

    cap: Cap
    #: What fal has billed, or why it cannot be read; None: nobody was asked.
    answer: AccountBills | Unread | None
    #: Billed, and what is out here and not billed yet; None where the bills are not known.
    counted: MicroUSD | None

    @property
    def bills(self) -> AccountBills | None:
        """The bills, where they are known."""
        return self.answer if isinstance(self.answer, AccountBills) else None

    @property
    def unread(self) -> Unread | None:
        """Why the limit cannot be held, where fal was asked and did not tell."""
        return self.answer if isinstance(self.answer, Unread) else None

    def __str__(self) -> str:
        limit = f"{ACCOUNT_PER_DAY} {format_usd(self.cap.limit)}"
        if self.unread is not None:
            return unheld(self.unread)
        if self.bills is None or self.counted is None:
            return f"{limit}: fal was not asked what it billed; a run asks before it pays"
        out = MicroUSD(self.counted - self.bills.total)
        return (
            f"{limit}: {format_usd(self.bills.total)} billed to the account in 24 hours, "
            f"{format_usd(out)} out here and not billed yet"
        )


def unheld(unread: Unread) -> str:
    """Why nothing is paid for where fal does not tell the bills of the account, and what helps."""
    reason = f"{ACCOUNT_PER_DAY} cannot be held, so nothing is paid for: "
    if unheld_code(unread) is ExitCode.AUTH:
        return (
            f"{reason}the key may not read fal's billing events ({unread.reason}); "
            f"use an admin key, or remove {ACCOUNT_PER_DAY}"
        )
    return f"{reason}fal's billing events cannot be read ({unread.reason})"


def unheld_code(unread: Unread) -> ExitCode:
    """Exit code where the limit cannot be held; a locked account may not read its bills, either."""
    by_key = unread.refused and not is_lock(403, unread.reason)
    return ExitCode.AUTH if by_key else ExitCode.BUDGET
