"""Dask: gives tasks to the workers of a scheduler, and tells what becomes of them.

The only module that knows `distributed`, on both sides: it also runs on workers. Dask repeats tasks
of workers that it has lost and keeps nothing; the ledger remembers. Must not decide what an answer
is worth, and must not log an order.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import anyio

from kling_batch import __version__
from kling_batch.errors import UsageError
from kling_batch.workers import rendering, tasks
from kling_batch.workers.cluster import Done, LostTask
from kling_batch.workers.rendering import RenderOrder
from kling_batch.workers.tasks import Answer, FetchOrder, PutOrder

#: The scheduler inside this process.
LOCAL = "local"
#: Threads of the worker inside this process; each holds one file.
LOCAL_THREADS = 32
#: Downloads at once from one host, over all workers and all runs of a scheduler. Every run must say
#: the same number. A lease that is not renewed for half a minute is given to somebody else.
DOWNLOADS_PER_HOST = 64
#: Seconds until a scheduler must have answered, and between two looks at it.
CONNECT_SECONDS, PROBE_SECONDS, LOOK_SECONDS = 10.0, 10.0, 3.0
#: Seconds beyond an order's own, for its way and its turn.
GRACE_SECONDS = 30.0
#: Seconds that one question for a turn waits at the scheduler.
TURN_SECONDS = 60.0
#: Seconds that a farewell takes at most.
CLOSE_SECONDS = 5.0

Order: TypeAlias = FetchOrder | PutOrder | RenderOrder

_INSTALL = f"install kling-batch[dask] {__version__} on the scheduler's machine and on every worker"


def require() -> None:
    """Raise `UsageError` where the extra is not installed."""
    try:
        _distributed()
    except ImportError as error:
        raise UsageError(
            f"--scheduler needs Dask ({error}); install it: pip install 'kling-batch[dask]'"
        ) from None


def _distributed() -> Any:
    """The library; what it and its network library log would go through the display of the run."""
    # Who has loaded one before decides what it logs.
    quiet = [name for name in ("distributed", "tornado") if name not in sys.modules]
    import distributed  # noqa: PLC0415 - half a second, only with --scheduler

    if quiet:
        for name in list(logging.root.manager.loggerDict):
            if name.partition(".")[0] in quiet:
                logging.getLogger(name).handlers = [logging.NullHandler()]
    return distributed


@asynccontextmanager
async def connected(address: str, tell: Callable[[str], None]) -> AsyncIterator[DaskCluster | None]:
    """The workers of a scheduler, or of one in this process; None where it cannot be reached.

    Args:
        address: `tcp://host:port`, or `local`.
        tell: is told in a sentence what goes wrong.
    """
    library = _distributed()
    local = None
    if address == LOCAL:
        local = library.LocalCluster(
            processes=False,
            n_workers=1,
            threads_per_worker=LOCAL_THREADS,
            # An HTTP server comes with each; nobody else may see it.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            protocol="inproc://",
            asynchronous=True,
        )
    client = await _client(local or address, address, tell)
    cluster = None if client is None else DaskCluster(client, address, tell)
    try:
        if cluster is not None:
            await cluster.look()
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()
        # The files are where they belong: no error of a farewell matters.
        for farewell in (client and client.close, local and local.close):
            with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(Exception):
                if farewell:
                    await farewell()


async def _client(at: Any, address: str, tell: Callable[[str], None]) -> Any:
    library = _distributed()
    client = library.Client(
        at, asynchronous=True, timeout=CONNECT_SECONDS, set_as_default=False, name="kling-batch"
    )
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            if address == LOCAL:
                await at
            await client
    except Exception as error:  # noqa: BLE001 - whatever Dask raises, the run goes on here
        with suppress(Exception):
            await client.close(timeout=1)
        tell(
            f"the scheduler {address} cannot be reached ({type(error).__name__}); the files of "
            "this run are fetched on this machine"
        )
        return None
    if any(each.category.__name__ == "VersionMismatchWarning" for each in seen):
        tell(f"versions differ between this machine and those of {address}; {_INSTALL}")
    return client


class DaskCluster:
    """The workers of one scheduler, for one run."""

    def __init__(self, client: Any, address: str, tell: Callable[[str], None]) -> None:
        """`client` is connected."""
        self._client = client
        self._address = address
        self._tell = tell
        self._threads: dict[str, int] = {}
        self._turns: dict[str, Any] = {}
        self._gone = asyncio.Event()
        #: Set, and replaced, when a worker has left.
        self._fewer = asyncio.Event()
        self._watch = asyncio.ensure_future(self._watched())

    @property
    def places(self) -> int:
        """See `Cluster`."""
        return sum(self._threads.values()) or (1 if self._gone.is_set() else 0)

    @property
    def workers(self) -> Collection[str]:
        """See `Cluster`."""
        return self._threads.keys()

    async def fetch(self, order: FetchOrder, *, host: str, avoid: frozenset[str]) -> Done:
        """See `Cluster`."""
        return await self._guarded(self._fetch(order, host, avoid))

    async def _fetch(self, order: FetchOrder, host: str, avoid: frozenset[str]) -> Done:
        turn = await self._turn(host, order.seconds)
        try:
            return await self._run("fetch", order, order.seconds, avoid=avoid)
        finally:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(Exception):
                await _apart(turn.release())

    async def put(self, order: PutOrder, *, worker: str, avoid: frozenset[str]) -> Done:
        """See `Cluster`."""
        seconds = order.fetch.seconds
        return await self._guarded(self._run("put", order, seconds, avoid=avoid, prefer=worker))

    async def render(self, order: RenderOrder, *, worker: str, avoid: frozenset[str]) -> Done:
        """See `Cluster`."""
        work = self._run("render", order, order.seconds, avoid=avoid, prefer=worker)
        return await self._guarded(work)

    async def _guarded(self, work: Coroutine[Any, Any, Done]) -> Done:
        """The answer of a task; whatever Dask raises, the task is lost and the run goes on."""
        try:
            return await work
        except LostTask:
            raise
        except Exception as error:
            raise await self._explained(error) from error

    async def _turn(self, host: str, seconds: float) -> Any:
        """A lease for one download from a host."""
        self._check()
        if host not in self._turns:
            self._turns[host] = _distributed().Semaphore(
                DOWNLOADS_PER_HOST,
                name=f"kling-batch-{host}",
                scheduler_rpc=self._client.scheduler,
                loop=self._client.loop,
            )
        turn = self._turns[host]
        with anyio.move_on_after(seconds):
            while not await _apart(turn.acquire(timeout=TURN_SECONDS)):
                self._check()
            return turn
        raise LostTask(f"no turn to fetch from {host} came in {seconds:.0f} s")

    async def _run(
        self,
        kind: str,
        order: Order,
        seconds: float,
        *,
        avoid: frozenset[str],
        prefer: str = "",
    ) -> Done:
        self._check()
        usable = [worker for worker in self._threads if worker not in avoid]
        if not usable:
            raise LostTask(f"the scheduler {self._address} has no worker that can take files")
        chosen = [prefer] if prefer in usable else usable if avoid else None
        # By `map`, since only the paid POST is called `submit` here (test_architecture).
        (future,) = self._client.map(
            on_worker,
            [order],
            key=[f"kling-batch-{kind}-{uuid4().hex}"],
            pure=False,
            workers=chosen,
            allow_other_workers=chosen == [prefer],
        )
        takers = None if chosen in (None, [prefer]) else frozenset(usable)
        # Not awaited itself: where Dask has lost a task, that would look like a cancellation here.
        result = asyncio.ensure_future(future.result())
        result.add_done_callback(lambda each: each.cancelled() or each.exception())
        try:
            with anyio.move_on_after(seconds + GRACE_SECONDS):
                await self._end_of(result, takers)
            return await self._ended(result, seconds)
        finally:
            result.cancel()
            future.release()  # nobody waits: what has not begun never begins, the rest stops

    async def _end_of(self, result: asyncio.Future[Any], takers: frozenset[str] | None) -> None:
        """Wait for a task, as long as anybody is there who may do it; None: whoever there is."""
        while not result.done() and not self._gone.is_set():
            if self._threads.keys().isdisjoint(self._threads if takers is None else takers):
                raise LostTask(f"the scheduler {self._address} has lost the workers of a task")
            fewer = asyncio.ensure_future(self._fewer.wait())
            try:
                await asyncio.wait({result, fewer}, return_when="FIRST_COMPLETED")
            finally:
                fewer.cancel()

    async def _ended(self, result: asyncio.Future[Any], seconds: float) -> Done:
        if not result.done():
            self._check()
            raise LostTask(f"a worker did not answer in {seconds + GRACE_SECONDS:.0f} s")
        if result.cancelled():
            raise await self._explained(None)
        if (error := result.exception()) is not None:
            raise await self._explained(error)
        answer: Answer = result.result()
        return Done(str(answer.pop("worker")), answer)

    async def _explained(self, error: BaseException | None) -> LostTask:
        """Why a task has no answer."""
        await self.look()
        if self._gone.is_set():
            return self._ending()
        if error is None:
            return LostTask(f"the scheduler {self._address} has lost a task")
        if isinstance(error, _distributed().KilledWorker):
            return LostTask("a task was given up: each worker that took it has died")
        return LostTask(
            f"the workers of {self._address} cannot run kling-batch ({type(error).__name__}); "
            f"{_INSTALL}"
        )

    # -- the scheduler -------------------------------------------------------------------------

    def _ending(self) -> LostTask:
        return LostTask(f"the scheduler {self._address} is gone", gone=True)

    def _check(self) -> None:
        if self._gone.is_set():
            raise self._ending()

    async def _watched(self) -> None:
        while not self._gone.is_set():
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Ask the scheduler who is there; one that does not answer twice is gone."""
        for _ in range(2):
            threads: dict[str, int] | None = None
            with suppress(Exception):  # no answer, whatever Dask calls it
                asked = self._client.scheduler.identity(n_workers=-1)
                found = (await _apart(asked, PROBE_SECONDS))["workers"]
                threads = {address: int(each["nthreads"]) for address, each in found.items()}
            if threads is not None:
                self._seen(threads)
                return
        self._gone.set()
        self._wake()

    def _seen(self, threads: dict[str, int]) -> None:
        for worker in sorted(self._threads.keys() - threads.keys()):
            self._tell(f"the worker {worker} has left; what it had begun is done again")
        left = not self._threads.keys() <= threads.keys()
        self._threads = threads
        if left:
            self._wake()

    def _wake(self) -> None:
        """Let everybody who waits for a task look who is there."""
        fewer, self._fewer = self._fewer, asyncio.Event()
        fewer.set()

    def close(self) -> None:
        """Look no more; what workers still do ends with the client."""
        self._watch.cancel()


async def _apart(awaitable: Awaitable[Any], seconds: float | None = None) -> Any:
    """The result of what Dask does, in a task of its own.

    Dask cancels what it has lost; here that would look like a cancellation of the run.
    """
    inner = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait({inner}, timeout=seconds)
    finally:
        unfinished = not inner.done()
        inner.cancel()
    if unfinished or inner.cancelled():
        raise TimeoutError
    return inner.result()


def on_worker(order: Order) -> Answer:
    """One task, in a thread of a worker."""
    worker = _distributed().get_worker()
    known, key = worker.state.tasks, worker.get_current_task()

    def ended() -> bool:
        """Whether nobody waits: the run has let go of the task, or is gone itself."""
        task = known.get(key)
        wanted = task is not None and task.state == "executing"
        return not wanted or worker.status.name in ("closing", "closed", "failed")

    spool = Path(worker.local_directory) / "kling-batch"
    if isinstance(order, RenderOrder):
        answer = rendering.render(order, spool=spool, stop=ended)
    elif isinstance(order, PutOrder):
        answer = tasks.put(order, spool=spool, stop=ended)
    else:
        answer = tasks.fetch(order, spool=spool, stop=ended)
    return {**answer, "worker": worker.address}
