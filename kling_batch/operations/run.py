"""One run from loaded manifests to its report: opens the ledger, plans, asks, runs, reports.

The frame around the engine. Must not decide about jobs or money; those decisions are the plan's,
the ledger's and the engine's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache, partial

from kling_batch import __version__
from kling_batch.core.command_line import Command
from kling_batch.core.events import RunResult, StopReason
from kling_batch.core.jobs import Batch, Job
from kling_batch.core.programs import NOTIFY_VARIABLE
from kling_batch.core.urls import without_signatures
from kling_batch.errors import ExitCode, LedgerError, UsageError, exit_code_of
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.trial import set_aside
from kling_batch.operations.forgotten import forget_unwanted
from kling_batch.operations.handled_signals import Signals, raised
from kling_batch.operations.nearby import ledgers_nearby, trial_warning
from kling_batch.operations.plan import PlannedRun, look_at_bills
from kling_batch.operations.prepared import PreparedRun
from kling_batch.operations.raw_inputs import check_payments
from kling_batch.operations.recovery import ListSearch
from kling_batch.operations.rendition_tasks import tasks_of
from kling_batch.operations.services import (
    caps_now,
    counted_by_caps,
    gateway_of,
    now,
)
from kling_batch.operations.targets import check_hold, must_be_folder
from kling_batch.planning.approval import Approval
from kling_batch.planning.builder import as_decided, build_plan, store_of
from kling_batch.planning.plan import Plan
from kling_batch.report.builder import build_report
from kling_batch.report.display.base import Display
from kling_batch.report.run_report import RunReport
from kling_batch.settings import RunOptions, Settings, resolve


@dataclass(slots=True, kw_only=True)
class Run(PreparedRun):
    """A prepared run, which can be carried out once."""

    exit_code: ExitCode = ExitCode.SOME_FAILED

    def carry_out(self) -> RunReport:
        """Carry out the plan and report, in an event loop of its own."""
        result, works = RunResult(), self._has_work
        if works:
            # Measured: to load engine and client takes a fifth of an idle run.
            from kling_batch.operations.drive import drive_in_own_loop  # noqa: PLC0415

            result = drive_in_own_loop(self)
        report = self._report(result)
        if self._to_be_told:
            import anyio  # noqa: PLC0415 - an idle run without hooks has no event loop

            from kling_batch.operations.farewell import Ended, tell  # noqa: PLC0415

            ended = Ended(self.batches, report, idle=self.plan.idle, driven=works)
            report = self._ended_by(anyio.run(tell, ended, self.signals), report)
        return report

    async def carry_out_async(self) -> RunReport:
        """Carry out the plan and report, in the event loop of the caller."""
        result, works = RunResult(), self._has_work
        if works:
            from kling_batch.operations.drive import drive  # noqa: PLC0415

            result = await drive(self)
        report = self._report(result)
        if self._to_be_told:
            from kling_batch.operations.farewell import Ended, tell  # noqa: PLC0415

            ended = Ended(self.batches, report, idle=self.plan.idle, driven=works)
            report = self._ended_by(await tell(ended, self.signals), report)
        return report

    def _ended_by(self, stop: StopReason | None, report: RunReport) -> RunReport:
        """The report of a run that a signal has ended after its work, while others were told."""
        if stop is None:
            return report
        self.exit_code = stop.code
        return replace(report, exit_code=stop.code, reasons=(*report.reasons, stop.reason))

    @property
    def _has_work(self) -> bool:
        """Whether there is anything to do, were it renditions of what is done."""
        store = store_of(self.settings)
        return not self.plan.idle or any(True for _ in tasks_of(self.ledger, self.selected, store))

    @property
    def _to_be_told(self) -> bool:
        """Whether anybody wants to hear of the end."""
        wanted = any(batch.hooks.on_finished or batch.notify for batch in self.batches)
        return wanted or bool(os.environ.get(NOTIFY_VARIABLE))

    def _report(self, result: RunResult) -> RunReport:
        displaced = self.ledger.displaced
        if displaced and ExitCode.LEDGER not in result.stopped_by():
            result.stops.append(StopReason(ExitCode.LEDGER, displaced))
        if not result.leaving:
            forget_unwanted(self.ledger, self.selected, store_of(self.settings))
        report = build_report(
            self.ledger,
            self.plan,
            result,
            self.settings,
            batches=self.batches,
            run_id=self.run_id,
            started=self.started,
            ended=now(),
            command=self.command,
            approve=self.check_plan,
            counted=counted_by_caps(self.ledger, self.settings),
        )
        self.display.finish(report)
        self.exit_code = report.exit_code
        return report


@contextmanager
def open_run(
    batches: Sequence[Batch],
    options: RunOptions,
    *,
    command: Command,
    display: Display,
    signals: Signals = Signals.PROCESS,
    ask: Callable[[PlannedRun, str], bool] | None = None,
    confirm: Callable[[PlannedRun], bool] | None = None,
    check_plan: Callable[[Plan], None] | None = None,
    select: Callable[[Batch], Batch] = lambda batch: batch,
    retry: Callable[[Job], bool] | None = None,
    plan_maker: Callable[[Ledger], Plan] | None = None,
    single: bool = False,
    trace: Callable[[str], None] | None = None,
) -> Iterator[Run]:
    """Open the ledger, record the run, make the plan and get it approved.

    Args:
        batches: the loaded manifests.
        options: what command line, environment or Python set.
        command: for the ledger and for the next steps of the report.
        display: shows the run.
        signals: which signals are handled.
        ask: asks a person at the terminal, who is shown the plan before; None where nobody may be.
        confirm: decides on every plan that pays, whatever else allows it.
        check_plan: raises where the plan is not the saved one; None: there is no saved plan.
        select: the jobs that this run is about; the others are only registered.
        retry: which failed jobs to try again; None: as `--retry-failed` says.
        plan_maker: makes the plan instead; nothing is registered then.
        single: a single-shot command, which is its own approval.
        trace: is told of every HTTP request of the run, without secrets.

    Raises:
        KlingBatchError: the run cannot begin.
    """
    settings = resolve(batches, options, single=single)
    check_hold(settings, os.environ)
    must_be_folder(settings.ledger.parent)
    with (
        raised(signals),
        set_aside(settings.ledger) if settings.sets_aside else nullcontext() as trial,
        Ledger(settings.ledger, service=settings.service, now=now) as ledger,
        ExitStack() as stack,
    ):
        gateway = _checked(settings, cache(lambda: stack.enter_context(gateway_of(settings))))
        started = now()
        run_id = ledger.begin_run(
            command=without_signatures(str(command)),
            batches=[batch.name for batch in batches],
            pid=os.getpid(),
            version=__version__,
            cap=settings.budget.total,
        )
        try:
            ledger.recover()
            if not single:  # a single shot is the one take that was typed
                batches = as_decided(ledger, batches)
            settings = resolve(batches, options, single=single)  # caps count what people decided
            selected = tuple(map(select, batches))
            search = ListSearch(settings, ledger, gateway, trace=trace)
            if plan_maker is not None:
                plan = plan_maker(ledger)
            else:
                plan = build_plan(
                    ledger,
                    selected,
                    settings,
                    retry=retry,
                    whole=() if single else batches,
                    recover=search.recover,
                )
            if check_plan is not None:
                check_plan(plan)
            unchecked = check_payments(plan, batches, settings, gateway)
            warnings = () if single else ledgers_nearby(batches, settings, plan)
            if trial is not None:
                warnings = (*warnings, trial_warning(settings.ledger, trial))
            caps = caps_now(
                ledger, plan, settings, partial(look_at_bills, settings, gateway, trace)
            )

            def planned() -> PlannedRun:
                return PlannedRun(
                    plan=plan,
                    settings=settings,
                    typical_seconds=ledger.typical_seconds(),
                    coverage=caps.coverage,
                    account=caps.account,
                    warnings=(*unchecked, *search.notices, *warnings),
                )

            approval = Approval(
                settings,
                single=single,
                reviewed=check_plan is not None,
                unread=None if caps.account is None else caps.account.unread,
                ask=None if ask is None else lambda question: ask(planned(), question),
                confirm=None if confirm is None else lambda _plan: confirm(planned()),
            )
            if not plan.idle:
                if settings.options.emulator:  # at an address: before anybody is asked about money
                    gateway()
                approval.require(plan, ledger)
            if plan_maker is None:
                _register(ledger, batches, single=single)
            ledger.log.checkpoint()
            run = Run(
                batches=batches,
                selected=() if plan_maker is not None else selected,
                settings=settings,
                ledger=ledger,
                plan=plan,
                approval=approval,
                command=command,
                display=display,
                signals=signals,
                check_plan=check_plan,
                warnings=warnings,
                coverage=caps.coverage,
                account=caps.account,
                run_id=run_id,
                started=started,
                gateway=gateway,
                trace=trace,
                notices=(*unchecked, *search.notices),
            )
            yield run
        except BaseException as error:
            with suppress(LedgerError):  # the error itself says more than a ledger that is full
                ledger.end_run(exit_code_of(error))
            with suppress(LedgerError):
                ledger.discard_new()
            raise
        ledger.end_run(run.exit_code)


def _checked(settings: Settings, gateway: Callable[[], str | None]) -> Callable[[], str | None]:
    """The way to the service, which raises `UsageError` where an address is no emulator's.

    The emulator inside this process needs no question, and a run that sends nothing asks none.
    """
    address = settings.options.emulator
    if not address:
        return gateway

    @cache
    def why_not() -> str:
        # With aiohttp, as what is to be sent.
        from kling_batch.operations.emulator_check import why_no_emulator  # noqa: PLC0415

        return why_no_emulator(address)

    def checked() -> str | None:
        if reason := why_not():
            raise UsageError(reason)
        return gateway()

    return checked


def _register(ledger: Ledger, batches: Sequence[Batch], *, single: bool) -> None:
    for batch in batches:
        ledger.register(batch, whole=not single)
