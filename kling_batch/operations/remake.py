"""Renditions of what is saved already, without a run: `kling-batch renditions`.

Needs no key and sends nothing. Must not change a job or an attempt.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import anyio

from kling_batch.core.events import RenditionTotals, RunEvent
from kling_batch.core.jobs import Batch
from kling_batch.core.programs import forbidden_by
from kling_batch.errors import ExitCode, Place, Problem
from kling_batch.operations.forgotten import forget_unwanted
from kling_batch.operations.handled_signals import Signals
from kling_batch.operations.moving import rendering, require
from kling_batch.operations.received_signals import code_of, receiver
from kling_batch.operations.rendition_tasks import Task, known_tasks
from kling_batch.operations.renditions import THREADS, Renditions
from kling_batch.operations.services import edit_ledger
from kling_batch.output.spool import spool_of
from kling_batch.output.store import OutputStore
from kling_batch.output.worker import Threads
from kling_batch.planning.builder import as_decided
from kling_batch.renditions.ability import lack_of
from kling_batch.renditions.elsewhere import Elsewhere


def lacking(batches: Sequence[Batch]) -> Iterator[Problem]:
    """What of the recipes cannot be made here."""
    for batch in batches:
        for name, recipe in batch.renditions.items():
            if lack := lack_of(recipe):
                message = f"the rendition `{name}` cannot be made: {lack}"
                yield Problem(Place(batch.source), message, "rendition-lack")


def make_renditions(
    ledger: Path,
    batches: Sequence[Batch],
    *,
    notify: Callable[[RunEvent], None],
    command: str,
    select: Callable[[Batch], Batch] = lambda batch: batch,
    workers: int | None = None,
    again: Collection[str] = (),
    scheduler: str | None = None,
) -> tuple[RenditionTotals, ExitCode]:
    """Make what is missing of the saved files; what became of it, and the exit code.

    Args:
        ledger: of the run that saved them.
        batches: the manifests; none: what was made once and is missing now, of any manifest.
        notify: is told of each.
        command: for the ledger.
        select: the jobs whose files are meant.
        workers: processes at most; None: as the manifests say.
        again: stored names of renditions that are made again whatever lies there.
        scheduler: whose workers make them; None: this machine does.

    Raises:
        UsageError: there is a scheduler, and Dask is not installed; or nobody can say whether
            commands may be started.
        LedgerError: there is no ledger, or it is in use.
    """
    require(scheduler)
    forbidden_by(os.environ)
    store = OutputStore({}, ledger.parent, spool_of(ledger))
    wanted = [batch.limits.workers for batch in batches if batch.limits.workers]
    with edit_ledger(ledger, command) as edit:
        selected = [select(batch) for batch in as_decided(edit.ledger, batches)]
        maker = Renditions(
            edit.ledger,
            selected,
            store,
            worker=Threads(THREADS),
            notify=notify,
            workers=workers or min(wanted, default=None),
        )
        known = () if batches else known_tasks(edit.ledger, store, again)
        code = anyio.run(_make, maker, known, partial(rendering, scheduler, store, notify))
        if code is ExitCode.OK:
            forget_unwanted(edit.ledger, selected, store)
        if code is ExitCode.OK and (maker.totals.failed or maker.totals.left):
            code = ExitCode.SOME_FAILED
        edit.exit_code = code
    return maker.totals, code


async def _make(
    maker: Renditions,
    known: Iterable[Task],
    rendering: Callable[[], AbstractAsyncContextManager[Elsewhere | None]],
) -> ExitCode:
    stops: list[ExitCode] = []
    with receiver(Signals.PROCESS) as signals:
        async with rendering() as renderers, anyio.create_task_group() as tasks:
            if signals is not None:
                tasks.start_soon(_listen, signals, stops)
            if renderers is not None:
                maker.use(renderers)
            await tasks.start(maker.work)
            maker.add(known)
            await maker.drain(stopped=lambda: bool(stops))
            tasks.cancel_scope.cancel()
    return stops[0] if stops else ExitCode.OK


async def _listen(signals: AsyncIterator[signal.Signals], stops: list[ExitCode]) -> None:
    async for number in signals:
        stops.append(code_of(number))  # noqa: PERF401 - each as it comes
