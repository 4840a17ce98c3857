"""The order of the jobs: children wait for parents; detached runs leave the rest."""

from __future__ import annotations

from pathlib import Path

from support.books import paid_once
from support.engine import (
    Rig,
    account,
    make_job,
    make_jobs,
)

from kling_batch.core.jobs import OutputOf
from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.emulator import Fault


def test_a_child_gets_its_parents_output_and_waits_for_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    parent = make_job("parent")
    reference = OutputOf(key=parent.key, job_id="parent", take=1)
    child = make_job("child", video_url=reference, duration=None)

    rig.run([parent, child])

    assert rig.states([parent, child]) == [State.SUCCEEDED] * 2
    first, second = rig.world.books.accepted
    assert second.payload["video_url"].startswith("https://v3b.fal.media/")
    assert second.accepted_at > first.accepted_at + 1


def test_a_failed_parent_blocks_its_children(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="job", what="fail", error="one_of", request=1)])
    parent = make_job("parent")
    child = make_job("child", video_url=OutputOf(key=parent.key, job_id="parent", take=1))
    grandchild = make_job("last", video_url=OutputOf(key=child.key, job_id="child", take=1))

    run_result = rig.run([parent, child, grandchild])

    assert run_result.blocked == {("test", "child", 1), ("test", "last", 1)}
    assert len(rig.world.books.posts) == 1


def test_detach_submits_everything_and_the_next_run_collects(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(62)

    rig.run(jobs, detach=True, concurrency=12)

    assert rig.states(jobs) == [State.SUBMITTED] * 62
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 62
    paid_once(rig, 62)


def test_a_detached_run_keeps_the_rate_and_the_cap(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(20)
    cap = Cap(limit=MicroUSD(15 * 420_000))

    rig.run(jobs, detach=True, concurrency=2, rate=1.0, caps=(cap,))

    accepted = [request.accepted_at for request in rig.world.books.accepted]
    assert len(accepted) == 15
    assert accepted[-1] - accepted[0] >= 13


# -- endings -----------------------------------------------------------------------------------


def test_children_of_parents_that_end_in_every_way_never_hang_the_run(tmp_path: Path) -> None:
    """Each parent ends differently; the run ends, and only the good parent's child is paid."""
    faults = [
        Fault(stage="job", prompt="fails", what="fail", error="one_of"),
        Fault(stage="submit.before", prompt="doubtful", what="reset"),
        Fault(stage="submit.before", prompt="throttled", what="status", status=429),
        Fault(stage="download", request=2, what="reset"),
    ]
    rig = Rig(tmp_path, account(), faults)
    words = ("good", "undelivered", "fails", "doubtful", "throttled")
    parents = [make_job(word, prompt=word) for word in words]
    children = [
        make_job(f"of-{p.id}", video_url=OutputOf(key=p.key, job_id=p.id, take=1)) for p in parents
    ]

    run_result = rig.run([*parents, *children], doubt_wait=60.0)

    blocked = {("test", f"of-{word}", 1) for word in words[1:]}
    assert run_result.blocked == blocked
    assert rig.states([*parents[:1], *children[:1]]) == [State.SUCCEEDED] * 2


# -- one and the others --------------------------------------------------------------------------


def test_a_detached_run_waits_for_a_download_that_a_child_needs(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    parent = make_job("parent")
    video = OutputOf(key=parent.key, job_id="parent", take=1)
    child = make_job("child", video_url=video, duration=None)
    rig.run([parent])
    (tmp_path / "test/parent.mp4").unlink()

    rig.run([parent, child], detach=True)

    assert rig.states([parent, child]) == [State.SUCCEEDED, State.SUBMITTED]


def test_a_detached_run_submits_again_what_fal_did_not_accept(tmp_path: Path) -> None:
    busy = Fault(stage="submit.before", what="status", status=429, nth=tuple(range(1, 15)))
    rig = Rig(tmp_path, account(), [busy])

    rig.run(make_jobs(6), detach=True, concurrency=2)

    assert rig.states(make_jobs(6)) == [State.SUBMITTED] * 6
    assert len(rig.world.books.accepted) == 6
