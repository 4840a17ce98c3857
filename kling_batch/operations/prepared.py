"""A run that is ready to be carried out: what it is made of.

Apart from `run.py`, which makes it, and `drive.py`, which carries it out and is imported only where
there is something to do. Holds no logic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from kling_batch.core.command_line import Command
from kling_batch.core.jobs import Batch
from kling_batch.ledger.ledger import Ledger
from kling_batch.operations.handled_signals import Signals
from kling_batch.planning.account import AccountUse
from kling_batch.planning.approval import Approval
from kling_batch.planning.coverage import Coverage
from kling_batch.planning.plan import Plan
from kling_batch.report.display.base import Display
from kling_batch.settings import Settings


@dataclass(slots=True, kw_only=True)
class PreparedRun:
    """One run whose ledger is open, and whose plan is made and approved."""

    batches: Sequence[Batch]
    #: The same with the jobs that this run is about.
    selected: Sequence[Batch]
    settings: Settings
    ledger: Ledger
    plan: Plan
    approval: Approval
    command: Command
    display: Display
    signals: Signals
    check_plan: Callable[[Plan], None] | None
    #: Other ledgers that have these jobs, a sentence each.
    warnings: tuple[str, ...]
    #: How far the caps reach in the plan; None: to its end.
    coverage: Coverage | None
    #: The limit over all hosts of the account, where there is one and anything is paid for.
    account: AccountUse | None
    run_id: int
    started: datetime
    #: Address of the emulator, or None for fal; opened once.
    gateway: Callable[[], str | None]
    #: Is told of every HTTP request, without secrets; None: nobody wants to know.
    trace: Callable[[str], None] | None = None
    #: What people should know before the run begins.
    notices: Sequence[str] = ()
