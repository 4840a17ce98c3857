"""Tasks of a worker: fetch a file of a render to shared or local disk, put it into a store.

Each may run twice, at once or one after the other, on any machine: every execution writes under a
name of its own, and the coordinator uses the file of the one whose answer it got. Answers are small
dictionaries, failures among them; no task raises. Must not log an address, and reaches neither
fal's queue, nor the key, nor the ledger.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import anyio
from anyio import to_thread

from kling_batch import __version__
from kling_batch.core.locations import ObjectAddress
from kling_batch.core.outcomes import Fetched, FetchOutcome, Gone, RemoteFile
from kling_batch.output.download import Downloader
from kling_batch.output.files import describe_error
from kling_batch.output.part_origin import remove_part
from kling_batch.output.spool import holds as spool_holds
from kling_batch.output.store import put as put_into_store
from kling_batch.output.store_errors import StoreError
from kling_batch.output.worker import Threads
from kling_batch.wire.protocol import Wire
from kling_batch.wire.routes import Gateway, for_files, network

Answer: TypeAlias = dict[str, Any]
"""What comes back: `fetched`, `put` or `rendered`, else why not (`gone`, `unfetched`, `absent`,
`refused`, `error`).
"""

Stop: TypeAlias = Callable[[], bool]
"""Whether the work is wanted no more."""

#: Seconds between two questions whether the work is still wanted.
STOP_SECONDS = 0.5
#: Seconds after which a worker removes what its coordinator never came back for.
LEFT_SECONDS = 86400.0
#: Between the name that the coordinator has given and the part that is this execution's own.
MARK = ".w"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FetchOrder:
    """A file of a render, and where it goes."""

    #: Of the coordinator; another one refuses.
    version: str
    file: RemoteFile
    #: The name that executions add their own part to; None: the worker's own disk.
    temporary: str | None
    #: The address of an emulator; None: fal.
    gateway: str | None
    #: Seconds after which the work is given up.
    seconds: float

    def __repr__(self) -> str:
        # Schedulers and workers log arguments; the address of a file opens it.
        return f"<fetch {Path(self.temporary or 'a file').name}>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PutOrder:
    """A fetched file, and the object that it becomes."""

    #: How to get it again, where it is another worker's.
    fetch: FetchOrder
    fetched: Fetched
    target: str

    def __repr__(self) -> str:
        return f"<put {self.target.rpartition('/')[2]}>"


def fetch(order: FetchOrder, *, spool: Path, stop: Stop) -> Answer:
    """Fetch a file under a name of this execution's own.

    Args:
        order: what, and where to.
        spool: the worker's own folder, for what goes on into a store.
        stop: asked now and then.
    """
    if refusal := refusal_of(order.version):
        return refusal
    return bounded(partial(_fetch, order, spool), order.seconds, stop)


def put(order: PutOrder, *, spool: Path, stop: Stop) -> Answer:
    """Put a fetched file into its store; one that is not here is fetched again before."""
    if refusal := refusal_of(order.fetch.version):
        return refusal
    return bounded(partial(_put, order, spool), order.fetch.seconds, stop)


def refusal_of(version: str) -> Answer | None:
    """Why this worker does nothing for a coordinator of another version; None: it is the same."""
    if version == __version__:
        return None
    return {"refused": f"it has kling-batch {__version__}, and this machine {version}"}


def bounded(work: Callable[[], Any], seconds: float, stop: Stop) -> Answer:
    """The answer of a coroutine in a loop of its own; an end is a value, whatever it is."""
    try:
        # A worker in the coordinator's own process inherits that anyio has a loop already.
        run = partial(anyio.run, _unless_stopped, work, seconds, stop, backend="asyncio")
        answer: Answer = Context().run(run)
    except Exception as error:  # noqa: BLE001 - a traceback in a worker's log may quote an address
        return {"error": _plain(error)}
    return answer


async def _unless_stopped(work: Callable[[], Any], seconds: float, stop: Stop) -> Answer:
    answer: Answer = {"error": "the run that wanted it has ended"}
    with anyio.move_on_after(seconds) as limit:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, stop, tasks.cancel_scope)
            answer = await work()
            tasks.cancel_scope.cancel()
    if limit.cancelled_caught:
        return {"error": f"it took more than {seconds:.0f} s"}
    return answer


async def _watch(stop: Stop, scope: anyio.CancelScope) -> None:
    while True:
        await anyio.sleep(STOP_SECONDS)
        if stop():
            scope.cancel()


async def _fetch(order: FetchOrder, spool: Path) -> Answer:
    path = await to_thread.run_sync(_own_name, order, spool)
    if not path.parent.is_dir():
        return {"absent": str(path.parent)}
    outcome: FetchOutcome | None = None
    try:
        outcome = await _download(order, path)
    finally:
        if not isinstance(outcome, Fetched):
            remove_part(path)
    if isinstance(outcome, Fetched):
        return {"fetched": asdict(outcome)}
    if isinstance(outcome, Gone):
        return {"gone": outcome.reason}
    return {"unfetched": outcome.reason, "outage": outcome.outage}


def _own_name(order: FetchOrder, spool: Path) -> Path:
    """A name that no other execution has, beside the one that the coordinator has given."""
    if order.temporary is not None:
        given = Path(order.temporary)
        return given.with_name(f"{given.stem}{MARK}{uuid4().hex[:8]}.part")
    spool.mkdir(parents=True, exist_ok=True)
    remove_old(spool)
    return spool / f".{uuid4().hex}.part"


def remove_old(spool: Path) -> None:
    """Remove what was to go into a store, and whose coordinator never came back for it."""
    for path in spool.glob(".*.part"):
        if time.time() - path.stat().st_mtime > LEFT_SECONDS:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


async def _download(order: FetchOrder, path: Path) -> FetchOutcome:
    async with network(direct=order.gateway is not None) as sockets:
        wire: Wire = sockets if order.gateway is None else Gateway(sockets, order.gateway)
        agent = {"User-Agent": f"kling-batch/{__version__}"}
        # The store gets it next.
        downloader = Downloader(for_files(wire, agent), Threads(1), cached=True)
        return await downloader.fetch(order.file, path)


async def _put(order: PutOrder, spool: Path) -> Answer:
    item = order.fetched
    path = Path(item.temporary)
    if not await to_thread.run_sync(spool_holds, path, item):
        path.unlink(missing_ok=True)
        again = await _fetch(order.fetch, spool)
        if "fetched" not in again:
            return again
        path = Path(again["fetched"]["temporary"])
        if again["fetched"]["sha256"] != item.sha256:
            path.unlink(missing_ok=True)
            return {"error": "fal sent another file than before"}
    try:
        target = ObjectAddress(order.target)
        await to_thread.run_sync(put_into_store, path, target, item.sha256)
    except StoreError as error:
        return {"error": describe_error(error), "passing": error.passing}
    except OSError as error:
        return {"error": describe_error(error)}
    path.unlink(missing_ok=True)
    return {"put": {"path": order.target, "sha256": item.sha256, "size": item.size}}


def _plain(error: BaseException) -> str:
    """The kind of an error; its text may quote an address."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return describe_error(error) if isinstance(error, OSError) else type(error).__name__


__all__ = [
    "MARK",
    "Answer",
    "FetchOrder",
    "PutOrder",
    "Stop",
    "bounded",
    "fetch",
    "put",
    "refusal_of",
    "remove_old",
]
