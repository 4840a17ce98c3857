"""Renditions by workers: what they make is believed once it is seen, the rest is made here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from fsspec.implementations.memory import MemoryFileSystem
from support.stores import empty_memory

from kling_batch.core.locations import Location, ObjectAddress
from kling_batch.core.recipes import Recipe
from kling_batch.manifest.recipes import read_recipe
from kling_batch.output.store import OutputStore
from kling_batch.output.worker import InLoop
from kling_batch.renditions.elsewhere import Unmade
from kling_batch.workers.cluster import Done, LostTask
from kling_batch.workers.renderers import Renderers
from kling_batch.workers.rendering import RenderOrder
from kling_batch.workers.tasks import FetchOrder, PutOrder
from kling_batch.workers.trust import Trust

DATA = b"a poster"
MADE = {"sha256": sha256(DATA).hexdigest(), "size": len(DATA), "content_type": "image/jpeg"}
A, B = "tcp://10.0.0.1:4000", "tcp://10.0.0.2:4000"
POSTER, WEB = read_recipe({"format": "jpg"}), read_recipe({"format": "mp4"})
COMMAND = read_recipe({"command": ["x", "{input}", "{output}"], "ext": ".bin", "timeout": 7})

Answers = Callable[[str, RenderOrder], dict[str, Any]]


def makes(_worker: str, order: RenderOrder, places: int = 1) -> dict[str, Any]:
    """A worker that does what it should."""
    rendered = []
    for each in order.wanted:
        hidden = Path(each.target).with_name(f".{Path(each.target).stem}.01234567.part.jpg")
        hidden.write_bytes(DATA)
        rendered.append({"made": MADE, "temporary": str(hidden)})
    return {"rendered": rendered, "places": places}


@dataclass
class FakeCluster:
    """Answers as a test says; remembers what it was asked."""

    answers: Answers = makes
    workers: tuple[str, ...] = (A, B)
    places: int = 8
    asked: list[tuple[str, RenderOrder]] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    async def render(self, order: RenderOrder, *, worker: str, avoid: frozenset[str]) -> Done:
        assert worker not in avoid
        self.asked.append((worker, order))
        self.running[worker] = self.running.get(worker, 0) + 1
        self.most[worker] = max(self.most.get(worker, 0), self.running[worker])
        await anyio.sleep(1)
        self.running[worker] -= 1
        return Done(worker, self.answers(worker, order))

    async def fetch(self, order: FetchOrder, *, host: str, avoid: frozenset[str]) -> Done:
        raise NotImplementedError

    async def put(self, order: PutOrder, *, worker: str, avoid: frozenset[str]) -> Done:
        raise NotImplementedError


class Maker:
    """Renderers over a fake cluster, with what they told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = FakeCluster()
        self.told: list[str] = []
        self.trust = Trust(self.told.append)
        store = OutputStore({}, folder)
        self.renderers = Renderers(self.cluster, self.trust, store, InLoop())

    def make(
        self, *recipes: Recipe, files: int = 1, root: Location | None = None
    ) -> list[list[Any]]:
        """Make these renditions of so many files at once, in virtual time."""
        found: dict[int, list[Any]] = {}
        base = root or self.folder

        async def one(number: int) -> None:
            orders = [(r, base / f"hero-{number}.{n}{r.ext}") for n, r in enumerate(recipes)]
            found[number] = await self.renderers.make(base / f"hero-{number}.mp4", "d", orders)

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                for number in range(files):
                    tasks.start_soon(one, number)

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        return [found[number] for number in range(files)]


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def test_what_a_worker_has_made_gets_its_name_here(maker: Maker) -> None:
    assert maker.make(POSTER, WEB) == [[MADE, MADE]]

    assert {path.name for path in maker.folder.iterdir()} == {"hero-0.0.jpg", "hero-0.1.mp4"}
    assert (maker.folder / "hero-0.0.jpg").read_bytes() == DATA
    ((_, order),) = maker.cluster.asked
    assert order.source == str(maker.folder / "hero-0.mp4")
    assert maker.told == []


def test_workers_get_as_many_files_as_they_have_places_and_one_more(maker: Maker) -> None:
    maker.cluster.answers = lambda worker, order: makes(worker, order, 3 if worker == B else 1)

    maker.make(POSTER, files=60)

    assert maker.cluster.most == {A: 2, B: 4}
    shares = [worker for worker, _ in maker.cluster.asked]
    assert shares.count(B) > 1.5 * shares.count(A) > 0
    assert len(shares) == 60


@pytest.mark.parametrize("where", ["nowhere", "outside", "short"])
def test_what_this_machine_does_not_find_is_not_believed(maker: Maker, where: str) -> None:
    def misplaced(worker: str, order: RenderOrder) -> dict[str, Any]:
        answer = makes(worker, order)
        path = Path(answer["rendered"][0]["temporary"])
        if where == "nowhere":
            path.unlink()
        elif where == "outside":
            (maker.folder / "other").mkdir(exist_ok=True)
            answer["rendered"][0]["temporary"] = str(path.rename(maker.folder / "other" / "x"))
        else:
            path.write_bytes(DATA[:3])
        return answer

    maker.cluster.answers, maker.cluster.workers = misplaced, (A,)

    assert maker.make(POSTER) == [[Unmade()]]
    assert not (maker.folder / "hero-0.0.jpg").exists()
    (told,) = maker.told
    assert told.startswith(f"the worker {A} puts files where this machine does not find them; ")
    assert maker.make(POSTER) == [[Unmade()]]
    assert len(maker.cluster.asked) == 1


@pytest.mark.parametrize(("content", "believed"), [(DATA, True), (b"a p0ster", False)])
def test_of_a_store_the_content_is_compared(maker: Maker, content: bytes, believed: bool) -> None:
    def puts(_worker: str, _order: RenderOrder) -> dict[str, Any]:
        MemoryFileSystem().pipe_file("/assets/spring/hero-0.0.jpg", content)
        return {"rendered": [{"made": MADE}], "places": 1}

    maker.cluster.answers = puts
    with empty_memory():
        found = maker.make(POSTER, root=ObjectAddress("memory://assets/spring"))

    assert found == [[MADE if believed else Unmade()]]
    assert len(maker.told) == (0 if believed else 1)


def test_what_one_worker_lacks_another_makes_and_nobody_is_asked_twice(maker: Maker) -> None:
    def lacking(worker: str, order: RenderOrder) -> dict[str, Any]:
        answer = makes(worker, order)
        for number, each in enumerate(order.wanted):
            if worker == A and '"command"' in each.recipe:
                answer["rendered"][number] = {"lacks": "there is no program `x` here"}
        return answer

    maker.cluster.answers = lacking

    assert maker.make(POSTER, COMMAND) == [[MADE, MADE]]

    (_, first), (second_worker, second) = maker.cluster.asked
    assert (len(first.wanted), len(second.wanted), second_worker) == (2, 1, B)
    assert second.seconds == 7
    assert maker.told == [
        f"there is no program `x` on the worker {A}; such renditions are made elsewhere"
    ]
    maker.cluster.workers = (A,)
    assert maker.make(COMMAND) == [[Unmade()]]
    assert len(maker.cluster.asked) == 2


def test_a_recipe_that_fails_everywhere_is_no_workers_fault(maker: Maker) -> None:
    maker.cluster.answers = lambda *_: {"rendered": [{"failed": "no frame"}], "places": 1}

    for _ in range(5):
        ((found,),) = maker.make(POSTER)
        assert found in (Unmade(A, "no frame"), Unmade(B, "no frame"))

    assert len(maker.cluster.asked) == 5
    assert maker.told == []


def test_a_worker_that_fails_at_what_is_made_here_makes_no_more(maker: Maker) -> None:
    maker.cluster.workers = (A,)
    maker.cluster.answers = lambda *_: {"rendered": [{"failed": "no space"}], "places": 1}

    for _ in range(4):
        ((found,),) = maker.make(POSTER)
        maker.renderers.made_here(found)

    assert len(maker.cluster.asked) == 3
    assert maker.told == [
        f"the worker {A} could not make a rendition (no space); made on this machine",
        f"the worker {A} failed 3 times (no space); it makes no more renditions in this run",
    ]
    assert maker.trust.avoided == frozenset(), "it may still fetch files"


def test_errors_of_a_worker_are_counted_too(maker: Maker) -> None:
    maker.cluster.workers = (A,)
    maker.cluster.answers = lambda *_: {"error": "it took more than 900 s"}

    for _ in range(4):
        assert maker.make(POSTER) == [[Unmade()]]

    assert len(maker.cluster.asked) == 3
    assert len(maker.told) == 2


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"absent": "/shared"}, "does not see /shared: mount the output there, at this path"),
        ({"refused": "it has kling-batch 0"}, "it has kling-batch 0; install the same on both"),
    ],
)
def test_a_worker_that_cannot_at_all_gets_nothing_more(
    maker: Maker, answer: dict[str, Any], told: str
) -> None:
    maker.cluster.answers = lambda *_: answer
    maker.cluster.workers = (A,)

    assert maker.make(POSTER) == [[Unmade()]]

    assert told in maker.told[0]
    assert maker.trust.avoided == {A}


@pytest.mark.parametrize("gone", [True, False])
def test_a_lost_task_is_made_here_and_its_leftovers_are_removed(maker: Maker, gone: bool) -> None:
    def lost(worker: str, order: RenderOrder) -> dict[str, Any]:
        makes(worker, order)
        raise LostTask("the scheduler tcp://x:1 is gone", gone=gone)

    maker.cluster.answers = lost
    (maker.folder / ".hero-0.0.mine.jpg").write_bytes(b"")

    assert maker.make(POSTER, files=2) == [[Unmade()]] * 2
    rest = "the renditions of this run are made" if gone else "done"
    assert maker.told == [f"the scheduler tcp://x:1 is gone; {rest} on this machine"]
    maker.renderers.sweep()

    assert [path.name for path in maker.folder.iterdir()] == [".hero-0.0.mine.jpg"]
    asked = len(maker.cluster.asked)
    maker.make(POSTER)
    assert len(maker.cluster.asked) == (asked if gone else asked + 1)


def test_what_nobody_waits_for_any_more_is_removed(maker: Maker) -> None:
    target = maker.folder / "hero.jpg"

    async def main() -> None:
        with anyio.move_on_after(0.5):
            await maker.renderers.make(maker.folder / "hero.mp4", "d", [(POSTER, target)])

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    ((_, order),) = maker.cluster.asked
    makes(A, order)
    maker.renderers.sweep()

    assert list(maker.folder.iterdir()) == []


def test_without_workers_renditions_are_made_here(maker: Maker) -> None:
    maker.cluster.workers = ()

    assert maker.make(POSTER) == [[Unmade()]]
    assert maker.told == ["the scheduler has no worker; done on this machine"]
