"""Workers as the engine sees them: what they do is believed once it is seen, the rest done here."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
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

from kling_batch import __version__
from kling_batch.core.locations import ObjectAddress
from kling_batch.core.outcomes import Fetched, FetchOutcome, Gone, RemoteFile, Unfetched
from kling_batch.output.store import put as put_into_store
from kling_batch.output.store_errors import StoreError
from kling_batch.output.worker import Threads
from kling_batch.workers.cluster import Done, LostTask
from kling_batch.workers.coordinator import Workers, WorkersStore
from kling_batch.workers.tasks import FetchOrder, PutOrder
from kling_batch.workers.trust import Trust

DATA = b"a clip of so many bytes"
DIGEST = sha256(DATA).hexdigest()
FILE = RemoteFile(url="https://v3b.fal.media/files/out.mp4?sig=secret")
A, B = "tcp://10.0.0.1:4000", "tcp://10.0.0.2:4000"


def facts(path: Path | str) -> dict[str, Any]:
    known = {"sha256": DIGEST, "size": len(DATA), "ext": ".mp4", "content_type": "video/mp4"}
    return {"temporary": str(path), **known}


def writes(order: FetchOrder) -> dict[str, Any]:
    """A worker that does what it should."""
    assert order.temporary is not None
    path = Path(order.temporary.replace(".part", ".w01234567.part"))
    path.write_bytes(DATA)
    return {"fetched": facts(path)}


@dataclass
class FakeCluster:
    """Answers as a test says; remembers what it was asked."""

    answers: Callable[[FetchOrder], dict[str, Any]] = writes
    puts: Callable[[PutOrder], dict[str, Any]] = lambda _order: {"put": {}}
    places: int = 4
    worker: str = A
    seconds: float = 1
    asked: list[tuple[FetchOrder, str, frozenset[str]]] = field(default_factory=list)
    put_asked: list[PutOrder] = field(default_factory=list)
    most: int = 0
    running: int = 0

    async def fetch(self, order: FetchOrder, *, host: str, avoid: frozenset[str]) -> Done:
        self.asked.append((order, host, avoid))
        self.running += 1
        self.most = max(self.most, self.running)
        await anyio.sleep(self.seconds)
        self.running -= 1
        return Done(self.worker, self.answers(order))

    async def put(self, order: PutOrder, *, worker: str, avoid: frozenset[str]) -> Done:
        self.put_asked.append(order)
        return Done(worker, self.puts(order))


class Here:
    """This machine's own download."""

    def __init__(self) -> None:
        self.fetched: list[Path] = []
        self.data = DATA

    async def fetch(self, file: RemoteFile, temporary: Path) -> FetchOutcome:
        self.fetched.append(temporary)
        temporary.write_bytes(self.data)
        return Fetched(**{**facts(temporary), "sha256": sha256(self.data).hexdigest()})


class Workspace:
    """Workers over a fake cluster, with what they told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.cluster, self.here = FakeCluster(), Here()
        self.told: list[str] = []
        self.workers = Workers(self.cluster, self.here, Trust(self.told.append), spool=self.spool)

    def name(self, number: int = 0) -> Path:
        return self.folder / f".0123456789ab-{number}.part"

    def fetch(self, *numbers: int, file: RemoteFile = FILE) -> list[FetchOutcome]:
        """Fetch these files at once, in virtual time."""
        found: dict[int, FetchOutcome] = {}

        async def one(number: int) -> None:
            found[number] = await self.workers.fetch(file, self.name(number))

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                for number in numbers:
                    tasks.start_soon(one, number)

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        return [found[number] for number in numbers]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_worker_writes_under_its_own_name_and_nothing_is_fetched_here(
    workspace: Workspace,
) -> None:
    (outcome,) = workspace.fetch(0)

    assert isinstance(outcome, Fetched)
    assert Path(outcome.temporary).read_bytes() == DATA
    assert Path(outcome.temporary) != workspace.name()
    assert workspace.here.fetched == []
    assert workspace.told == []
    ((order, host, avoid),) = workspace.cluster.asked
    assert (order.version, order.temporary) == (__version__, str(workspace.name()))
    assert (host, avoid) == ("v3b.fal.media", frozenset())


def test_no_more_tasks_are_out_than_workers_have_threads(workspace: Workspace) -> None:
    workspace.fetch(*range(20))

    assert workspace.cluster.most == 4
    assert len(workspace.cluster.asked) == 20


def test_a_file_that_this_machine_does_not_see_is_fetched_here(workspace: Workspace) -> None:
    workspace.cluster.answers = lambda _order: {
        "fetched": facts(workspace.folder / ".nowhere.part")
    }

    first, second = workspace.fetch(0), workspace.fetch(1)

    assert [isinstance(o, Fetched) for o in (*first, *second)] == [True, True]
    assert workspace.here.fetched == [workspace.name(0), workspace.name(1)]
    assert workspace.told == [
        (
            f"the worker {A} does not see {workspace.folder}: mount the output there, "
            "at this path; it gets nothing more in this run"
        )
    ]
    assert workspace.cluster.asked[1][2] == {A}


@pytest.mark.parametrize("size", [0, len(DATA) - 1])
def test_a_file_of_another_size_is_not_believed(workspace: Workspace, size: int) -> None:
    def short(order: FetchOrder) -> dict[str, Any]:
        answer = writes(order)
        Path(answer["fetched"]["temporary"]).write_bytes(DATA[:size])
        return answer

    workspace.cluster.answers = short

    workspace.fetch(0)

    assert workspace.here.fetched == [workspace.name()]


def test_a_file_outside_the_folder_is_not_believed(workspace: Workspace, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.part").write_bytes(DATA)
    workspace.cluster.answers = lambda _order: {"fetched": facts(other / "x.part")}

    workspace.fetch(0)

    assert workspace.here.fetched == [workspace.name()]


def test_another_version_gets_nothing_more_and_is_reported_once(workspace: Workspace) -> None:
    workspace.cluster.answers = lambda _order: {
        "refused": "it has kling-batch 0, and this machine 1"
    }

    workspace.fetch(0, 1)

    assert len(workspace.here.fetched) == 2
    (told,) = workspace.told
    assert "it has kling-batch 0, and this machine 1; install the same on both" in told


def test_a_worker_that_fails_three_times_gets_nothing_more(workspace: Workspace) -> None:
    workspace.cluster.answers = lambda order: {"error": f"no space for {order.temporary}"}

    for number in range(4):
        workspace.fetch(number)

    assert len(workspace.here.fetched) == 4
    assert [avoid for _, _, avoid in workspace.cluster.asked] == [frozenset()] * 3 + [{A}]
    assert len(workspace.told) == 3
    assert "failed 3 times" in workspace.told[-1]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"unfetched": "HTTP 502", "outage": True}, Unfetched("HTTP 502", outage=True)),
        ({"gone": "HTTP 404"}, Gone("HTTP 404")),
    ],
)
def test_after_what_fal_did_not_give_a_worker_the_next_try_is_made_here(
    workspace: Workspace, answer: dict[str, Any], outcome: FetchOutcome
) -> None:
    workspace.cluster.answers = lambda _order: answer

    first, second = workspace.fetch(0), workspace.fetch(0)

    assert first == [outcome]
    assert isinstance(second[0], Fetched)
    assert workspace.here.fetched == [workspace.name()]


def lost(**how: Any) -> Callable[[FetchOrder], dict[str, Any]]:
    def answer(_order: FetchOrder) -> dict[str, Any]:
        raise LostTask("the scheduler tcp://x:1 is gone", **how)

    return answer


def test_a_lost_task_is_done_here_and_the_next_one_is_given_out_again(workspace: Workspace) -> None:
    workspace.cluster.answers = lost()
    workspace.fetch(0)
    workspace.cluster.answers = writes

    workspace.fetch(1)

    assert workspace.here.fetched == [workspace.name(0)]
    assert workspace.told == ["the scheduler tcp://x:1 is gone; done on this machine"]


def test_without_a_scheduler_everything_else_is_done_here(workspace: Workspace) -> None:
    workspace.cluster.answers = lost(gone=True)

    workspace.fetch(0, 1, 2)
    workspace.fetch(3)

    assert len(workspace.here.fetched) == 4
    assert len(workspace.cluster.asked) == 3
    assert len(workspace.told) == 1


def test_without_workers_files_are_fetched_here_until_one_comes(workspace: Workspace) -> None:
    workspace.cluster.places = 0
    workspace.fetch(0)
    workspace.cluster.places = 1

    workspace.fetch(1)

    assert workspace.here.fetched == [workspace.name(0)]
    assert workspace.told == ["the scheduler has no worker; done on this machine"]


def test_what_an_earlier_run_has_begun_here_is_ended_here(workspace: Workspace) -> None:
    workspace.name().write_bytes(DATA[:5])

    workspace.fetch(0)

    assert workspace.here.fetched == [workspace.name()]


def test_a_file_inside_the_answer_is_unpacked_here(workspace: Workspace) -> None:
    workspace.fetch(0, file=RemoteFile(url="data:image/png;base64,AAAA"))

    assert workspace.cluster.asked == []


def test_leftovers_of_killed_workers_are_removed_and_nobody_elses(workspace: Workspace) -> None:
    ours = workspace.folder / ".0123456789ab-0.wdeadbeef.part"
    others = [
        workspace.folder / ".ba9876543210-0.wdeadbeef.part",
        workspace.folder / "film.w1.part",
    ]
    for path in (ours, *others):
        path.write_bytes(b"half")
    (outcome,) = workspace.fetch(0)
    assert isinstance(outcome, Fetched)
    Path(outcome.temporary).rename(workspace.folder / "clip.mp4")

    workspace.workers.sweep()

    assert not ours.exists()
    assert all(path.exists() for path in others)
    assert (workspace.folder / "clip.mp4").exists()


def test_an_address_is_not_in_what_a_log_shows_of_an_order(workspace: Workspace) -> None:
    workspace.fetch(0)
    ((order, *_),) = workspace.cluster.asked
    put = PutOrder(fetch=order, fetched=Fetched(**facts("x")), target="s3://assets/a.mp4")

    assert "secret" not in repr(order) + str(order) + repr(put) + repr((order, [put]))
    assert "fal.media" not in repr(order) + repr(put)


# -- into a store ------------------------------------------------------------------------------

FINAL = ObjectAddress("memory://assets/spring/clip.mp4")


@pytest.fixture
def _empty() -> Iterator[None]:
    with empty_memory():
        yield


@pytest.fixture
def stored(workspace: Workspace, _empty: None) -> Workspace:
    """A workspace whose file lies on a worker's disk, on its way into a store."""
    theirs = workspace.folder / "theirs"
    theirs.write_bytes(DATA)

    def puts(order: PutOrder) -> dict[str, Any]:
        put_into_store(Path(order.fetched.temporary), ObjectAddress(order.target), DIGEST)
        return {"put": {}}

    workspace.cluster.answers = lambda _order: {"fetched": facts(theirs)}
    workspace.cluster.puts, workspace.cluster.seconds = puts, 0
    return workspace


def publish(workspace: Workspace) -> str:
    """Fetch and publish one file as a run does."""
    store = WorkersStore(
        {"test": FINAL.parent}, workspace.folder, workspace.spool, workspace.workers
    )
    temporary = store.temporary(FINAL, "0123456789ab", 0)

    async def main() -> str:
        outcome = await workspace.workers.fetch(FILE, temporary)
        assert isinstance(outcome, Fetched)
        assert outcome.temporary == str(temporary)
        store.downloaded(outcome, 1)
        found: str = await Threads(2).run(
            store.publish,
            temporary,
            FINAL,
            sha256=outcome.sha256,
            record={"kling_batch": 1},
            superseded=lambda *_: None,
        )
        store.recorded(found, outcome)
        return found

    return anyio.run(main)


def content() -> bytes:
    data: bytes = MemoryFileSystem().cat_file("/assets/spring/clip.mp4")
    return data


def test_a_worker_puts_what_was_never_here(stored: Workspace) -> None:
    assert publish(stored) == str(FINAL)

    assert content() == DATA
    assert stored.here.fetched == []
    assert list(stored.spool.iterdir()) == []
    (order,) = stored.cluster.put_asked
    assert order.fetch.temporary is None


def test_what_a_worker_says_to_have_put_elsewhere_is_put_here(stored: Workspace) -> None:
    stored.cluster.puts = lambda _order: {"put": {}}

    publish(stored)

    assert content() == DATA
    assert len(stored.here.fetched) == 1
    assert "puts files where this machine does not find them" in stored.told[0]
    assert list(stored.spool.glob(".*.part")) == []


@pytest.mark.parametrize(
    "answer", [{"error": "no credentials"}, {"refused": "versions"}, {"gone": "HTTP 404"}]
)
def test_what_a_worker_cannot_put_is_put_here(stored: Workspace, answer: dict[str, Any]) -> None:
    stored.cluster.puts = lambda _order: answer

    publish(stored)

    assert content() == DATA
    assert len(stored.here.fetched) == 1
    assert len(stored.told) == 1


@pytest.mark.parametrize("gone", [True, False])
def test_where_a_put_is_lost_it_is_done_here(stored: Workspace, gone: bool) -> None:
    def puts(_order: PutOrder) -> dict[str, Any]:
        raise LostTask("the worker died", gone=gone)

    stored.cluster.puts = puts

    publish(stored)

    assert content() == DATA
    assert len(stored.told) == 1


def test_a_store_that_is_busy_is_tried_once_more_from_there_and_then_from_here(
    stored: Workspace,
) -> None:
    stored.cluster.puts = lambda _order: {"error": "SlowDown", "passing": True}

    with pytest.raises(StoreError) as raised:
        publish(stored)
    assert raised.value.passing
    assert stored.here.fetched == []


def test_another_file_than_before_is_not_put_under_the_old_digest(stored: Workspace) -> None:
    stored.cluster.puts = lambda _order: {"error": "disk"}
    stored.here.data = b"another clip"

    with pytest.raises(StoreError) as raised:
        publish(stored)

    assert "another file than before" in str(raised.value)
    assert raised.value.errno == errno.EACCES
    assert not MemoryFileSystem().exists("/assets/spring/clip.mp4")
