"""Who moves the files of a run: this machine, or workers of a scheduler with this one behind them.

Dask is loaded only where `--scheduler` names one. Must not decide about jobs or money.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

from kling_batch.core.events import EventKind, RunEvent
from kling_batch.engine.context import DOWNLOADS
from kling_batch.output.download import Fetcher
from kling_batch.output.spool import spool_of
from kling_batch.output.store import OutputStore
from kling_batch.output.worker import FileWorker, Threads
from kling_batch.planning.builder import store_of
from kling_batch.renditions.elsewhere import Elsewhere
from kling_batch.settings import Settings

#: Threads that look at what workers have made, and give it its name.
RENDITION_THREADS = 8


class Moving(NamedTuple):
    """What moves files, as the engine's context has it."""

    fetcher: Fetcher
    store: OutputStore
    worker: FileWorker
    downloads: int = DOWNLOADS


def require(scheduler: str | None) -> None:
    """Raise `UsageError` where workers are asked for and Dask is not installed."""
    if scheduler is not None:
        from kling_batch.workers import dask  # noqa: PLC0415

        dask.require()


@asynccontextmanager
async def moving(
    settings: Settings,
    fetcher: Fetcher,
    worker: FileWorker,
    *,
    gateway: str | None,
    notify: Callable[[RunEvent], None],
    offer: Callable[[Elsewhere], None] | None = None,
) -> AsyncIterator[Moving]:
    """What moves the files of a run.

    Args:
        settings: of the run.
        fetcher: of this machine.
        worker: does file work here.
        gateway: the emulator's address; None for fal.
        notify: is told what goes wrong with workers.
        offer: is given workers that make renditions, where there are any.
    """
    here = Moving(fetcher=fetcher, store=store_of(settings), worker=worker)
    if settings.options.scheduler is None:
        yield here
        return
    from kling_batch.workers import coordinator, dask, renderers, trust  # noqa: PLC0415

    tell = partial(_tell, notify)
    async with dask.connected(settings.options.scheduler, tell) as cluster:
        if cluster is None:
            yield here
            return
        spool = spool_of(settings.ledger)
        trusted = trust.Trust(tell)
        workers = coordinator.Workers(cluster, fetcher, trusted, spool=spool, gateway=gateway)
        made = renderers.Renderers(cluster, trusted, here.store, Threads(RENDITION_THREADS))
        if offer is not None:
            offer(made)
        yield Moving(
            fetcher=workers,
            store=coordinator.WorkersStore(settings.roots, settings.ledger.parent, spool, workers),
            # While a worker puts a file, a thread here waits for it.
            worker=Threads(coordinator.MOST) if settings.in_stores else worker,
            downloads=coordinator.MOST,
        )
        workers.sweep()
        made.sweep()


@asynccontextmanager
async def rendering(
    scheduler: str | None, store: OutputStore, notify: Callable[[RunEvent], None]
) -> AsyncIterator[Elsewhere | None]:
    """Workers that make renditions without a run; None: this machine does."""
    if scheduler is None:
        yield None
        return
    from kling_batch.workers import dask, renderers, trust  # noqa: PLC0415

    tell = partial(_tell, notify)
    async with dask.connected(scheduler, tell) as cluster:
        if cluster is None:
            yield None
            return
        made = renderers.Renderers(cluster, trust.Trust(tell), store, Threads(RENDITION_THREADS))
        yield made
        made.sweep()


def _tell(notify: Callable[[RunEvent], None], sentence: str) -> None:
    notify(RunEvent(kind=EventKind.WARNING, message=sentence))
