"""Outputs in an object store: whole or not at all, kept beside, never paid for again."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from support.books import paid_once
from support.engine import Bent, make_job, make_jobs
from support.stores import ROOT, FailingStore, StoreRig, change, empty_memory, full

from kling_batch.core.events import EventKind
from kling_batch.core.lifecycle import State
from kling_batch.core.locations import ObjectAddress
from kling_batch.operations.verify import verify_ledger
from kling_batch.planning.recovery import SidecarIndex


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    FailingStore.clear()
    with empty_memory():
        yield
    FailingStore.clear()


@pytest.fixture
def rig(tmp_path: Path) -> StoreRig:
    return StoreRig(tmp_path)


@pytest.fixture
def flaky(tmp_path: Path) -> StoreRig:
    rig = StoreRig(tmp_path)
    rig.root = ObjectAddress("flaky://assets/spring")
    return rig


def test_files_and_sidecars_are_in_the_store_and_nothing_is_left_here(rig: StoreRig) -> None:
    jobs = make_jobs(3)

    rig.run(jobs)

    found = rig.objects()
    assert rig.clips() == ["test/job-0.mp4", "test/job-1.mp4", "test/job-2.mp4"]
    for name in rig.clips():
        record = json.loads(found[f"{name}.json"])
        assert record["sha256"] == sha256(found[name]).hexdigest()
        assert record["size"] == len(found[name])
    assert rig.spooled() == []
    assert [path.name for path in rig.folder.rglob("*.mp4")] == []
    with rig.ledger() as ledger:
        (file,) = ledger.files_of(1)
    assert file.path.startswith("memory://assets/spring/test/job-")
    paid_once(rig, 3)


def test_a_second_run_does_nothing(rig: StoreRig) -> None:
    jobs = make_jobs(2)
    rig.run(jobs)
    before = len(rig.events)

    rig.run(jobs)

    assert rig.events[before:] == []
    paid_once(rig, 2)


@pytest.mark.parametrize("data", [b"", b"shorter"])
def test_a_changed_object_is_noticed_and_put_again_and_what_was_there_is_kept(
    rig: StoreRig, data: bytes
) -> None:
    jobs = make_jobs(1)
    rig.run(jobs)
    whole = rig.objects()["test/job-0.mp4"]
    change(rig, "test/job-0.mp4", data)

    rig.run(jobs)

    found = rig.objects()
    assert found["test/job-0.mp4"] == whole
    kept = [n for n in found if n.endswith(".mp4") and n != "test/job-0.mp4"]
    assert [found[name] for name in kept] == ([data] if data else [])
    paid_once(rig, 1)


def test_verify_reads_objects_back(rig: StoreRig) -> None:
    rig.run(make_jobs(2))
    whole = rig.objects()["test/job-0.mp4"]
    with rig.ledger() as ledger:
        assert verify_ledger(ledger, rig.store()).findings == ()

        change(rig, "test/job-0.mp4", b"x" * len(whole))

        (found,) = verify_ledger(ledger, rig.store()).findings
    assert found.subject == "memory://assets/spring/test/job-0.mp4"
    assert found.message == "the content has changed since it was saved"


def test_another_ledger_recovers_from_the_sidecars_in_the_store(
    rig: StoreRig, tmp_path: Path
) -> None:
    jobs = make_jobs(2)
    rig.run(jobs)

    index = SidecarIndex(rig.store(), lambda _: False, lambda _: False, "emulator")
    index.read(jobs)
    found = [index.find(job) for job in jobs]

    assert [each and [str(f.path) for f in each.files] for each in found] == [
        ["memory://assets/spring/test/job-0.mp4"],
        ["memory://assets/spring/test/job-1.mp4"],
    ]

    change(rig, "test/job-0.mp4", b"something else")
    again = SidecarIndex(rig.store(), lambda _: False, lambda _: False, "emulator")
    again.read(jobs)

    first = again.find(jobs[0])
    assert first is not None
    assert (first.files, first.paid) == ((), True)  # fetched by its request id, not bought


@pytest.mark.parametrize("scheme", ["memory", "flaky"])
@pytest.mark.parametrize("folder", ["take[1]", "take*"])
def test_a_name_is_no_pattern(rig: StoreRig, scheme: str, folder: str) -> None:
    """fsspec would look for the files of `take1`, too, or only for those."""
    rig.root = ObjectAddress(f"{scheme}://assets/take1")
    others = [make_job("clip", prompt="another")]
    rig.run(others)
    before = rig.objects()
    rig.root = ObjectAddress(f"{scheme}://assets/{folder}")
    jobs = make_jobs(2)

    rig.run(jobs)
    index = SidecarIndex(rig.store(), lambda _: False, lambda _: False, "emulator")
    index.read([*jobs, *others])

    found = [index.find(job) for job in jobs]
    assert [each and [str(f.path) for f in each.files] for each in found] == [
        [f"{scheme}://assets/{folder}/test/job-0.mp4"],
        [f"{scheme}://assets/{folder}/test/job-1.mp4"],
    ]
    assert index.find(others[0]) is None
    assert rig.clips() == ["test/job-0.mp4", "test/job-1.mp4"]
    rig.root = ObjectAddress(f"{scheme}://assets/take1")
    assert rig.objects() == before
    paid_once(rig, 3)


def test_a_replaced_object_keeps_a_second_name_in_store_and_ledger(rig: StoreRig) -> None:
    rig.run([make_job("clip")])
    first = rig.objects()["test/clip.mp4"]

    rig.run([make_job("clip", prompt="another")])

    found = rig.objects()
    name = f"test/clip.{sha256(first).hexdigest()[:8]}.mp4"
    assert found[name] == first
    assert found["test/clip.mp4"] != first
    assert json.loads(found[f"{name}.json"])["sha256"] == sha256(first).hexdigest()
    with rig.ledger() as ledger:
        (kept,) = ledger.files_of(1)
    assert (kept.path, kept.superseded) == (f"{ROOT}/{name}", True)
    paid_once(rig, 2)


def test_a_persons_own_object_is_kept_where_a_sidecar_goes(rig: StoreRig) -> None:
    change(rig, "test/clip.mp4.json", b'{"mine": 1}')

    rig.run([make_job("clip")])

    assert b'{"mine": 1}' in rig.objects().values()
    assert "key" in json.loads(rig.objects()["test/clip.mp4.json"])


def test_a_duplicate_is_copied_by_the_store(rig: StoreRig) -> None:
    rig.run([make_job("one", prompt="same"), make_job("two", prompt="same")])

    found = rig.objects()
    assert found["test/one.mp4"] == found["test/two.mp4"]
    paid_once(rig, 1)


def test_what_moves_between_folder_and_store_is_not_bought_again(
    rig: StoreRig, tmp_path: Path
) -> None:
    from kling_batch.output.store import OutputStore

    jobs = make_jobs(1)
    here = OutputStore({"test": tmp_path / "clips"}, tmp_path)
    there = rig.store
    for store in (lambda: here, there, lambda: here):
        rig.store = store  # type: ignore[method-assign]
        rig.run(jobs)

    rig.store = there  # type: ignore[method-assign]
    assert rig.clips() == ["test/job-0.mp4"]
    assert (tmp_path / "clips/test/job-0.mp4").read_bytes() == rig.objects()["test/job-0.mp4"]
    paid_once(rig, 1)


# -- stores that fail ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError("Access Denied"), "the store refuses access (Access Denied)"),
        (FileNotFoundError("The bucket does not exist"), "there is no flaky://assets any more"),
        (OSError(errno.ENOSPC, "No space left"), "the store is full (No space left)"),
    ],
)
def test_a_store_that_refuses_leaves_the_render_here_and_ends_buying(
    flaky: StoreRig, error: OSError, words: str
) -> None:
    def fail(what: str, _path: str) -> None:
        if what == "put":
            raise error

    FailingStore.fail = staticmethod(fail)
    jobs = make_jobs(12)

    result = flaky.run(jobs, concurrency=1)

    assert flaky.clips() == []
    states = flaky.states(jobs)
    assert states.count(State.RENDERED) == sum(flaky.charges) < len(jobs)
    assert sum(flaky.charges) <= 2  # the render, and what was on its way by then
    assert any(
        words in reason and "is safe on this machine" in reason
        for reason in result.reasons.values()
    )
    fetched = len(flaky.spooled())
    assert fetched >= 2  # the file, and the note of what it is

    FailingStore.clear()
    flaky.run(jobs)

    assert len(flaky.clips()) == 12
    assert flaky.spooled() == []
    paid_once(flaky, 12)


def test_a_store_that_fails_for_a_while_is_asked_again(flaky: StoreRig) -> None:
    failures = iter([OSError(errno.EBUSY, "Please reduce your request rate"), TimeoutError("slow")])

    def fail(what: str, _path: str) -> None:
        if what == "put" and (error := next(failures, None)):
            raise error

    FailingStore.fail = staticmethod(fail)

    flaky.run(make_jobs(1))

    first, second = (h for h in flaky.events if h.kind is EventKind.PUT_AGAIN)
    (request,) = flaky.world.books.accepted
    for again, reason in ((first, "Please reduce your request rate"), (second, "slow")):
        assert (again.batch, again.job) == ("test", "job-0")
        assert again.data["request_id"] == request.request_id
        assert again.data["reason"] == reason
        assert again.message == f"{reason}; put again in {again.data['seconds']:.0f} s"
    assert flaky.clips() == ["test/job-0.mp4"]
    paid_once(flaky, 1)


def test_a_store_that_is_away_for_long_is_left_to_the_next_run(flaky: StoreRig) -> None:
    def fail(what: str, _path: str) -> None:
        if what == "put":
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    FailingStore.fail = staticmethod(fail)
    jobs = make_jobs(1)

    result = flaky.run(jobs)

    assert flaky.states(jobs) == [State.RENDERED]
    assert "Connection refused" in str(result.reasons)
    paid_once(flaky, 1)


def test_what_arrives_changed_is_put_again(flaky: StoreRig) -> None:
    damaged = iter([True])

    def put(self: FailingStore, lpath: str, rpath: str, **more: object) -> None:
        data = Path(lpath).read_bytes()
        self.pipe_file(rpath, data[:-1] + b"?" if next(damaged, False) else data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FailingStore, "put_file", put)
        flaky.run(make_jobs(1))

    (again,) = [h.message for h in flaky.events if h.kind is EventKind.PUT_AGAIN]
    assert "other content than it was given" in again
    with flaky.ledger() as ledger:
        assert verify_ledger(ledger, flaky.store()).findings == ()
    paid_once(flaky, 1)


def test_where_a_put_is_not_atomic_the_name_appears_by_rename(flaky: StoreRig) -> None:
    put: list[str] = []

    def fail(what: str, path: str) -> None:
        if what == "put":
            put.append(path)

    FailingStore.fail = staticmethod(fail)

    flaky.run(make_jobs(1))

    assert put == ["/assets/spring/test/.job-0.mp4.part"]
    assert sorted(flaky.objects()) == ["test/job-0.mp4", "test/job-0.mp4.json"]


class Watched(Bent):
    """The emulator; notes what is downloaded."""

    downloads = 0

    def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        self.downloads += request.url.host.endswith("fal.media")
        return answer


def test_what_lies_in_the_spool_is_not_downloaded_again(flaky: StoreRig) -> None:
    FailingStore.fail = staticmethod(lambda what, path: full(what, path) if what == "put" else None)
    jobs = make_jobs(1)
    first, second = Watched(flaky.world), Watched(flaky.world)
    flaky.run(jobs, transport=first)
    FailingStore.clear()

    flaky.run(jobs, transport=second)

    assert (first.downloads, second.downloads) == (1, 0)
    assert flaky.clips() == ["test/job-0.mp4"]
    assert flaky.spooled() == []
    paid_once(flaky, 1)


def other_content(clip: bytes) -> bytes:
    """The same clip by its size and its frame, with other bytes in the middle."""
    middle = len(clip) // 2
    return (
        clip[:middle]
        + bytes(255 - each for each in clip[middle : middle + 64])
        + clip[middle + 64 :]
    )


@pytest.mark.parametrize(
    "damaged",
    [
        lambda clip: b"x" * len(clip),
        other_content,
        lambda clip: other_content(clip)[: len(clip) * 3 // 4],
    ],
    ids=["no media", "changed in the middle", "changed and shorter"],
)
def test_a_damaged_file_in_the_spool_is_downloaded_again(
    flaky: StoreRig, damaged: Callable[[bytes], bytes]
) -> None:
    FailingStore.fail = staticmethod(lambda what, path: full(what, path) if what == "put" else None)
    jobs = make_jobs(1)
    flaky.run(jobs)
    (part,) = (flaky.folder / "spool").glob(".*.part")
    clip = part.read_bytes()
    part.write_bytes(damaged(clip))
    FailingStore.clear()

    flaky.run(jobs)

    with flaky.ledger() as ledger:
        assert verify_ledger(ledger, flaky.store()).findings == ()
    assert flaky.clips() == ["test/job-0.mp4"]
    assert flaky.objects()["test/job-0.mp4"] == clip
    assert flaky.spooled() == []
    paid_once(flaky, 1)
