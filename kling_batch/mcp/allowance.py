"""What a server may spend in all, over every run that it starts: the limit of `mcp --max-cost`.

A cap counts what a batch has cost in one ledger, and whoever writes manifests chooses the names of
both. So the runs themselves are added up here, by their reports. Must not start anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kling_batch.core.quantities import MicroUSD, exact_usd, micro_usd
from kling_batch.errors import UsageError

Batches = tuple[str, ...]


@dataclass(slots=True)
class _Spent:
    """What runs of the same batches have spent, as far as this server has started them."""

    amount: int = 0
    #: As their last report has it; empty: there was none.
    ledger: str = ""
    #: The file behind it: one that was replaced knows nothing of what was spent.
    identity: tuple[int, int] | None = None
    #: What it says that the batches have cost over all runs.
    total: int = 0


@dataclass(slots=True)
class Payment:
    """A run that may pay up to its cap."""

    batches: Batches
    cap: int
    #: What was spent for these batches and is not part of what the cap counts.
    before: int
    #: What holds the run to the ledger whose sums its cap counts.
    words: tuple[str, ...]


class Allowance:
    """How much of the limit is spent, may be being spent, and is left."""

    def __init__(self, folder: Path, limit: MicroUSD | None) -> None:
        """Nothing is spent; without a limit everything is allowed."""
        self._folder = folder
        self._limit = limit
        self._spent: dict[Batches, _Spent] = {}
        self._open: list[Payment] = []

    def begin(self, batches: Batches, cap: MicroUSD) -> Payment:
        """Set aside what a run may pay, until `end`.

        A run that goes on with batches of an earlier one is held to that one's ledger: there the
        cap counts what they have cost already, and nothing is set aside twice.

        Raises:
            UsageError: it may be more than is left.
        """
        spent = self._spent.get(batches, _Spent())
        goes_on = spent.identity is not None and self._identity(spent.ledger) == spent.identity
        payment = Payment(
            batches=batches,
            cap=cap,
            before=0 if goes_on else spent.amount,
            words=(f"--ledger={spent.ledger}",) if goes_on and self._limit is not None else (),
        )
        if self._limit is not None and cap > (left := self._left(payment)):
            limit = f"{exact_usd(self._limit)}, the most this server may spend"
            of = "" if left == self._limit else f"{exact_usd(left)}, what is left of "
            raise UsageError(f"max_cost is above {of}{limit}; nothing was sent")
        self._open.append(payment)
        return payment

    def _left(self, payment: Payment) -> int:
        """What this run may spend beside all others."""
        others = sum(s.amount for batches, s in self._spent.items() if batches != payment.batches)
        open_now = sum(each.before + each.cap for each in self._open)
        return max(0, (self._limit or 0) - others - open_now - payment.before)

    def end(self, payment: Payment, said: Sequence[Any]) -> None:
        """What the run has spent by what it said; its whole cap where that is not known."""
        self._open.remove(payment)
        self.hear(said)
        if not (_reports(said) or _refused(said)):
            spent = self._spent.setdefault(payment.batches, _Spent())
            spent.amount = max(spent.amount, payment.before + payment.cap)

    def hear(self, said: Sequence[Any]) -> None:
        """Add what a run has spent by its report, were it a price that came out higher."""
        for report in _reports(said):
            spent = self._spent.setdefault(tuple(sorted(report["batches"])), _Spent())
            total = micro_usd(report["charged_usd"]) + micro_usd(report["exposed_usd"])
            grown = total - spent.total if report["ledger"] == spent.ledger else 0
            spent.amount += max(grown, micro_usd(report["spent_now_usd"]))
            spent.ledger, spent.total = report["ledger"], total
            spent.identity = self._identity(spent.ledger)

    def _identity(self, ledger: str) -> tuple[int, int] | None:
        try:
            found = (self._folder / ledger).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def batches_of(plan: Path) -> Batches:
    """The batches that a saved plan is about."""
    jobs = json.loads(plan.read_text(encoding="utf-8"))["jobs"]
    return tuple(sorted({job["batch"] for job in jobs}))


def _reports(said: Sequence[Any]) -> list[Any]:
    return [value for value in said if value.get("event") == "report"]


def _refused(said: Sequence[Any]) -> bool:
    """Whether the run ended before its first event: nothing was sent."""
    events = {value.get("event") for value in said}
    return "error" in events and "started" not in events
