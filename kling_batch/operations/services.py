"""Services of every command: the clock, an emulator, the reach of the caps, a ledger to edit.

Must not decide about jobs or money, and must not import a client of fal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from kling_batch import __version__
from kling_batch.catalog.registry import ROUNDING
from kling_batch.core.outcomes import Unread
from kling_batch.core.quantities import MicroUSD, format_time
from kling_batch.core.records import AccountBills, Cap
from kling_batch.errors import ExitCode, LedgerError, UsageError, exit_code_of
from kling_batch.ledger.cap_sums import CapSums
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader
from kling_batch.operations.handled_signals import raised
from kling_batch.planning.account import AccountUse
from kling_batch.planning.coverage import Coverage, coverage_of, recovered_money
from kling_batch.planning.plan import Action, Plan
from kling_batch.settings import Settings


def now() -> datetime:
    """Wall clock."""
    return datetime.now(UTC)


class CapsNow(NamedTuple):
    """Where the caps stand at this moment."""

    #: How far they reach in the plan; None: to its end, or nobody has set one.
    coverage: Coverage | None
    #: The limit over all hosts of the account; None where there is none, or nothing is paid for.
    account: AccountUse | None


def caps_now(
    reader: Reader | None,
    plan: Plan,
    settings: Settings,
    look: Callable[[], AccountBills | Unread | None],
) -> CapsNow:
    """Where the caps stand now.

    Args:
        reader: the ledger; None: it is still to be made.
        plan: of the run.
        settings: its limits.
        look: asks fal what the account was billed; called only for a limit over all hosts.
    """
    budget = settings.budget
    if not budget.every_cap or not plan.count(Action.SUBMIT):
        return CapsNow(None, None)
    answer = look() if budget.account is not None else None
    bills = answer if isinstance(answer, AccountBills) else None
    caps = budget.caps if bills is None else budget.with_bills(bills)
    committed, ratios = _committed_now(reader, plan)
    coverage = coverage_of(plan, caps, committed, ratios)
    if budget.account is None:
        return CapsNow(coverage, None)
    counted = committed(caps[-1]) if bills is not None else None
    return CapsNow(coverage, AccountUse(cap=budget.account, answer=answer, counted=counted))


def _committed_now(
    reader: Reader | None, plan: Plan
) -> tuple[Callable[[Cap], MicroUSD], Mapping[str, float]]:
    """What counts against a cap before the first payment of a plan, and the cost ratios.

    The ratios are those by which renders have exceeded their estimates.
    """
    known = reader.highest_cost_ratios().items() if reader is not None else ()
    ratios = {endpoint: ratio for endpoint, ratio in known if ratio > ROUNDING}
    recorded = _recorded_sums(reader, ratios)

    def committed(cap: Cap) -> MicroUSD:
        since = "" if cap.window is None else format_time(now() - cap.window)
        return MicroUSD(recorded(cap, since) + recovered_money(plan, cap, since, ratios))

    return committed, ratios


def _recorded_sums(
    reader: Reader | None, ratios: Mapping[str, float]
) -> Callable[[Cap, str], MicroUSD]:
    """What a ledger has that counts against a cap, from a time on."""
    if reader is None:
        return lambda cap, _: MicroUSD(0) if cap.bills is None else cap.bills.total
    sums = CapSums(reader)

    def recorded(cap: Cap, since: str) -> MicroUSD:
        try:
            return sums.committed(cap, since, ratios)
        except LedgerError:  # a ledger of an older version, which the next run upgrades
            own = reader.committed(cap.batches, since or None, cap.key)
            return own if cap.bills is None else MicroUSD(own + cap.bills.total)

    return recorded


def counted_by_caps(ledger: Ledger, settings: Settings) -> MicroUSD | None:
    """What counts against the caps over all runs; None where there is none."""
    caps = [cap for cap in settings.budget.caps if cap.window is None]
    return MicroUSD(sum(map(ledger.cap_sums.committed, caps))) if caps else None


@contextmanager
def gateway_of(settings: Settings) -> Iterator[str | None]:
    """Address of the emulator, one started here where none is given; None for fal."""
    address = settings.options.emulator
    if address is None or address:
        yield address
        return
    # The emulator, with its web server, loads only where it is used.
    from kling_batch.emulator import EmulatorError, World  # noqa: PLC0415
    from kling_batch.emulator import Settings as EmulatorSettings  # noqa: PLC0415
    from kling_batch.emulator.server import running  # noqa: PLC0415

    state = emulator_state(settings)
    try:
        # Without the ledger's folder there is nothing to find again: `doctor` makes none.
        world = World(
            # Its only key, so that a trial may read what was billed.
            EmulatorSettings(concurrency=8, admin_keys=frozenset({"none"})),
            state=state if state.parent.is_dir() else None,
        )
        try:
            with running(world) as url:
                yield url
        finally:
            world.close()
    except EmulatorError as error:
        raise UsageError(f"the emulator cannot start: {error}") from error


def emulator_state(settings: Settings) -> Path:
    """Where an emulator that is started here keeps its requests and books.

    Beside the ledger, so that an interrupted run finds its requests again.
    """
    return settings.ledger.with_name("emulator.db")


@dataclass(slots=True)
class LedgerEdit:
    """A manual change that is under way."""

    ledger: Ledger
    #: What the command will exit with, as the ledger is to have it; an error has its own.
    exit_code: ExitCode = ExitCode.OK


@contextmanager
def edit_ledger(path: Path, command: str) -> Iterator[LedgerEdit]:
    """An existing ledger, opened for a manual change, which is recorded as a run of its own.

    Raises:
        LedgerError: there is no ledger, or it cannot be used.
    """
    Reader.open(path).close()  # says so where there is none
    with raised(), Ledger(path, service=None, now=now) as ledger:
        ledger.begin_run(
            command=command, batches=[], pid=os.getpid(), version=__version__, cap=None
        )
        edit = LedgerEdit(ledger)
        try:
            yield edit
        except BaseException as error:
            with suppress(LedgerError):  # the error itself says more than a ledger that is full
                ledger.end_run(exit_code_of(error))
            raise
        ledger.end_run(edit.exit_code)
