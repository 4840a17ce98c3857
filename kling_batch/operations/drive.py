"""Execution of a prepared run: the engine with its connections, signals and display.

Must not decide about jobs or money; those decisions are the plan's, the ledger's and the engine's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain

import anyio

from kling_batch.core.events import EventKind, RunEvent, RunResult, StopReason
from kling_batch.core.jobs import Job
from kling_batch.core.lifecycle import OPEN, State
from kling_batch.core.locations import Location, ObjectAddress
from kling_batch.core.memory import gc_spared
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.text import count
from kling_batch.engine.context import RunContext, RunPolicy
from kling_batch.engine.engine import Engine
from kling_batch.engine.file_fetch import token_of
from kling_batch.errors import ExitCode, KlingBatchError, UsageError
from kling_batch.operations.connections import authorization_for, run_context
from kling_batch.operations.handled_signals import Signals
from kling_batch.operations.hooks import Hooks, hooks_of, left_out
from kling_batch.operations.moving import require
from kling_batch.operations.notify import warnings_before
from kling_batch.operations.prepared import PreparedRun
from kling_batch.operations.received_signals import WORDS, left_over, receiver
from kling_batch.operations.remake import lacking
from kling_batch.operations.renditions import THREADS, Renditions
from kling_batch.operations.services import counted_by_caps
from kling_batch.operations.signals import interrupt_once, listen
from kling_batch.operations.targets import WRITING, check_folders, check_room
from kling_batch.operations.verdicts import Withdrawals
from kling_batch.output import spool
from kling_batch.output.store import OutputStore
from kling_batch.output.worker import Threads
from kling_batch.planning.builder import store_of
from kling_batch.planning.plan import Action
from kling_batch.report.display.base import Display
from kling_batch.report.display.choose import Both
from kling_batch.report.run_report import RunStarted

#: Looks at the clock a second, for whoever watches a run.
TICKS = 4


def drive_in_own_loop(run: PreparedRun) -> RunResult:
    """Carry out the plan in an event loop of its own."""
    with _plain_errors(), _services(run) as (gateway, auth), gc_spared():
        return anyio.run(partial(_drive, run, gateway=gateway, auth=auth))


async def drive(run: PreparedRun) -> RunResult:
    """Carry out the plan in the event loop of the caller."""
    with _plain_errors(), _services(run) as (gateway, auth):
        return await _drive(run, gateway=gateway, auth=auth)


@contextmanager
def _services(run: PreparedRun) -> Iterator[tuple[str | None, str]]:
    """Address of the emulator, or None, and the authorization; the folders are checked."""
    # Here and not in the loop, which they would hold for a tenth of a second.
    import kling_batch.fal.upload  # noqa: PLC0415
    import kling_batch.wire.sockets  # noqa: F401, PLC0415

    require(run.settings.options.scheduler)
    gateway = run.gateway()
    auth = authorization_for(run.settings, run.plan)
    check_folders(run.plan, run.settings)
    check_room(run.plan, run.settings, run.ledger.typical_sizes())
    _sweep_spool(run)
    store, checked = store_of(run.settings), set[Location]()
    for item in run.plan.items:
        if item.action in WRITING:
            _check_folder(store, item.job, checked)
    yield gateway, auth


def _sweep_spool(run: PreparedRun) -> None:
    """Remove downloads that a store has: their run was killed after it had recorded them.

    What this ledger does not know stays: it may be all that is left of a render.
    """
    folder = spool.spool_of(run.settings.ledger)
    left = list(spool.waiting(folder)) if folder.is_dir() else []
    if not left:
        return
    saved = {number for number, *_ in run.ledger.open_attempts(State.SUCCEEDED)}
    for number, temporary in left:
        if number in saved and token_of(run.ledger.attempt(number)) == spool.token_in(temporary):
            spool.drop(temporary)


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


def _check_folder(store: OutputStore, job: Job, checked: set[Location]) -> None:
    """Prove before paying that the file can be written; each folder is looked at once."""
    relative = job.output_path(0, ".part")
    if not store.can_be_named(job.batch, relative):
        return  # the engine says so of this job alone, and pays nothing for it
    folder = store.wanted(job.batch, relative).parent
    if folder in checked:
        return
    checked.add(folder)
    if isinstance(folder, ObjectAddress):
        store.sizes(folder)
        store.prepare(job.batch, relative)
        return
    try:
        store.prepare(job.batch, relative)
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; nothing was sent") from error
    if not writable:
        raise UsageError(f"{folder}: cannot write here; nothing was sent")


async def _drive(run: PreparedRun, *, gateway: str | None, auth: str) -> RunResult:
    settings, display = run.settings, run.display
    hooks, renditions = _hooks(run), _renditions(run)
    hearers = [hearer for hearer in (hooks, renditions) if hearer is not None]
    for hearer in hearers:
        display = Both(display, hearer)
    pays, detached = bool(run.plan.count(Action.SUBMIT)), settings.options.detach
    with receiver(run.signals) as signals:  # before the first line: then Ctrl-C is possible
        display.start(
            RunStarted(
                plan=run.plan,
                cap=settings.budget.total,
                output=", ".join(dict.fromkeys(str(root) for root in settings.roots.values())),
                emulated=settings.service == "emulator",
                committed=_committed(run),
                coverage=run.coverage,
                concurrency=None if detached or not pays else settings.concurrency,
                rate=settings.rate if pays else None,
                typical_seconds=run.ledger.typical_seconds(),
            )
        )
        outside = (f(run.batches, os.environ) for f in (left_out, warnings_before))
        lacks = (problem.message for problem in lacking(run.selected))
        for warning in (*run.notices, *run.warnings, *chain.from_iterable(outside), *lacks):
            display.notify(RunEvent(kind=EventKind.WARNING, message=warning))
        display.tick(anyio.current_time())  # stops here, unpaid, where a warning made it fail
        async with run_context(
            settings,
            run.ledger,
            _policy(run),
            gateway=gateway,
            auth=auth,
            notify=display.notify,
            priced=_priced(run),
            trace=run.trace,
            bills=run.account.bills if run.account is not None else None,
            offer=None if renditions is None else renditions.use,
        ) as context:
            engine = Engine(context)
            async with anyio.create_task_group() as tasks:
                for hearer in hearers:
                    await tasks.start(hearer.work)
                if signals is not None and run.signals is Signals.INTERRUPT:
                    tasks.start_soon(interrupt_once, signals, engine, display)
                elif signals is not None:
                    last_message = partial(_last_message, run)
                    tasks.start_soon(listen, signals, engine, display, last_message)
                tasks.start_soon(_tick, display, context)
                if settings.deadline is not None:
                    tasks.start_soon(_leave_after, engine, settings.deadline)
                # Where the caller cancels this, a POST in flight is shielded and gets its answer.
                result = await engine.run(run.plan)
                await _drain(result, renditions, hooks)
                tasks.cancel_scope.cancel()
        code = await left_over(signals)
    if code is not None and code not in result.stopped_by():
        result.stops.append(StopReason(code, WORDS[code]))
    return result


def _hooks(run: PreparedRun) -> Hooks | None:
    def warn(message: str) -> None:
        run.display.notify(RunEvent(kind=EventKind.WARNING, message=message))

    return hooks_of(run.batches, warn, os.environ)


def _renditions(run: PreparedRun) -> Renditions | None:
    if not any(batch.renditions for batch in run.selected):
        return None
    return Renditions(
        run.ledger,
        run.selected,
        store_of(run.settings),
        worker=Threads(THREADS),
        notify=run.display.notify,
        workers=run.settings.workers,
    )


async def _drain(result: RunResult, renditions: Renditions | None, hooks: Hooks | None) -> None:
    """Wait for what saved files have started."""
    if renditions is not None:
        await renditions.drain(stopped=lambda: result.leaving)
        result.renditions = renditions.totals
    if hooks is not None:
        await hooks.drain(stopped=partial(_asked_to_end, result))


def _asked_to_end(result: RunResult) -> bool:
    return bool({ExitCode.INTERRUPTED, ExitCode.TERMINATED} & {*result.stopped_by()})


def _priced(run: PreparedRun) -> list[str]:
    """Endpoints that a capped run pays for: a cap is held against the dearer price."""
    if not run.settings.budget.every_cap:
        return []
    submitted = (item.job.endpoint for item in run.plan.items if item.action is Action.SUBMIT)
    return sorted(set(submitted))


def _committed(run: PreparedRun) -> MicroUSD:
    """What counts against the caps already; without a cap, what the batches have cost."""
    if (counted := counted_by_caps(run.ledger, run.settings)) is not None:
        return counted
    return run.ledger.committed([batch.name for batch in run.batches])


def _policy(run: PreparedRun) -> RunPolicy:
    settings = run.settings
    return RunPolicy(
        concurrency=settings.concurrency,
        rate=settings.rate,
        caps=settings.budget.caps,
        account=settings.budget.account,
        doubt_wait=settings.doubt_wait,
        attempts=settings.attempts,
        start_timeout=settings.start_timeout,
        max_failures=settings.max_failures,
        payable=(
            frozenset() if settings.options.collect else run.approval.payable(run.plan)
        ).__contains__,
        alarm=run.approval.alarm(run.plan, run.ledger),
        alarm_code=run.approval.alarm_code,
        detach=settings.options.detach,
        withdrawn=Withdrawals(run.ledger, run.batches).of,
    )


def _last_message(run: PreparedRun) -> str:
    """Message for a process that ends without a summary."""
    requests = count(len(run.ledger.open_attempts(*OPEN)), "request")
    return f"{requests} may be open at fal and billed; to go on: {run.command}"


async def _leave_after(engine: Engine, seconds: float) -> None:
    await anyio.sleep(seconds)
    engine.leave(ExitCode.STILL_RUNNING, f"the time of this run ({seconds:.0f} s) is over")


async def _tick(display: Display, context: RunContext) -> None:
    """Show the time that passes; a copy of the ledger's file alone is a second old at most."""
    while True:
        await context.worker.run(context.ledger.log.checkpoint)
        for _ in range(TICKS):
            display.tick(anyio.current_time(), context.pace())
            await anyio.sleep(1 / TICKS)
