"""Files of renders moved by workers, as the engine sees it: a fetcher and a store.

Gives tasks out, looks at what they left before it is believed, and does here what they do not do:
every fault of a worker costs time and is told in one sentence (`trust.py`). Knows workers by the
protocol `Cluster` only. Must not publish names in folders, and reaches neither ledger nor money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
from anyio import from_thread

from kling_batch import __version__
from kling_batch.core.locations import Location, ObjectAddress
from kling_batch.core.outcomes import Fetched, FetchOutcome, Gone, RemoteFile, Unfetched
from kling_batch.core.urls import host_of
from kling_batch.output.download import Fetcher
from kling_batch.output.store import OutputStore
from kling_batch.output.store_errors import StoreError
from kling_batch.workers.cluster import Cluster, Done, LostTask
from kling_batch.workers.tasks import MARK, FetchOrder, PutOrder
from kling_batch.workers.trust import Trust, visible

#: Files that are fetched here at once, where workers do not.
HERE = 8
#: Tasks that are out at most, however many threads the workers have.
MOST = 256
#: Seconds after which a task is given up and done here.
TASK_SECONDS = 900.0
#: What follows where the scheduler is gone.
_REST = "the files of this run are fetched on this machine"


@dataclass(slots=True)
class Workers:
    """Gives files to workers, and does here what they do not do."""

    cluster: Cluster
    local: Fetcher
    trust: Trust
    #: Where files wait that a store is to have.
    spool: Path
    gateway: str | None = None
    seconds: float = TASK_SECONDS
    #: Files whose next try is made here.
    _here: set[Path] = field(default_factory=set)
    #: Files that lie on the disk of a worker, on their way into a store.
    _there: dict[Path, tuple[str, FetchOrder, Fetched]] = field(default_factory=dict)
    #: Names given out, whose leftovers are removed at the end.
    _given: set[Path] = field(default_factory=set)
    _local_turns: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(HERE))
    _turns: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

    # -- fetching ------------------------------------------------------------------------------

    async def fetch(self, file: RemoteFile, temporary: Path) -> FetchOutcome:
        """See `Fetcher.fetch`: one try, by a worker; or here, where one has failed."""
        begun = temporary.exists()  # an earlier run without workers; it goes on with its bytes
        if self.trust.gone or begun or temporary in self._here or file.url.startswith("data:"):
            return await self._fetch_here(file, temporary)
        order = self._order(file, temporary)
        try:
            async with self._place():
                done = await self.cluster.fetch(
                    order, host=host_of(file.url), avoid=self.trust.avoided
                )
        except LostTask as lost:
            self.trust.lost(lost, rest=_REST)
            return await self._fetch_here(file, temporary)
        outcome = await self._judged(done, order, temporary)
        if outcome is None:
            return await self._fetch_here(file, temporary)
        if not isinstance(outcome, Fetched):
            self._here.add(temporary)  # it may be this worker's network alone
        return outcome

    def _place(self) -> anyio.CapacityLimiter:
        places = min(MOST, self.cluster.places)
        if places < 1:
            raise LostTask("the scheduler has no worker")
        self._turns.total_tokens = places
        return self._turns

    async def _fetch_here(self, file: RemoteFile, temporary: Path) -> FetchOutcome:
        self._here.discard(temporary)
        async with self._local_turns:
            return await self.local.fetch(file, temporary)

    def _order(self, file: RemoteFile, temporary: Path) -> FetchOrder:
        shared = temporary.parent != self.spool
        self._given.add(temporary)
        return FetchOrder(
            version=__version__,
            file=file,
            temporary=str(temporary.absolute()) if shared else None,
            gateway=self.gateway,
            seconds=self.seconds,
        )

    async def _judged(self, done: Done, order: FetchOrder, temporary: Path) -> FetchOutcome | None:
        """What an answer is worth; None: nothing, and it is told why."""
        match done.answer:
            case {"fetched": dict(facts)}:
                fetched = Fetched(**facts)
            case {"gone": str(reason)}:
                return Gone(reason)
            case {"unfetched": str(reason), "outage": bool(outage)}:
                return Unfetched(reason, outage=outage)
            case answer:
                self.trust.failed(done.worker, answer)
                return None
        if order.temporary is None:
            self._there[temporary] = done.worker, order, fetched
            return replace(fetched, temporary=str(temporary))
        path = Path(fetched.temporary)
        ours = path.parent == Path(order.temporary).parent
        if ours and await visible(path, fetched.size):
            return fetched
        self.trust.failed(done.worker, {"absent": str(temporary.parent)})
        return None

    # -- putting -------------------------------------------------------------------------------

    def on_worker(self, temporary: Path) -> bool:
        """Whether a fetched file lies on a worker's disk."""
        return temporary in self._there

    async def put(self, temporary: Path, final: ObjectAddress) -> bool:
        """Let the worker that has a file put it; False: the file is here now, and is put here.

        Raises:
            StoreError: the store does not take it for now.
            OSError: the file cannot be had again.
        """
        worker, order, fetched = self._there[temporary]
        if not self.trust.gone:
            try:
                done = await self.cluster.put(
                    PutOrder(fetch=order, fetched=fetched, target=str(final)),
                    worker=worker,
                    avoid=self.trust.avoided,
                )
            except LostTask as lost:
                self.trust.lost(lost, rest=_REST)
            else:
                if "put" in done.answer:
                    return True
                self._put_failed(done, temporary, final)
        await self._bring_here(order.file, temporary, fetched, final)
        return False

    def _put_failed(self, done: Done, temporary: Path, final: ObjectAddress) -> None:
        """Tell why; a store that is busy is tried once more from there."""
        if done.answer.get("passing") and temporary not in self._here:
            self._here.add(temporary)
            raise StoreError(str(done.answer["error"]), final, passing=True)
        self.trust.failed(done.worker, done.answer)

    async def _bring_here(
        self, file: RemoteFile, temporary: Path, fetched: Fetched, final: ObjectAddress
    ) -> None:
        outcome = await self._fetch_here(file, temporary)
        if isinstance(outcome, Fetched) and outcome.sha256 == fetched.sha256:
            self.forget(temporary)
            return
        reason = "fal sent another file than before"
        if not isinstance(outcome, Fetched):
            reason = outcome.reason
        raise StoreError(f"could not be fetched again: {reason}", final, passing=True)

    def forget(self, temporary: Path) -> None:
        """The file is where it belongs, or here."""
        self._there.pop(temporary, None)

    def size(self, temporary: Path) -> int:
        """The size of a file that lies on a worker's disk."""
        return self._there[temporary][2].size

    async def take_back(self, temporary: Path, final: ObjectAddress) -> None:
        """Fetch what a worker says that it has put, and this machine does not find.

        Raises:
            OSError: the file cannot be had again.
        """
        worker, order, fetched = self._there[temporary]
        self.trust.refuse(worker, "puts files where this machine does not find them")
        await self._bring_here(order.file, temporary, fetched, final)

    def sweep(self) -> None:
        """Remove what killed workers left of files that this run has asked for."""
        by_folder: dict[Path, set[str]] = {}
        for temporary in self._given:
            if temporary.parent != self.spool:
                by_folder.setdefault(temporary.parent, set()).add(temporary.stem)
        for folder, stems in by_folder.items():
            for path in folder.glob(f".*{MARK}*.part"):
                if path.name.rpartition(MARK)[0] in stems:
                    path.unlink(missing_ok=True)


class WorkersStore(OutputStore):
    """Store of a run with workers: what they have fetched, they put."""

    def __init__(
        self, roots: Mapping[str, Location], base: Path, spool: Path, workers: Workers
    ) -> None:
        """See `OutputStore`."""
        super().__init__(roots, base, spool)
        self._workers = workers

    def downloaded(self, fetched: Fetched, attempt: int) -> None:
        """See `OutputStore.downloaded`; what lies on a worker is not noted here."""
        if not self._workers.on_worker(Path(fetched.temporary)):
            super().downloaded(fetched, attempt)

    def _rename(self, temporary: Path, final: Location, sha256: str) -> None:
        """Called in a thread of the run's loop."""
        workers = self._workers
        if not isinstance(final, ObjectAddress) or not workers.on_worker(temporary):
            super()._rename(temporary, final, sha256)
            return
        if from_thread.run(workers.put, temporary, final):
            if self.size(final) == workers.size(temporary):
                workers.forget(temporary)
                return
            from_thread.run(workers.take_back, temporary, final)
        super()._rename(temporary, final, sha256)
