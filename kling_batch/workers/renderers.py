"""Renditions made by workers, as a run sees them: given out by file, looked at, and named.

What a worker has not made is made here, and every fault costs time only. A rendition counts when
this machine finds it, under its final name. Must not write ledger or sidecars.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from kling_batch import __version__
from kling_batch.core.locations import Location
from kling_batch.core.recipes import Kind
from kling_batch.core.wakeup import Wakeup
from kling_batch.output.store import OutputStore, put
from kling_batch.output.worker import FileWorker
from kling_batch.renditions.elsewhere import RenditionOrder, Unmade
from kling_batch.renditions.make import Made, remove_leftovers
from kling_batch.workers.cluster import Cluster, Done, LostTask
from kling_batch.workers.rendering import RenderOrder, Wanted
from kling_batch.workers.tasks import Answer
from kling_batch.workers.trust import FAILURES, Trust, visible

#: Files whose renditions are out at most.
MOST = 256
#: Seconds after which a rendition is given up and made here; a command has its own limit.
RENDITION_SECONDS = 900.0
#: Seconds after which those that wait for a worker look who is there: workers come and go untold.
LOOK_SECONDS = 1.0
#: Renditions that a worker of which nothing is known yet is thought to make at once.
_UNKNOWN = 1
_REST = "the renditions of this run are made on this machine"


@dataclass(slots=True)
class Renderers:
    """Lets workers make renditions.

    Args:
        cluster: takes the tasks.
        trust: what is known of its workers.
        store: where the files lie.
        worker: does here what blocks.
    """

    cluster: Cluster
    trust: Trust
    store: OutputStore
    worker: FileWorker
    #: Tasks that each worker has.
    _out: Counter[str] = field(default_factory=Counter)
    #: Renditions that each worker makes at once, as it has said.
    _places: dict[str, int] = field(default_factory=dict)
    #: Workers that cannot follow a recipe, by its text.
    _lacking: dict[str, set[str]] = field(default_factory=dict)
    #: Workers that make no renditions any more.
    _unfit: set[str] = field(default_factory=set)
    _failures: Counter[str] = field(default_factory=Counter)
    #: Targets of tasks that are lost: something may be left of them.
    _left: list[Path] = field(default_factory=list)
    #: A worker has finished a task.
    _freed: Wakeup = field(default_factory=Wakeup)
    #: Files whose renditions are out at most.
    most: int = MOST

    async def make(
        self, source: Location, sha256: str, orders: Sequence[RenditionOrder]
    ) -> list[Made | Unmade]:
        """Make renditions of one file; what is not made is to be made here.

        Raises:
            OSError: what was made cannot get its name, or the store cannot be asked.
        """
        found: list[Made | Unmade] = [Unmade()] * len(orders)
        left = [*range(len(orders))]
        while left and (chosen := await self._turn([orders[n] for n in left])):
            asked = [n for n in left if self._able(chosen, orders[n])]
            done = None
            try:
                with self._taken(chosen):
                    done = await self._ask(chosen, source, sha256, [orders[n] for n in asked])
            finally:  # also where nobody waits any more
                if done is None:
                    self._may_be_left(orders)
            if done is None:
                break
            for number, answer in zip(asked, done.answer["rendered"], strict=True):
                found[number] = await self._judged(done.worker, orders[number], answer)
                if "lacks" not in answer:
                    left.remove(number)
        return found

    async def _turn(self, orders: Sequence[RenditionOrder]) -> str | None:
        """The worker whose turn it is, once one has room; None: nobody can make any of it."""
        while not self.trust.gone:
            if not self.cluster.workers:
                self.trust.say("the scheduler has no worker; done on this machine")
                return None
            avoided = self.trust.avoided | self._unfit
            there = [w for w in self.cluster.workers if w not in avoided]
            able = [w for w in there if any(self._able(w, order) for order in orders)]
            if not able:
                return None
            best = min(able, key=lambda w: self._out[w] / self._room(w))
            if self._out[best] < self._room(best):
                return best
            with anyio.move_on_after(LOOK_SECONDS):
                await self._freed.wait()
        return None

    def _room(self, worker: str) -> int:
        """Tasks that a worker has at most: one copies its file while the others are made."""
        return self._places.get(worker, _UNKNOWN) + 1

    def _able(self, worker: str, order: RenditionOrder) -> bool:
        return worker not in self._lacking.get(order[0].text, ())

    @contextmanager
    def _taken(self, worker: str) -> Iterator[None]:
        self._out[worker] += 1
        try:
            yield
        finally:
            self._out[worker] -= 1
            self._freed.wake()

    async def _ask(
        self, worker: str, source: Location, sha256: str, orders: Sequence[RenditionOrder]
    ) -> Done | None:
        order = RenderOrder(
            version=__version__,
            source=_address(source),
            sha256=sha256,
            wanted=tuple(Wanted(recipe=recipe.text, target=_address(at)) for recipe, at in orders),
            seconds=sum(map(_seconds, orders)),
        )
        avoid = self.trust.avoided | self._unfit
        try:
            done = await self.cluster.render(order, worker=worker, avoid=avoid)
        except LostTask as lost:
            self.trust.lost(lost, rest=_REST)
            return None
        if "rendered" in done.answer:
            self._places[done.worker] = int(done.answer["places"])
            return done
        if "error" in done.answer:
            self._count(done.worker, str(done.answer["error"]))
        else:
            self.trust.failed(done.worker, done.answer)
        return None

    async def _judged(self, worker: str, order: RenditionOrder, answer: Answer) -> Made | Unmade:
        match answer:
            case {"made": {"sha256": str(digest), "size": int(size), "content_type": str(kind)}}:
                made = Made(sha256=digest, size=size, content_type=kind)
                return await self._named(worker, order, made, answer)
            case {"lacks": str(lack)}:
                self._lacking.setdefault(order[0].text, set()).add(worker)
                there = f"{lack.removesuffix(' here')} on the worker {worker}"
                self.trust.say(f"{there}; such renditions are made elsewhere")
                return Unmade()
            case _:
                reason = str(answer.get("failed", "no answer"))
                return Unmade(worker, reason, answer.get("changed_input") is True)

    async def _named(
        self, worker: str, order: RenditionOrder, made: Made, answer: Answer
    ) -> Made | Unmade:
        """Give what a worker has made its name, if this machine finds it."""
        _, target = order
        if isinstance(target, Path):
            hidden = Path(str(answer.get("temporary")))
            if hidden.parent == target.absolute().parent and await visible(hidden, made["size"]):
                await self.worker.run(put, hidden, target, made["sha256"])
                return made
        elif await self.worker.run(self.store.intact, target, made["size"], made["sha256"]):
            return made
        self.trust.refuse(worker, "puts files where this machine does not find them")
        return Unmade()

    # -- what goes wrong -----------------------------------------------------------------------

    def made_here(self, unmade: Unmade) -> None:
        """This machine has made what a worker could not: the fault was the worker's."""
        if unmade.worker:
            self._count(unmade.worker, unmade.reason)

    def _count(self, worker: str, reason: str) -> None:
        self._failures[worker] += 1
        if self._failures[worker] < FAILURES:
            self.trust.say(
                f"the worker {worker} could not make a rendition ({reason}); made on this machine"
            )
        elif worker not in self._unfit:
            self._unfit.add(worker)
            self.trust.say(
                f"the worker {worker} failed {FAILURES} times ({reason}); it makes no more "
                "renditions in this run"
            )

    def _may_be_left(self, orders: Sequence[RenditionOrder]) -> None:
        for _, target in orders:
            if isinstance(target, Path):
                self._left.append(target)

    def sweep(self) -> None:
        """Remove what killed workers have left."""
        for target in self._left:
            remove_leftovers(target)
        self._left.clear()


def _seconds(order: RenditionOrder) -> float:
    recipe, _ = order
    command = recipe.kind is Kind.COMMAND
    return float(recipe.settings["timeout"]) if command else RENDITION_SECONDS


def _address(at: Location) -> str:
    return str(at.absolute()) if isinstance(at, Path) else str(at)
