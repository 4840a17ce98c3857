"""Task of a worker: renditions of one saved file, from the shared output to it.

The file is copied to the worker's disk and compared with what was saved; processes of their own
make what is wanted there, and only what is complete goes to the output: into a folder under a name
of this execution's own, which the coordinator replaces by the final one, into a store at once. So a
task may run twice. Must not know jobs, ledger or key, and writes no sidecar.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore
from uuid import uuid4

import anyio
from anyio import to_thread

from kling_batch.core.locations import ObjectAddress, is_address
from kling_batch.core.recipes import Kind, Recipe, recipe_of
from kling_batch.errors import UsageError
from kling_batch.output.files import (
    FileState,
    describe_error,
    digest_of,
    has_content,
    state_of,
    sync_file,
)
from kling_batch.output.store import fetch, put
from kling_batch.renditions.ability import lack_of
from kling_batch.renditions.make import Made, temporary_of
from kling_batch.renditions.pool import Failed, WorkerPool, blame, usual_workers, worker_pool
from kling_batch.workers.tasks import Answer, Stop, bounded, refusal_of, remove_old

#: Renditions that this worker makes at once, whoever wants them.
PLACES = usual_workers()
_PLACES = BoundedSemaphore(PLACES)
#: Threads of each encoder.
_THREADS = 2
#: Seconds between two looks for a place.
_LOOK = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One rendition: its recipe as text, and where it goes."""

    recipe: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RenderOrder:
    """A saved file, and what is to be made of it."""

    #: Of the coordinator; another one refuses.
    version: str
    source: str
    #: Of what was saved.
    sha256: str
    wanted: tuple[Wanted, ...]
    #: Seconds after which the work is given up.
    seconds: float

    def __repr__(self) -> str:
        # Schedulers and workers log arguments; the words of a command may be secrets.
        return f"<renditions of {self.source.rpartition('/')[2]}>"


def render(order: RenderOrder, *, spool: Path, stop: Stop) -> Answer:
    """Make renditions of a file; the answer tells of each, in their order.

    Args:
        order: of what, and where to.
        spool: the worker's own folder.
        stop: asked now and then.
    """
    if refusal := refusal_of(order.version):
        return refusal
    return bounded(partial(_render, order, spool), order.seconds, stop)


async def _render(order: RenderOrder, spool: Path) -> Answer:
    for at in (order.source, *(each.target for each in order.wanted)):
        if not is_address(at) and not Path(at).parent.is_dir():
            return {"absent": str(Path(at).parent)}
    with _own_folder(spool) as folder:
        source = folder / order.source.rpartition("/")[2]
        if error := await to_thread.run_sync(_copy, order, source):
            return {"error": error}
        await _place()
        try:
            async with worker_pool(1, _THREADS) as pool:
                made = [await _make(pool, order, each, source) for each in order.wanted]
        finally:
            _PLACES.release()
    return {"rendered": made, "places": PLACES}


@contextmanager
def _own_folder(spool: Path) -> Iterator[Path]:
    """A folder for this execution on the worker's disk."""
    spool.mkdir(parents=True, exist_ok=True)
    remove_old(spool)
    folder = spool / f".{uuid4().hex}.part"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _place() -> None:
    """Wait until this worker makes few enough; each task has a loop of its own."""
    while not _PLACES.acquire(blocking=False):  # noqa: ASYNC110 - an event is of one loop
        await anyio.sleep(_LOOK)


def _copy(order: RenderOrder, copy: Path) -> str:
    """Copy a saved file to this machine; why that is not possible, or empty."""
    try:
        if is_address(order.source):
            fetch(ObjectAddress(order.source), copy)
        else:
            shutil.copyfile(order.source, copy)
        intact = digest_of(copy) == order.sha256
    except OSError as error:
        return describe_error(error)
    return "" if intact else f"{copy.name} is not what was saved"


def _intact(copy: Path, state: FileState | None, sha256: str) -> bool:
    """Whether a copy is what was saved; one that a program has changed is removed."""
    try:
        if has_content(copy, state, sha256):
            return True
        copy.unlink(missing_ok=True)
    except OSError:  # no file any more, but a folder
        shutil.rmtree(copy, ignore_errors=True)
    return False


async def _make(pool: WorkerPool, order: RenderOrder, wanted: Wanted, source: Path) -> Answer:
    """What became of one rendition: `made`, `lacks` or `failed`."""
    recipe = recipe_of(wanted.recipe)
    try:
        lack = lack_of(recipe)
    except ImportError as error:
        lack = f"there is no {error.name} here"
    except UsageError as error:  # this worker's environment does not say whether it may
        lack = str(error)
    if lack:
        return {"lacks": lack}
    if not source.exists() and (why := await to_thread.run_sync(_copy, order, source)):
        return {"failed": why}
    plain = {"kind": recipe.kind.value, "ext": recipe.ext, **recipe.settings}
    local, state = source.with_name(wanted.target.rpartition("/")[2]), state_of(source)
    made = await pool.make(source, plain, local)
    try:
        intact = await to_thread.run_sync(_intact, source, state, order.sha256)
        if isinstance(made, Failed) or not intact:
            return _failed(recipe, made, intact=intact)
        return {
            "made": made,
            **await to_thread.run_sync(_deliver, local, wanted.target, made["sha256"]),
        }
    except OSError as error:
        return {"failed": describe_error(error)}
    finally:
        local.unlink(missing_ok=True)


def _failed(recipe: Recipe, made: Made | Failed, *, intact: bool) -> Answer:
    """Why a rendition is not made, or what was made does not count."""
    if isinstance(made, Failed) and intact and not made.changed_input:
        return {"failed": made.reason}
    if recipe.kind is Kind.COMMAND:
        return {"failed": blame(recipe.settings, made), "changed_input": True}
    return {"failed": "the file was changed while it was read"}


def _deliver(local: Path, target: str, digest: str) -> Answer:
    """Bring a rendition to the output."""
    if is_address(target):
        put(local, ObjectAddress(target), digest)
        return {}
    hidden = temporary_of(Path(target))
    try:
        shutil.copyfile(local, hidden)
        sync_file(hidden)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    return {"temporary": str(hidden)}
