"""Files of finished renders: fetched, placed, copied, missed and lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support.books import paid_once
from support.engine import (
    T2I,
    Bent,
    Rig,
    SlowDisk,
    account,
    is_result,
    make_job,
    make_jobs,
)

from kling_batch.core.events import EventKind, RunResult
from kling_batch.core.jobs import Batch, Job, job_key
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import (
    Charged,
    Failure,
    FailureKind,
    Fetched,
    RemoteFile,
    Unfetched,
)
from kling_batch.core.quantities import format_time
from kling_batch.emulator import Fault, Settings
from kling_batch.engine.engine import Engine
from kling_batch.engine.file_fetch import token_of
from kling_batch.errors import ExitCode, LedgerError
from kling_batch.ledger.artifacts import Placed
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.overrides import adopt
from kling_batch.operations.retry import allow_retries
from kling_batch.output.download import Downloader
from kling_batch.output.store import sidecar_of
from kling_batch.output.worker import InLoop
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.wire.environment import Proxies, trusted
from kling_batch.wire.sockets import SocketWire


def test_files_that_fal_denies_before_their_time_are_asked_for_again(tmp_path: Path) -> None:
    """fal keeps them for seven days: until then a denial is an outage, and no money is lost."""
    rig = Rig(tmp_path, faults=[Fault(stage="download", what="expired", request=1)])
    jobs = make_jobs(2)

    run_result = rig.run(jobs)

    assert rig.states(jobs) == [State.RENDERED, State.SUCCEEDED]
    assert run_result.reasons["test", "job-0", 1] == (
        "paid, and it looks lost: HTTP 404: the file is gone from fal's storage; "
        "every run asks for it again, and only "
        f"`kling-batch retry job-0 --ledger {rig.ledger_path}` gives it up and "
        "pays for another render"
    )
    rig.world.faults.clear()
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    paid_once(rig, 2)


@pytest.mark.parametrize("days", [0, 8, 400])
def test_a_file_that_fal_has_no_more_is_reported_by_every_run_and_never_rendered_again(
    tmp_path: Path, days: int
) -> None:
    """Nor by `--retry-failed`; only a person gives it up, by the name of its job."""
    rig = Rig(tmp_path, faults=[Fault(stage="download", what="expired", request=1)])
    jobs = make_jobs(2)

    for retry in (False, False, True):
        run_result = rig.run(jobs, retry=retry)
        rig.epoch += timedelta(days=days)
        assert "paid, and it looks lost" in run_result.reasons["test", "job-0", 1]
        assert "retry job-0" in run_result.reasons["test", "job-0", 1]

    assert rig.states(jobs) == [State.RENDERED, State.SUCCEEDED]
    paid_once(rig, 2)
    with rig.ledger() as ledger:
        allow_retries(ledger, ["job-0"])
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert len(rig.world.books.posts) == 3


def test_an_output_disk_that_is_away_for_weeks_costs_nothing(tmp_path: Path) -> None:
    """fal has deleted the files meanwhile; when the disk is back, so are they."""
    rig = Rig(tmp_path, account())
    jobs = make_jobs(3)
    rig.run(jobs)
    (tmp_path / "test").rename(tmp_path / "unmounted")
    rig.world.faults.add(Fault(stage="download", what="expired"))

    for _ in range(2):
        rig.epoch += timedelta(days=20)
        rig.run(jobs, retry=True)
        assert rig.states(jobs) == [State.RENDERED] * 3
    shutil.rmtree(tmp_path / "test", ignore_errors=True)
    (tmp_path / "unmounted").rename(tmp_path / "test")
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    paid_once(rig, 3)


def test_what_an_earlier_version_gave_up_is_bought_by_name_only(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(2)
    rig.run(jobs)
    with rig.ledger() as ledger:
        (attempt, _) = ledger.attempts_in(State.SUCCEEDED)
        lost = Failure(kind=FailureKind.EXPIRED, message="paid and lost", charged=Charged.YES)
        ledger.record(attempt.id, Event.ARTIFACT_MISSING)
        ledger.record(attempt.id, Event.ARTIFACT_LOST, failure=lost)
        assert allow_retries(ledger, None) == []

    rig.run(jobs, retry=True)

    paid_once(rig, 2)


@pytest.mark.parametrize("content", [b"", b"edited", None], ids=["empty", "edited", "directory"])
def test_a_file_that_is_not_whole_is_fetched_again(tmp_path: Path, content: bytes | None) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(2)
    rig.run(jobs)
    damaged = tmp_path / "test/job-0.mp4"
    paid = damaged.read_bytes()
    damaged.unlink()
    if content is None:
        damaged.mkdir()
    else:
        damaged.write_bytes(content)

    run_result = rig.run(jobs)

    if content is None:  # nothing can be written there, and the run says so
        assert run_result.reasons["test", "job-0", 1]
        damaged.rmdir()
        rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert damaged.read_bytes() == paid
    kept = [name for name in rig.files() if name not in ("test/job-0.mp4", "test/job-1.mp4")]
    assert [(tmp_path / name).read_bytes() for name in kept] == ([content] if content else [])
    with rig.ledger() as ledger:
        assert rig.plan(ledger, jobs).idle
    paid_once(rig, 2)


def test_a_damaged_file_is_restored_from_its_second_name_without_fal(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    one, two = make_job("one", prompt="same"), make_job("two", prompt="same")
    rig.run([one, two])
    paid = (tmp_path / "test/two.mp4").read_bytes()
    (tmp_path / "test/one.mp4").unlink()
    (tmp_path / "test/one.mp4").write_bytes(b"half")
    rig.world.faults.add(Fault(stage="download", what="expired"))

    rig.run([one, two])

    assert (tmp_path / "test/one.mp4").read_bytes() == paid
    assert rig.states([one]) == [State.SUCCEEDED]
    paid_once(rig, 1)


def test_identical_jobs_are_one_payment_and_two_files(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    one = make_job("one", prompt="the same")
    two = make_job("two", prompt="the same")

    rig.run([one, two])

    assert one.key == two.key
    paid_once(rig, 1)
    assert rig.files() == ["test/one.mp4", "test/two.mp4"]


def test_a_deleted_file_is_downloaded_again_not_rendered(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(2)
    rig.run(jobs)
    (tmp_path / "test/job-0.mp4").unlink()

    rig.run(jobs)

    with rig.ledger() as ledger:
        told = ledger.db.execute("select data from events where event = 'artifact_missing'")
        assert [json.loads(data) for (data,) in told] == [
            {"reason": "the file is missing or changed on the disk"}
        ]
    assert rig.files() == ["test/job-0.mp4", "test/job-1.mp4"]
    paid_once(rig, 2)


def test_a_changed_prompt_keeps_the_old_file_beside_the_new(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    before = make_job("clip", prompt="old")
    rig.run([before])
    old = (tmp_path / "test/clip.mp4").read_bytes()

    rig.run([make_job("clip", prompt="new")])

    kept = [name for name in rig.files() if name != "test/clip.mp4"]
    assert [(tmp_path / name).read_bytes() for name in kept] == [old]
    assert (tmp_path / "test/clip.mp4").read_bytes() != old

    rig.run([before])

    assert (tmp_path / "test/clip.mp4").read_bytes() == old
    paid_once(rig, 2)


def test_a_renamed_job_is_copied_not_paid(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.run([make_job("before", prompt="p")])

    rig.run([make_job("after", prompt="p")])

    assert "test/after.mp4" in rig.files()
    paid_once(rig, 1)


def test_a_renamed_job_whose_old_file_was_edited_gets_the_paid_one(tmp_path: Path) -> None:
    """Of the same size: only its content shows that it cannot be copied."""
    rig = Rig(tmp_path)
    rig.run([make_job("before", prompt="p")])
    before = tmp_path / "test/before.mp4"
    paid = before.read_bytes()
    before.write_bytes(paid[:-1] + bytes([paid[-1] ^ 1]))

    rig.run([make_job("after", prompt="p")])

    assert (tmp_path / "test/after.mp4").read_bytes() == paid
    paid_once(rig, 1)


def record_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sidecar_of(path).read_bytes())
    return found


def test_the_record_beside_each_file_tells_which_output_it_is_under_every_name(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    job = make_job("a", endpoint=T2I, duration=None, num_images=2)
    rig.run([job])
    rig.run([job._replace(id="b", path="test/b{output}{ext}")])

    with rig.ledger() as ledger:
        (known,) = ledger.files().values()
        (attempt,) = ledger.attempts_in(State.SUCCEEDED)
    urls = [image["url"] for image in attempt.output["images"]]
    assert len(known) == 4
    for file in known:
        path = rig.store().located(file.path)
        record = record_of(path)
        assert (record["output"], record["outputs"]) == (file.index, 2)
        assert record["service"] == "emulator"
        assert record["job"] == path.name[0]
        assert record["url"] == urls[file.index].partition("?")[0]
        assert (record["size"], record["sha256"]) == (
            path.stat().st_size,
            sha256(path.read_bytes()).hexdigest(),
        )
        assert record["content_type"] == "image/png"
    paid_once(rig, 1)


# -- put back, as `verify --repair` does -------------------------------------------------------


def put_back(rig: Rig, *jobs: Job, **options: Any) -> RunResult:
    """One run that only puts the files of these jobs back under all their names."""

    def restoring(ledger: Ledger, found: Sequence[Job], **_: Any) -> Plan:
        known = ledger.standings()
        return Plan(
            tuple(
                PlannedJob(job, Action.RESTORE, "missing or changed", known[job.key].attempt_id)
                for job in found
            )
        )

    rig.plan = restoring  # type: ignore[method-assign]
    try:
        return rig.run(jobs, **options)
    finally:
        del rig.plan


def downloads(rig: Rig) -> int:
    return sum(rig.world.books.downloads.values())


def test_what_is_missing_with_its_folder_is_fetched_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    job = make_job("a", endpoint=T2I, duration=None, num_images=2)
    job = job._replace(path="deep/er/a{output}{ext}")
    rig.run([job])
    before = {path: path.read_bytes() for path in (tmp_path / "deep/er").iterdir()}
    shutil.rmtree(tmp_path / "deep")
    have = downloads(rig)

    run_result = put_back(rig, job)

    found = {path: path.read_bytes() for path in (tmp_path / "deep/er").iterdir()}
    assert found.keys() == before.keys()
    pictures = [path for path in before if path.suffix == ".png"]
    assert len(pictures) == downloads(rig) - have == 2
    assert [found[path] for path in pictures] == [before[path] for path in pictures]
    assert run_result.restored == {("test", "a", 1)}
    rig.run([job])
    assert downloads(rig) - have == 2, "the ledger knows them where they are"
    paid_once(rig, 1)


def test_the_ledger_knows_where_a_replaced_file_was_kept(tmp_path: Path) -> None:
    """Back at its first prompt, the job takes the file from there."""
    rig = Rig(tmp_path)
    rig.run([make_job("a", prompt="first")])
    paid = (tmp_path / "test/a.mp4").read_bytes()
    rig.run([make_job("a", prompt="second")])
    have = downloads(rig)

    with rig.ledger() as ledger:
        (kept,) = ledger.files_of(ledger.attempts_in(State.SUCCEEDED)[0].id)
    assert kept.superseded
    assert rig.store().located(kept.path).read_bytes() == paid
    rig.run([make_job("a", prompt="first")])

    assert (tmp_path / "test/a.mp4").read_bytes() == paid
    assert downloads(rig) == have
    paid_once(rig, 2)


def test_a_second_name_of_a_replaced_file_is_not_put_back(tmp_path: Path) -> None:
    """A person may delete it; the next run with the first prompt fetches what it needs."""
    rig = Rig(tmp_path)
    first = make_job("a", prompt="first")
    rig.run([first])
    rig.run([make_job("a", prompt="second")])
    (kept,) = (name for name in rig.files() if name != "test/a.mp4")
    (tmp_path / kept).unlink()
    have = downloads(rig)

    put_back(rig, first)

    assert rig.files() == ["test/a.mp4"]
    assert downloads(rig) == have
    paid_once(rig, 2)


@pytest.mark.parametrize("with_folder", [True, False])
@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_file_with_a_second_name_is_put_back_from_there(
    tmp_path: Path, lost: str, with_folder: bool
) -> None:
    rig = Rig(tmp_path)
    rig.run([make_job("before", prompt="p")])
    job = make_job("after", prompt="p")._replace(path="deep/er/after{output}{ext}")
    rig.run([job])
    paths = {"before": tmp_path / "test/before.mp4", "after": tmp_path / "deep/er/after.mp4"}
    paid = paths[lost].read_bytes()
    if with_folder:
        shutil.rmtree(tmp_path / paths[lost].relative_to(tmp_path).parts[0])
    else:
        paths[lost].unlink()
    have = downloads(rig)

    put_back(rig, job)

    assert [path.read_bytes() for path in paths.values()] == [paid] * 2
    assert downloads(rig) == have
    assert sidecar_of(paths[lost]).is_file()
    paid_once(rig, 1)


def test_an_edited_file_is_put_back_and_the_edit_kept_and_a_lost_sidecar_written(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(3)
    rig.run(jobs)
    edited, whole, unhurt = (tmp_path / f"test/job-{n}.mp4" for n in range(3))
    paid, record = edited.read_bytes(), sidecar_of(whole).read_bytes()
    untouched = sidecar_of(unhurt).read_bytes()
    edited.write_bytes(b"edited")
    sidecar_of(whole).unlink()
    rig.epoch += timedelta(days=1)

    put_back(rig, *jobs)

    assert edited.read_bytes() == paid
    assert any(path.read_bytes() == b"edited" for path in edited.parent.iterdir())
    again, first = json.loads(sidecar_of(whole).read_bytes()), json.loads(record)
    differing = {name for name in first if again.get(name) != first[name]}
    assert differing <= {"saved_at"}
    assert sidecar_of(unhurt).read_bytes() == untouched
    paid_once(rig, 3)


def test_what_fal_has_no_more_is_not_put_back_and_stays_paid(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(1)
    rig.run(jobs)
    (tmp_path / "test/job-0.mp4").unlink()
    rig.world.faults.add(Fault(stage="download", what="expired"))

    run_result = put_back(rig, *jobs)

    assert rig.states(jobs) == [State.SUCCEEDED]
    assert run_result.restored == set()
    assert "HTTP 4" in run_result.reasons["test", "job-0", 1]
    again = [event for event in rig.events if event.kind is EventKind.DOWNLOAD_AGAIN]
    assert {event.job for event in again} == {"job-0"}
    paid_once(rig, 1)


def test_what_was_no_file_at_fal_is_written_anew_from_the_ledger(tmp_path: Path) -> None:
    """Its content is the answer itself, in the ledger."""
    rig = Rig(tmp_path, account(extra_endpoints=("acme/text",)), media=lambda _: False)
    arguments = {"prompt": "x"}
    job = make_job("raw")._replace(
        endpoint="acme/text", arguments=arguments, key=job_key("acme/text", arguments, 1)
    )
    answer = httpx.Response(200, json={"text": "zweiundvierzig"})

    class Words(Bent):
        def bend(self, request: httpx.Request, found: httpx.Response) -> httpx.Response:
            return answer if is_result(request) else found

    rig.run([job], transport=Words(rig.world))
    document = tmp_path / "test/raw.json"
    before = document.read_bytes()
    document.unlink()

    put_back(rig, job)

    assert document.read_bytes() == before
    document.unlink()
    rig.run([job])
    assert document.read_bytes() == before
    with rig.ledger() as ledger:
        ((file,),) = ledger.files().values()
    assert (file.index, file.path, file.url) == (0, "test/raw.json", "")
    assert (file.size, file.sha256) == (len(before), sha256(before).hexdigest())
    assert (file.ext, file.content_type) == (".json", "application/json")
    assert names(document.parent) == ["raw.json", "raw.json.json"]
    paid_once(rig, 1)


def test_what_is_put_back_goes_on_with_the_download_that_was_left(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(1)
    rig.run(jobs)
    final = tmp_path / "test/job-0.mp4"
    paid = final.read_bytes()
    final.unlink()
    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(State.SUCCEEDED)
    temporary_of(rig, attempt).write_bytes(paid[:100])

    put_back(rig, *jobs)

    assert final.read_bytes() == paid
    assert names(final.parent) == ["job-0.mp4", "job-0.mp4.json"]


@dataclass
class StoppedWithin(InLoop):
    """Calls `stop` when this work of the store is done, and comes back a second later."""

    work: str
    stop: Callable[[], None] = lambda: None

    async def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = work(*args, **kwargs)
        if work.__name__ == self.work:
            self.stop()
            await anyio.sleep(1)
        return result


@pytest.mark.parametrize("how", ["delivered", "copied", "put back"])
def test_a_name_that_another_job_holds_is_waited_for(tmp_path: Path, how: str) -> None:
    rig = Rig(tmp_path)
    first, job = make_job("first", prompt="p"), make_job("a", prompt="p")
    if how == "put back":
        rig.run([job])
        (tmp_path / "test/a.mp4").unlink()
    elif how == "copied":
        rig.run([first])
    rig.worker = SlowDisk()  # others get their turn before it publishes
    seen: list[bool] = []

    async def hold(engine: Engine) -> None:
        names = engine._flow._delivery._names
        async with names.held(tmp_path / "test/a.mp4"):
            await anyio.sleep(2000)
            seen.append((tmp_path / "test/a.mp4").exists())

    if how == "put back":
        put_back(rig, job, stop=hold)
    else:
        rig.run([job], stop=hold)

    assert seen == [False]
    assert (tmp_path / "test/a.mp4").is_file()
    paid_once(rig, 1)


@pytest.mark.parametrize("how", ["delivered", "copied", "put back"])
def test_what_has_its_name_is_recorded_although_the_run_is_left(tmp_path: Path, how: str) -> None:
    rig = Rig(tmp_path)
    first, job = make_job("first", prompt="p"), make_job("a", prompt="p")
    if how == "put back":
        rig.run([job])
        (tmp_path / "test/a.mp4").unlink()
    elif how == "copied":
        rig.run([first])
    rig.epoch += timedelta(days=1)
    rig.worker = worker = StoppedWithin("publish_copy" if how == "copied" else "publish")

    async def stop(engine: Engine) -> None:
        worker.stop = lambda: engine.leave(ExitCode.INTERRUPTED, "left")
        await anyio.sleep_forever()

    started = rig.now()
    if how == "put back":
        put_back(rig, job, stop=stop)
    else:
        rig.run([job], stop=stop)

    assert (tmp_path / "test/a.mp4").is_file()
    with sqlite3.connect(rig.ledger_path) as db:
        ((placed_at,),) = db.execute("select placed_at from files where path = 'test/a.mp4'")
    db.close()
    assert placed_at >= format_time(started)
    paid_once(rig, 1)


# -- files -------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def temporary_of(rig: Rig, attempt: Any) -> Path:
    store = rig.store()
    return store.temporary(rig.folder / "test/job-0.mp4", token_of(attempt), 0)


def test_a_run_killed_after_the_last_byte_does_not_download_for_ever(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(1)
    rig.run(jobs)
    final = tmp_path / "test/job-0.mp4"
    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(State.SUCCEEDED)
    engine_names_it = [name for name in names(tmp_path / "test") if name.endswith(".part")]
    assert engine_names_it == []
    part = temporary_of(rig, attempt)
    final.rename(part)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED]
    assert names(final.parent) == ["job-0.mp4", "job-0.mp4.json"]
    paid_once(rig, 1)


def test_a_copy_whose_entry_was_lost_leaves_no_second_temporary(tmp_path: Path) -> None:
    """Renaming one of two links of a file onto the other does nothing, not even remove it."""
    rig = Rig(tmp_path, account())
    one, two = make_job("one", prompt="same"), make_job("two", prompt="same")
    rig.run([one])
    os.link(tmp_path / "test/one.mp4", tmp_path / "test/two.mp4")  # killed before the ledger knew

    rig.run([one, two])

    assert names(tmp_path / "test") == ["one.mp4", "one.mp4.json", "two.mp4", "two.mp4.json"]


def test_all_names_of_a_file_that_was_edited_get_the_paid_one_and_the_edit_is_kept(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, account())
    one = make_job("one", prompt="same")
    rig.run([one])
    paid = (tmp_path / "test/one.mp4").read_bytes()
    (tmp_path / "test/one.mp4").write_bytes(b"cut by hand")
    jobs = [one, make_job("two", prompt="same"), make_job("three", prompt="same")]

    rig.run(jobs)

    kept = set(rig.files()) - {f"test/{name}.mp4" for name in ("one", "two", "three")}
    assert [(tmp_path / name).read_bytes() for name in kept] == [b"cut by hand"]
    assert (tmp_path / "test/one.mp4").read_bytes() == paid
    assert (tmp_path / "test/two.mp4").read_bytes() == paid
    assert (tmp_path / "test/three.mp4").read_bytes() == paid
    paid_once(rig, 1)


def test_files_that_appear_late_are_not_lost_money(tmp_path: Path) -> None:
    """A file store that needs a minute to show a new file has not lost it.

    Source: docs/fal-api.md#file-retention.
    """
    rig = Rig(tmp_path, account())
    jobs = make_jobs(2)

    async def late(_: Engine) -> None:
        rig.world.faults.add(Fault(stage="download", what="expired"))
        await anyio.sleep(60)
        rig.world.faults.clear()

    rig.run(jobs, stop=late)
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2


def test_of_three_images_one_is_gone_and_two_are_handed_out(tmp_path: Path) -> None:
    never_again = Fault(stage="download", what="expired", nth=tuple(range(2, 999)))
    rig = Rig(tmp_path, account(), [never_again])
    video_only: dict[str, Any] = dict.fromkeys(("duration", "generate_audio", "shot_type"))
    job = make_job("a", endpoint=T2I, num_images=3, **video_only)

    rig.run([job])

    assert len([name for name in rig.files() if name.endswith(".png")]) >= 1


def three_images(rig: Rig) -> Job:
    video_only: dict[str, Any] = dict.fromkeys(("duration", "generate_audio", "shot_type"))
    job = make_job("a", endpoint=T2I, num_images=3, **video_only)
    rig.run([job])
    assert len(rig.files()) == 3
    return job


def fetched_again(rig: Rig) -> int:
    """How often a file was asked for since the fault that only counts was added."""
    (report,) = rig.world.faults.report()
    return int(report["seen"])


COUNTED = Fault(stage="download", what="expired", nth=999)


def test_of_three_images_only_the_missing_one_is_fetched_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    job = three_images(rig)
    files = rig.files()
    (tmp_path / files[1]).unlink()
    rig.world.faults.add(COUNTED)

    rig.run([job])

    assert rig.files() == files
    assert fetched_again(rig) == 1
    paid_once(rig, 1)


def test_of_three_images_one_is_missing_and_fal_has_it_no_longer(tmp_path: Path) -> None:
    """Every run reports it, the other two stay, and it is taken when it is back."""
    rig = Rig(tmp_path, account())
    job = three_images(rig)
    first, gone, last = rig.files()
    (tmp_path / gone).unlink()
    rig.world.faults.add(Fault(stage="download", what="expired"))

    for _ in range(2):
        rig.epoch += timedelta(days=8)
        run_result = rig.run([job])
        assert rig.states([job]) == [State.RENDERED]
        assert rig.files() == [first, last]
        assert "paid, and it looks lost" in run_result.reasons["test", "a", 1]
    rig.world.faults.clear()
    rig.run([job])

    assert rig.states([job]) == [State.SUCCEEDED]
    assert rig.files() == [first, gone, last]
    paid_once(rig, 1)


def test_missing_and_renamed_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    job = three_images(rig)
    (tmp_path / rig.files()[1]).unlink()

    rig.run([job._replace(id="b", path="test/b{output}{ext}")])

    assert sum(name.startswith("test/b") for name in rig.files()) == 3
    paid_once(rig, 1)


# -- one and the others --------------------------------------------------------------------------


def test_a_directory_under_a_final_name_keeps_nobody_else_from_theirs(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    (tmp_path / "test/job-0.mp4").mkdir(parents=True)
    jobs = make_jobs(5)

    run_result = rig.run(jobs)

    assert rig.states(jobs) == [State.RENDERED] + [State.SUCCEEDED] * 4
    assert run_result.stops == []
    (tmp_path / "test/job-0.mp4").rmdir()
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 5
    paid_once(rig, 5)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
def test_a_pipe_under_a_final_name_holds_no_run(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    (tmp_path / "test").mkdir()
    os.mkfifo(tmp_path / "test/job-0.mp4")
    jobs = make_jobs(2)

    rig.run(jobs)

    assert rig.states(jobs) == [State.RENDERED, State.SUCCEEDED]
    (tmp_path / "test/job-0.mp4").unlink()
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    paid_once(rig, 2)


# -- adopted files and several names -----------------------------------------------------------


def test_an_adopted_file_that_is_gone_is_reported_and_stops_no_other_job(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, account())
    adopted, other = make_jobs(2)
    with rig.ledger() as ledger:
        ledger.begin_run(command="adopt", batches=["test"], pid=1, version="0", cap=None)
        ledger.register(Batch(name="test", source="t", jobs=(adopted, other)))
        item = Fetched(
            temporary="",
            sha256=sha256(b"x").hexdigest(),
            size=1,
            ext=".mp4",
            content_type="video/mp4",
        )
        adopt(ledger, adopted, Placed(index=0, path="test/job-0.mp4", fetched=item, url=""))

    run_result = rig.run([adopted, other])

    assert "put it back" in run_result.reasons["test", "job-0", 1]
    assert rig.states([other]) == [State.SUCCEEDED]
    assert len(rig.world.books.posts) == 1


@pytest.mark.parametrize("state", ["fresh", "collected later"])
def test_one_render_under_many_names_is_one_payment_and_a_file_each(
    tmp_path: Path, state: str
) -> None:
    rig = Rig(tmp_path, account())
    jobs = [make_job(name, prompt="same") for name in "abcd"]

    if state != "fresh":
        rig.run(jobs[:1], detach=True)
    rig.run(jobs)
    rig.run(jobs)

    assert rig.files() == [f"test/{name}.mp4" for name in "abcd"]
    paid_once(rig, 1)


# -- hostile answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://127.0.0.1:99999/x.mp4", "https://xn--/x.mp4"])
def test_an_odd_file_address_is_an_outcome(tmp_path: Path, url: str) -> None:
    async def ask() -> Any:
        async with SocketWire(trusted(), Proxies()) as wire:
            return await Downloader(wire).fetch(RemoteFile(url=url), tmp_path / "x.part")

    assert isinstance(anyio.run(ask), Unfetched)


def test_one_odd_file_address_ends_no_run(tmp_path: Path) -> None:
    class Odd(Bent):
        told = False

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if not is_result(request) or self.told:
                return answer
            self.told = True
            return httpx.Response(200, json={"video": {"url": "https://xn--/x.mp4"}})

    rig = Rig(tmp_path)
    jobs = make_jobs(6)
    rig.run(jobs, transport=Odd(rig.world), concurrency=2)
    assert rig.states(jobs).count(State.SUCCEEDED) == 6  # its next answer has a good one
    paid_once(rig, 6)


# -- wrong metadata ----------------------------------------------------------------------------


@pytest.mark.parametrize("off", [-1, 1, 10_000])
@pytest.mark.parametrize("content_type", ["video/mp4", "image/png", "video/x-unknown"])
def test_a_paid_file_that_fal_describes_wrongly_is_saved(
    tmp_path: Path, off: int, content_type: str
) -> None:
    class Wrong(Bent):
        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if not is_result(request) or answer.status_code != 200:
                return answer
            video = answer.json()["video"]
            facts = {"file_size": video["file_size"] + off, "content_type": content_type}
            return httpx.Response(200, json={"video": video | facts})

    rig = Rig(tmp_path, account())
    jobs = make_jobs(2)

    rig.run(jobs, transport=Wrong(rig.world))
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert rig.files() == ["test/job-0.mp4", "test/job-1.mp4"]
    paid_once(rig, 2)


# -- a lie about a size ------------------------------------------------------------------------


def test_a_server_that_declares_gigabytes_stops_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fal's own result says how big the file is; its file server says 7 GB, once, of one file."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * 1024**3))

    class Liar(Bent):
        told = False

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if request.url.host.endswith("fal.media") and not self.told:
                self.told = True
                answer.headers["content-length"] = str(7 * 1024**3)
            return answer

    rig = Rig(tmp_path, Settings(concurrency=2, media="template"))
    jobs = make_jobs(6)
    run_result = rig.run(jobs, transport=Liar(rig.world), concurrency=2)
    assert not run_result.stops


# -- a disk that refuses twice ---------------------------------------------------------------------


def test_a_ledger_that_is_full_behind_a_name_that_is_refused_stops_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    first = make_job("first")
    rig.run([first])
    names = [first._replace(id=name, path=f"test/{name}{{output}}{{ext}}") for name in ("b", "c")]
    (tmp_path / "test/b.mp4").mkdir()

    def full(*_: object) -> None:
        raise LedgerError("database or disk is full")

    monkeypatch.setattr(Ledger, "place", full)

    run_result = rig.run(names)

    assert run_result.stopped_by() == (ExitCode.LEDGER,)
