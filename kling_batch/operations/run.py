"""One run from loaded manifests to its report: opens the ledger, plans, asks, runs, reports.

The frame around the engine. Must not decide about jobs or money; those decisions are the plan's,
the ledger's and the engine's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial

import anyio

from kling_batch import __version__
from kling_batch.core.events import EventKind, RunEvent, RunResult, StopReason
from kling_batch.core.jobs import Batch, Job
from kling_batch.core.lifecycle import OPEN
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.text import count
from kling_batch.core.urls import without_signatures
from kling_batch.engine.context import RunPolicy
from kling_batch.engine.engine import Engine
from kling_batch.errors import ExitCode, KlingBatchError, LedgerError, UsageError
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.trial import set_aside
from kling_batch.operations.nearby import ledgers_nearby, trial_warning
from kling_batch.operations.plan import PlannedRun
from kling_batch.operations.recovery import ListSearch
from kling_batch.operations.services import (
    authorization_for,
    counted_by_caps,
    coverage_now,
    gateway_of,
    now,
    run_context,
)
from kling_batch.operations.signals import Signals, interrupt_once, listen, receiver
from kling_batch.operations.targets import (
    WRITING,
    check_folders,
    check_room,
    must_be_folder,
)
from kling_batch.operations.verdicts import Withdrawals
from kling_batch.planning.approval import Approval
from kling_batch.planning.builder import as_decided, build_plan, store_of
from kling_batch.planning.coverage import Coverage
from kling_batch.planning.plan import Action, Plan
from kling_batch.report.builder import build_report
from kling_batch.report.command_line import Command
from kling_batch.report.display.base import Display
from kling_batch.report.plan_view import left_out_lines
from kling_batch.report.run_report import RunReport, RunStarted
from kling_batch.settings import RunOptions, Settings, resolve


@dataclass(slots=True, kw_only=True)
class Run:
    """One run whose ledger is open, and whose plan is made and approved."""

    batches: Sequence[Batch]
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
    run_id: int
    started: datetime
    #: Address of the emulator, or None for fal; opened once.
    gateway: Callable[[], str | None]
    #: What people should know before the run begins.
    notices: Sequence[str] = ()
    exit_code: ExitCode = ExitCode.SOME_FAILED

    def carry_out(self) -> RunReport:
        """Carry out the plan and report, in an event loop of its own."""
        result = RunResult()
        if not self.plan.idle:
            with _plain_errors(), self._services() as (gateway, auth):
                result = anyio.run(partial(_drive, self, gateway=gateway, auth=auth))
        return self._report(result)

    async def carry_out_async(self) -> RunReport:
        """Carry out the plan and report, in the event loop of the caller."""
        result = RunResult()
        if not self.plan.idle:
            with _plain_errors(), self._services() as (gateway, auth):
                result = await _drive(self, gateway=gateway, auth=auth)
        return self._report(result)

    @contextmanager
    def _services(self) -> Iterator[tuple[str | None, str]]:
        """Address of the emulator, or None, and the authorization; the folders are checked."""
        gateway = self.gateway()
        auth = authorization_for(self.settings, self.plan)
        check_folders(self.plan, self.settings)
        check_room(self.plan, self.settings, self.ledger.typical_sizes())
        for item in self.plan.items:
            if item.action in WRITING:
                _check_folder(self.settings, item.job)
        yield gateway, auth

    def _report(self, result: RunResult) -> RunReport:
        displaced = self.ledger.displaced
        if displaced and ExitCode.LEDGER not in result.stopped_by():
            result.stops.append(StopReason(ExitCode.LEDGER, displaced))
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
    ask: Callable[[str], bool] | None = None,
    confirm: Callable[[PlannedRun], bool] | None = None,
    check_plan: Callable[[Plan], None] | None = None,
    select: Callable[[Batch], Batch] = lambda batch: batch,
    retry: Callable[[Job], bool] | None = None,
    plan_maker: Callable[[Ledger], Plan] | None = None,
    single: bool = False,
) -> Iterator[Run]:
    """Open the ledger, record the run, make the plan and get it approved.

    Args:
        batches: the loaded manifests.
        options: what command line, environment or Python set.
        command: for the ledger and for the next steps of the report.
        display: shows the run.
        signals: which signals are handled.
        ask: asks a person at the terminal; None where nobody may be asked.
        confirm: decides on every plan that pays, whatever else allows it.
        check_plan: raises where the plan is not the saved one; None: there is no saved plan.
        select: the jobs that this run is about; the others are only registered.
        retry: which failed jobs to try again; None: as `--retry-failed` says.
        plan_maker: makes the plan instead; nothing is registered then.
        single: a single-shot command, which is its own approval.

    Raises:
        KlingBatchError: the run cannot begin.
    """
    settings = resolve(batches, options, single=single)
    must_be_folder(settings.ledger.parent)
    with (
        set_aside(settings.ledger) if settings.sets_aside else nullcontext() as trial,
        Ledger(settings.ledger, service=settings.service, now=now) as ledger,
        ExitStack() as stack,
    ):
        gateway = cache(lambda: stack.enter_context(gateway_of(settings)))
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
            batches = as_decided(ledger, batches)
            settings = resolve(batches, options, single=single)  # caps count what people decided
            search = ListSearch(settings, ledger, gateway)
            if plan_maker is not None:
                plan = plan_maker(ledger)
            else:
                plan = build_plan(
                    ledger,
                    [select(batch) for batch in batches],
                    settings,
                    retry=retry,
                    whole=() if single else batches,
                    recover=search.recover,
                )
            if check_plan is not None:
                check_plan(plan)
            warnings = () if single else ledgers_nearby(batches, settings, plan)
            if trial is not None:
                warnings = (*warnings, trial_warning(settings.ledger, trial))
            coverage = coverage_now(ledger, plan, settings)
            notes = [*(f"warning: {each}" for each in warnings), *left_out_lines(plan, coverage)]

            def confirmed(plan: Plan) -> bool:
                assert confirm is not None
                return confirm(
                    PlannedRun(
                        plan=plan,
                        settings=settings,
                        typical_seconds=ledger.typical_seconds(),
                        coverage=coverage,
                        warnings=(*search.notices, *warnings),
                    )
                )

            approval = Approval(
                settings,
                single=single,
                reviewed=check_plan is not None,
                ask=None if ask is None else partial(_ask_with, ask, notes),
                confirm=None if confirm is None else confirmed,
            )
            if not plan.idle:
                approval.require(plan, ledger)
            if plan_maker is None:
                _register(ledger, batches, single=single)
            ledger.checkpoint()
            run = Run(
                batches=batches,
                settings=settings,
                ledger=ledger,
                plan=plan,
                approval=approval,
                command=command,
                display=display,
                signals=signals,
                check_plan=check_plan,
                warnings=warnings,
                coverage=coverage,
                run_id=run_id,
                started=started,
                gateway=gateway,
                notices=search.notices,
            )
            yield run
        except BaseException as error:
            with suppress(LedgerError):  # the error itself says more than a ledger that is full
                ledger.end_run(_exit_code(error))
            with suppress(LedgerError):
                ledger.discard_new()
            raise
        ledger.end_run(run.exit_code)


def _register(ledger: Ledger, batches: Sequence[Batch], *, single: bool) -> None:
    for batch in batches:
        ledger.register(batch, whole=not single)


def _ask_with(ask: Callable[[str], bool], notes: Sequence[str], question: str) -> bool:
    """Ask, after what a person should know before the answer."""
    return ask("\n".join([*notes, question]))


def _exit_code(error: BaseException) -> ExitCode:
    """Exit code of a run that ends with this error; what is no `Exception` interrupts it."""
    if isinstance(error, KlingBatchError):
        return error.exit_code
    return ExitCode.SOME_FAILED if isinstance(error, Exception) else ExitCode.INTERRUPTED


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise an error that was explained inside a task group without the group around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException | None = group.subgroup(KlingBatchError)
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if error is None:
            raise
        raise error from group


def _check_folder(settings: Settings, job: Job) -> None:
    """Prove before paying that the file can be written."""
    try:
        store = store_of(settings)
        relative = job.output_path(0, ".part")
        if not store.can_be_named(job.batch, relative):
            return  # the engine says so of this job alone, and pays nothing for it
        folder = store.prepare(job.batch, relative).parent
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; nothing was sent") from error
    if not writable:
        raise UsageError(f"{folder}: cannot write here; nothing was sent")


# -- the engine's frame ------------------------------------------------------------------------


async def _drive(run: Run, *, gateway: str | None, auth: str) -> RunResult:
    settings, display = run.settings, run.display
    with receiver(run.signals) as signals:  # before the first line: then Ctrl-C is possible
        display.start(
            RunStarted(
                plan=run.plan,
                cap=settings.budget.total,
                output=", ".join(dict.fromkeys(str(root) for root in settings.roots.values())),
                emulated=settings.service == "emulator",
                committed=_committed(run),
                coverage=run.coverage,
            )
        )
        for warning in (*run.notices, *run.warnings):
            display.notify(RunEvent(kind=EventKind.WARNING, message=warning))
        async with run_context(
            settings,
            run.ledger,
            _policy(run),
            gateway=gateway,
            auth=auth,
            notify=display.notify,
            priced=_priced(run),
        ) as context:
            engine = Engine(context)
            async with anyio.create_task_group() as tasks:
                if signals is not None and run.signals is Signals.INTERRUPT:
                    tasks.start_soon(interrupt_once, signals, engine, display)
                elif signals is not None:
                    last_message = partial(_last_message, run)
                    tasks.start_soon(listen, signals, engine, display, last_message)
                tasks.start_soon(_tick, display, run.ledger)
                if settings.deadline is not None:
                    tasks.start_soon(_leave_after, engine, settings.deadline)
                # Where the caller cancels this, a POST in flight is shielded and gets its answer.
                result = await engine.run(run.plan)
                tasks.cancel_scope.cancel()
    return result


def _priced(run: Run) -> list[str]:
    """Endpoints that a capped run pays for: a cap is held against the dearer price."""
    if not run.settings.budget.caps:
        return []
    submitted = (item.job.endpoint for item in run.plan.items if item.action is Action.SUBMIT)
    return sorted(set(submitted))


def _committed(run: Run) -> MicroUSD:
    """What counts against the caps already; without a cap, what the batches have cost."""
    if (counted := counted_by_caps(run.ledger, run.settings)) is not None:
        return counted
    return run.ledger.committed([batch.name for batch in run.batches])


def _policy(run: Run) -> RunPolicy:
    settings = run.settings
    return RunPolicy(
        concurrency=settings.concurrency,
        rate=settings.rate,
        caps=settings.budget.caps,
        doubt_wait=settings.doubt_wait,
        attempts=settings.attempts,
        start_timeout=settings.start_timeout,
        max_failures=settings.max_failures,
        payable=(
            frozenset() if settings.options.collect else run.approval.payable(run.plan)
        ).__contains__,
        alarm=run.approval.alarm(run.plan, run.ledger),
        detach=settings.options.detach,
        withdrawn=Withdrawals(run.ledger, run.batches).of,
    )


def _last_message(run: Run) -> str:
    """Message for a process that ends without a summary."""
    requests = count(len(run.ledger.open_attempts(*OPEN)), "request")
    return f"{requests} may be open at fal and billed; to go on: {run.command}"


async def _leave_after(engine: Engine, seconds: float) -> None:
    await anyio.sleep(seconds)
    engine.leave(ExitCode.STILL_RUNNING, f"the time of this run ({seconds:.0f} s) is over")


async def _tick(display: Display, ledger: Ledger) -> None:
    while True:
        display.tick(anyio.current_time())
        ledger.checkpoint()
        await anyio.sleep(0.25)
