"""One run from loaded manifests to an exit code: opens, plans, asks, runs, closes the books.

The shell around the engine: signals, deadline, emulator, credentials, display. Must not decide
about jobs or money; those decisions are the plan's, the ledger's and the engine's.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import anyio

from kling_batch import __version__
from kling_batch.catalog.registry import by_id, cost_of
from kling_batch.core.events import RunResult
from kling_batch.core.jobs import Batch, Job
from kling_batch.core.lifecycle import OPEN
from kling_batch.engine.context import RunContext, RunPolicy
from kling_batch.engine.engine import Engine
from kling_batch.errors import ExitCode, LedgerError, UsageError
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION
from kling_batch.ledger.ledger import Ledger
from kling_batch.operations.signals import listen, receiver
from kling_batch.planning.approval import Approval
from kling_batch.planning.builder import store_of, survey, wanted
from kling_batch.planning.plan import Action, Plan
from kling_batch.report.builder import build_report
from kling_batch.report.command_line import Command
from kling_batch.report.display.base import Display
from kling_batch.report.run_report import RunReport, RunStarted
from kling_batch.settings import Settings, resolve

if TYPE_CHECKING:
    from kling_batch.settings import Options

#: Actions that show fal the key; files are there for whoever has their address.
_KEYED = (Action.SUBMIT, Action.COLLECT, Action.RECONCILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one invocation wants done."""

    batches: tuple[Batch, ...]
    options: Options
    #: What was typed, for the ledger and for "type this next"; one text where no option of it
    #: is to be added or changed.
    command: Command | str
    display: Display
    #: Asks the person; None where nobody may be asked.
    ask: Callable[[str], bool] | None = None
    #: Which failed jobs to try again; None: as `--retry-failed` says.
    retry: Callable[[Job], bool] | None = None
    #: Which jobs this run is about; the others are only registered.
    only: Callable[[Batch], Batch] = lambda batch: batch
    #: Makes the plan instead of the survey; nothing is registered then.
    plan: Callable[[Ledger], Plan] | None = None
    #: Raises where the plan is not the one that was reviewed; None: nobody has reviewed one.
    approve: Callable[[Plan], None] | None = None
    #: Typing a single-shot command is the consent, and its cap is the job's own.
    single: bool = False


def execute(request: Request) -> RunReport:
    """Do it. Raises `KlingBatchError` in words where it cannot even begin."""
    settings = resolve(request.batches, request.options)
    now = _now
    with Ledger(settings.ledger, service=settings.service, now=now) as ledger:
        started = now()
        run_id = ledger.begin_run(
            command=str(request.command),
            batches=[batch.name for batch in request.batches],
            pid=os.getpid(),
            version=__version__,
            cap=settings.max_cost,
        )
        try:
            report = _planned(request, settings, ledger, run_id, started)
        except BaseException as error:
            with suppress(LedgerError):  # what is being raised says more than a ledger that is full
                ledger.end_run(getattr(error, "exit_code", ExitCode.SOME_FAILED))
            raise
        ledger.end_run(report.exit_code)
    return report


def _planned(
    request: Request, settings: Settings, ledger: Ledger, run_id: int, started: datetime
) -> RunReport:
    """Recover, register, plan; run only where there is something to do."""
    ledger.recover()
    batches = wanted(ledger, request.batches)
    chosen = [request.only(batch) for batch in batches]
    if request.plan is not None:
        plan = request.plan(ledger)
    else:
        whole = () if request.single else batches
        plan = survey(ledger, chosen, settings, retry=request.retry, whole=whole)
    if request.approve is not None:
        request.approve(plan)
    consent = Approval(
        request.batches,
        settings,
        single=request.single,
        reviewed=request.approve is not None,
        ask=request.ask,
    )
    if not plan.idle:
        consent.require(plan, ledger)
    if request.plan is None:
        for batch in batches:
            ledger.register(batch, whole=not request.single)
    run_result = RunResult()
    if not plan.idle:
        run_result = _run(request, settings, consent, ledger, plan)
    command = request.command
    report = build_report(
        ledger,
        plan,
        run_result,
        settings,
        batches=request.batches,
        run_id=run_id,
        started=started,
        ended=_now(),
        command=Command.parsed(command) if isinstance(command, str) else command,
        approve=request.approve,
    )
    request.display.finish(report)
    return report


def _now() -> datetime:
    return datetime.now(UTC)


# -- running -----------------------------------------------------------------------------------


def _run(
    request: Request, settings: Settings, consent: Approval, ledger: Ledger, plan: Plan
) -> RunResult:
    with gateway_of(settings) as gateway:
        auth = _authorization(settings, plan)
        for item in plan.items:
            if item.action in (Action.SUBMIT, Action.PLACE):
                _check_folder(settings, item.job)
        policy = _policy(settings, consent, ledger, plan)
        work = partial(_drive, request, settings, ledger, plan, policy, gateway=gateway, auth=auth)
        return anyio.run(work)


def _check_folder(settings: Settings, job: Job) -> None:
    """Prove before paying that the file can be put down."""
    try:
        folder = store_of(settings).prepare(job.batch, job.output_path(0, ".part")).parent
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; nothing was sent") from error
    if not writable:
        raise UsageError(f"{folder}: cannot write here; nothing was sent")


def _authorization(settings: Settings, plan: Plan) -> str:
    if settings.service == "emulator" or not plan.count(*_KEYED):
        return DUMMY_AUTHORIZATION
    from kling_batch.fal.credentials import authorization  # noqa: PLC0415 - the network stack loads late

    return authorization()


@contextmanager
def gateway_of(settings: Settings) -> Iterator[str | None]:
    """The emulator's address, one started here where none is named; None for fal."""
    address = settings.options.emulator
    if address is None or address:
        yield address
        return
    from kling_batch.emulator import EmulatorError, World  # noqa: PLC0415
    from kling_batch.emulator import Settings as EmulatorSettings  # noqa: PLC0415
    from kling_batch.emulator.server import running  # noqa: PLC0415

    # Beside the ledger, so that an interrupted run finds its requests again.
    state = settings.ledger.with_name("emulator.db")
    try:
        # Without a ledger's folder there is nothing to find again: `doctor` makes none.
        world = World(
            EmulatorSettings(concurrency=8), state=state if state.parent.is_dir() else None
        )
        try:
            with running(world) as url:
                yield url
        finally:
            world.close()
    except EmulatorError as error:
        raise UsageError(f"the emulator cannot start: {error}") from error


def _policy(settings: Settings, consent: Approval, ledger: Ledger, plan: Plan) -> RunPolicy:
    return RunPolicy(
        concurrency=settings.concurrency,
        rate=settings.rate,
        caps=consent.caps,
        on_doubt=settings.on_doubt,
        doubt_wait=settings.doubt_wait,
        attempts=settings.attempts,
        payable=consent.payable(plan).__contains__,
        alarm=consent.alarm(plan, ledger),
        detach=settings.options.detach,
    )


async def _drive(
    request: Request,
    settings: Settings,
    ledger: Ledger,
    plan: Plan,
    policy: RunPolicy,
    *,
    gateway: str | None,
    auth: str,
) -> RunResult:
    display = request.display
    words = partial(_last_words, ledger, str(request.command))
    with receiver() as signals:  # before the first word: from it on, somebody may press Ctrl-C
        display.start(
            RunStarted(
                plan=plan,
                cap=settings.max_cost,
                output=", ".join(dict.fromkeys(str(root) for root in settings.roots.values())),
                emulated=settings.service == "emulator",
                committed=ledger.committed([batch.name for batch in request.batches]),
            )
        )
        async with _context(
            request, settings, ledger, policy, gateway=gateway, auth=auth
        ) as context:
            engine = Engine(context)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen, signals, engine, display, words)
                tasks.start_soon(_tick, display)
                if settings.deadline is not None:
                    tasks.start_soon(_deadline, engine, settings.deadline)
                run_result = await engine.run(plan)
                tasks.cancel_scope.cancel()
    return run_result


def _last_words(ledger: Ledger, command: str) -> str:
    """For who leaves before the books are closed."""
    count = len(ledger.open_attempts(*OPEN))
    requests = f"{count} request{'s' * (count != 1)}"
    return f"{requests} may be open at fal and billed; to go on: {command}"


@asynccontextmanager
async def _context(
    request: Request,
    settings: Settings,
    ledger: Ledger,
    policy: RunPolicy,
    *,
    gateway: str | None,
    auth: str,
) -> AsyncIterator[RunContext]:
    from kling_batch.fal.client import FalQueue  # noqa: PLC0415
    from kling_batch.fal.transport import GatewayTransport, connections  # noqa: PLC0415
    from kling_batch.fal.upload import FalUploader  # noqa: PLC0415
    from kling_batch.output.download import Downloader  # noqa: PLC0415 - the network stack loads late

    transport = GatewayTransport(gateway) if gateway else None
    async with connections(auth, transport) as (api, files):
        yield RunContext(
            ledger=ledger,
            queue=FalQueue(api),
            fetcher=Downloader(files),
            uploader=FalUploader(auth, gateway=gateway),
            store=store_of(settings),
            policy=policy,
            now=_now,
            rng=Random(),  # noqa: S311 - jitter, not a secret
            notify=request.display.notify,
            cost_of=cost_of,
            media=lambda endpoint: by_id(endpoint) is not None,
        )


async def _deadline(engine: Engine, seconds: float) -> None:
    await anyio.sleep(seconds)
    engine.leave(ExitCode.STILL_RUNNING, f"the time of this run ({seconds:.0f} s) is over")


async def _tick(display: Display) -> None:
    while True:
        display.tick(anyio.current_time())
        await anyio.sleep(0.25)
