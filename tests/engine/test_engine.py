"""The engine on virtual time, judged by the emulator's books."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.engine import CountingUploads, Rig, make_job, make_jobs

from kling_batch.core.jobs import LocalFile, OutputOf
from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.emulator import Fault, Settings
from kling_batch.engine.engine import Engine
from kling_batch.errors import ExitCode


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def all_paid_once(rig: Rig, count: int) -> None:
    assert rig.charges == [1] * count


def test_every_job_is_paid_once_and_ends_as_a_file(rig: Rig) -> None:
    jobs = make_jobs(20)

    run_result = rig.run(jobs)

    assert run_result.stops == []
    assert rig.states(jobs) == [State.SUCCEEDED] * 20
    assert rig.files() == sorted(f"test/job-{n}.mp4" for n in range(20))
    all_paid_once(rig, 20)


def test_a_second_run_sends_nothing(rig: Rig) -> None:
    jobs = make_jobs(5)
    rig.run(jobs)
    posts = len(rig.world.books.posts)

    rig.run(jobs)

    assert len(rig.world.books.posts) == posts == 5
    all_paid_once(rig, 5)


def test_concurrency_bounds_open_requests(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=50, media="template"))
    most = 0

    async def watch(_: Engine) -> None:
        nonlocal most
        while True:
            open_now = sum(r.finished_at is None for r in rig.world.books.accepted)
            most = max(most, open_now)
            await anyio.sleep(0.05)

    rig.run(make_jobs(12), stop=watch, concurrency=3)

    assert most == 3


def test_rate_spaces_submissions_evenly(rig: Rig) -> None:
    rig.run(make_jobs(10), rate=2.0, concurrency=10)

    times = [request.accepted_at for request in rig.world.books.accepted]
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 0.49


def test_submissions_keep_the_manifests_order(rig: Rig) -> None:
    jobs = make_jobs(12)

    rig.run(jobs, concurrency=12)

    sent = [request.payload["prompt"] for request in rig.world.books.accepted]
    assert sent == [job.arguments["prompt"] for job in jobs]


@pytest.mark.parametrize("status", [429, 425])
def test_a_throttled_post_is_repeated_and_paid_once(tmp_path: Path, status: int) -> None:
    headers = {"Retry-After": "7"}
    fault = Fault(stage="submit.before", what="status", status=status, times=3, headers=headers)
    rig = Rig(tmp_path, faults=[fault])

    rig.run(make_jobs(4))

    all_paid_once(rig, 4)
    first = rig.world.books.accepted[0].accepted_at - rig.world.books.posts[0].at
    assert first >= 7


def test_a_throttled_post_takes_its_turn_in_the_rate_again(tmp_path: Path) -> None:
    fault = Fault(stage="submit.before", what="status", status=429, times=12)
    rig = Rig(tmp_path, faults=[fault])

    rig.run(make_jobs(6), rate=2.0, concurrency=6)

    all_paid_once(rig, 6)
    times = [post.at for post in rig.world.books.posts]
    assert len(times) == 18
    assert min(b - a for a, b in pairwise(times)) >= 0.49


def test_every_post_is_an_attempt_that_the_caps_have_seen(tmp_path: Path) -> None:
    """Put off, it holds no money: others may take the room, and it asks for its own again."""
    busy = Fault(
        stage="submit.before", what="status", status=429, headers={"Retry-After": "60"}, nth=1
    )
    rig = Rig(tmp_path, faults=[busy])
    jobs = make_jobs(2)
    cap = Cap(limit=MicroUSD(500_000))

    run_result = rig.run(jobs, caps=(cap,))

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert rig.world.books.total_charged_micro_usd == 420_000
    with rig.ledger() as ledger:
        tried = [len(ledger.attempts_of(job.key)) for job in jobs]
    assert sum(tried) == len(rig.world.books.posts) == 2


@pytest.mark.parametrize("what", ["reset", "garbage", "close", "hang"])
def test_a_lost_answer_is_found_in_the_list_and_never_sent_again(tmp_path: Path, what: Any) -> None:
    fault = Fault(stage="submit.after", what=what, every=3)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(9)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 9
    assert len(rig.world.books.posts) == 9
    assert rig.kinds().count("adopted") == 3
    all_paid_once(rig, 9)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 409, 302])
def test_an_unclear_answer_is_doubt_not_a_retry(tmp_path: Path, status: int) -> None:
    fault = Fault(stage="submit.after", what="status", status=status, nth=1)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(3)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    all_paid_once(rig, 3)


def test_doubt_without_a_trace_is_held_and_everything_else_goes_on(tmp_path: Path) -> None:
    fault = Fault(stage="submit.before", what="reset", nth=2)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(6)

    rig.run(jobs, doubt_wait=600.0, concurrency=1)

    assert rig.states(jobs) == [State.IN_DOUBT if n == 1 else State.SUCCEEDED for n in range(6)]
    assert len(rig.world.books.posts) == 6
    all_paid_once(rig, 5)


def test_a_doubt_is_held_over_later_runs_too(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="submit.before", what="reset", nth=1)])
    jobs = make_jobs(1)
    rig.run(jobs, doubt_wait=60.0)

    rig.run(jobs, doubt_wait=60.0)

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert len(rig.world.books.posts) == 1


def test_on_doubt_resubmit_pays_again_only_after_the_list_stayed_silent(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="submit.before", what="reset", nth=1)])
    jobs = make_jobs(1)

    rig.run(jobs, on_doubt="resubmit", doubt_wait=300.0)

    first, second = (post.at for post in rig.world.books.posts)
    assert second - first >= 300
    assert rig.states(jobs) == [State.SUCCEEDED]
    all_paid_once(rig, 1)


@pytest.mark.parametrize("on_doubt", ["hold", "resubmit"])
def test_a_forbidden_list_leaves_doubt_to_a_person_at_once(tmp_path: Path, on_doubt: str) -> None:
    settings = Settings(concurrency=4, media="template", list_allowed=False)
    rig = Rig(tmp_path, settings, [Fault(stage="submit.after", what="reset", nth=(2, 4))])
    jobs = make_jobs(6)

    rig.run(jobs, on_doubt=on_doubt)

    assert rig.states(jobs).count(State.IN_DOUBT) == 2
    assert rig.states(jobs).count(State.SUCCEEDED) == 4
    assert rig.kinds().count("warning") == 1
    assert len(rig.world.books.posts) == 6
    assert max(rig.charges) == 1


def test_identical_takes_in_doubt_claim_one_request_each(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="submit.after", what="reset")])
    jobs = [make_job("same", take=n) for n in (1, 2, 3)]

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    assert rig.charges == [3]
    with rig.ledger() as ledger:
        assert len(ledger.request_ids()) == 3


@pytest.mark.parametrize("stage", ["status", "result", "download"])
@pytest.mark.parametrize("what", ["reset", "garbage", "html", "truncated"])
def test_broken_reads_are_no_verdict(tmp_path: Path, stage: Any, what: Any) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage=stage, what=what, probability=0.3)])
    jobs = make_jobs(10)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 10
    all_paid_once(rig, 10)


@pytest.mark.parametrize("stage", ["status", "result"])
@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 502, 503, 504])
def test_refused_reads_are_no_verdict(tmp_path: Path, stage: Any, status: int) -> None:
    fault = Fault(stage=stage, what="status", status=status, per_request=3)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(4)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 4
    all_paid_once(rig, 4)


def test_an_expired_result_is_fetched_through_the_list(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="result", what="expired")])
    jobs = make_jobs(3)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    all_paid_once(rig, 3)


def test_files_that_fal_denies_before_their_time_are_asked_for_again(tmp_path: Path) -> None:
    """fal keeps them for seven days: until then a denial is an outage, and no money is lost."""
    rig = Rig(tmp_path, faults=[Fault(stage="download", what="expired", request=1)])
    jobs = make_jobs(2)

    run_result = rig.run(jobs)

    assert rig.states(jobs) == [State.RENDERED, State.SUCCEEDED]
    assert "paid, and it looks lost" in run_result.reasons["test", "job-0", 1]
    rig.world.faults.clear()
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    all_paid_once(rig, 2)


def test_expired_files_are_lost_money_and_never_rendered_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="download", what="expired", request=1)])
    jobs = make_jobs(2)

    rig.run(jobs)
    rig.epoch += timedelta(days=8)
    rig.run(jobs)
    rig.run(jobs)

    assert rig.states(jobs) == [State.FAILED, State.SUCCEEDED]
    with rig.ledger() as ledger:
        (lost,) = ledger.attempts_in(State.FAILED)
    assert lost.failure is not None
    assert "paid and lost" in lost.failure.message
    all_paid_once(rig, 2)


@pytest.mark.parametrize(
    "error", ["runner_disconnected", "request_timeout", "internal_error", "generation_timeout"]
)
def test_unbilled_transient_failures_get_new_attempts(tmp_path: Path, error: str) -> None:
    fault = Fault(stage="job", what="fail", error=error, request=(1, 2))
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(1)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED]
    assert len(rig.world.books.accepted) == 3
    all_paid_once(rig, 1)


def test_attempts_end_after_three(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="job", what="fail", error="internal_error")])
    jobs = make_jobs(1)

    rig.run(jobs)
    rig.run(jobs)

    assert len(rig.world.books.accepted) == 3
    assert rig.states(jobs) == [State.FAILED]


@pytest.mark.parametrize("error", ["content_policy_violation", "no_media_generated", "one_of"])
def test_policy_and_validation_are_never_tried_again(tmp_path: Path, error: str) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="job", what="fail", error=error, request=1)])
    jobs = make_jobs(3)

    run_result = rig.run(jobs)
    rig.run(jobs)

    assert len(rig.world.books.accepted) == 3
    assert rig.states(jobs) == [State.FAILED, State.SUCCEEDED, State.SUCCEEDED]
    assert run_result.failed == {("test", "job-0", 1)}


def test_retry_failed_is_a_persons_permission_for_more(tmp_path: Path) -> None:
    fault = Fault(stage="job", what="fail", error="one_of", request=1)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(1)
    rig.run(jobs)

    rig.run(jobs, retry=True)

    assert rig.states(jobs) == [State.SUCCEEDED]
    all_paid_once(rig, 1)


def test_a_refused_key_stops_the_run_and_marks_nothing_failed(tmp_path: Path) -> None:
    fault = Fault(stage="submit.before", what="status", status=401, times=8)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(8)

    run_result = rig.run(jobs, concurrency=2)

    assert ExitCode.AUTH in run_result.stopped_by()
    assert run_result.failed == set()
    assert rig.charges == []
    rig.world.faults.clear()
    rig.run(jobs)
    all_paid_once(rig, 8)


def test_an_account_lock_pauses_submission_and_keeps_collecting(tmp_path: Path) -> None:
    lock = {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}
    fault = Fault(
        stage="submit.before", what="status", status=403, body=lock, nth=tuple(range(3, 40))
    )
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(6)

    run_result = rig.run(jobs, concurrency=2)

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert rig.states(jobs).count(State.SUCCEEDED) == 2
    all_paid_once(rig, 2)


def test_one_lock_answer_in_a_burst_is_taken_as_a_blip(tmp_path: Path) -> None:
    lock = {"detail": "User is locked. Reason: Exhausted balance."}
    fault = Fault(stage="submit.before", what="status", status=403, body=lock, nth=2)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(4)

    run_result = rig.run(jobs)

    assert run_result.stops == []
    all_paid_once(rig, 4)


def test_the_cap_holds_over_jobs_retries_and_runs(tmp_path: Path) -> None:
    fault = Fault(stage="job", what="fail", error="internal_error", probability=0.3)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(10)
    caps = (Cap(limit=MicroUSD(2_000_000), batches=("test",)),)

    for _ in range(3):
        run_result = rig.run(jobs, caps=caps)
        assert ExitCode.BUDGET in run_result.stopped_by()

    assert rig.world.books.total_charged_micro_usd <= 2_000_000
    assert rig.states(jobs).count(State.SUCCEEDED) == 4


def test_the_daily_cap_counts_every_batch_and_lets_go_after_a_day(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(5)
    caps = (Cap(limit=MicroUSD(900_000), window=timedelta(days=1)),)

    rig.run(jobs, caps=caps)
    rig.run(jobs, caps=caps)
    assert rig.world.books.total_charged_micro_usd == 840_000
    rig.epoch += timedelta(hours=24, minutes=5)
    rig.run(jobs, caps=caps)

    assert rig.world.books.total_charged_micro_usd == 1_680_000


def test_the_daily_cap_holds_although_the_clock_is_set_forward_in_the_run(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    caps = (Cap(limit=MicroUSD(900_000), window=timedelta(days=1)),)

    async def jump(engine: Engine) -> None:
        await anyio.sleep(5)
        rig.epoch += timedelta(hours=30)

    run_result = rig.run(make_jobs(5), caps=caps, rate=0.1, stop=jump)

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert rig.world.books.total_charged_micro_usd == 840_000


def test_a_job_far_over_its_estimate_stops_further_submissions(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(6, estimate=100_000)

    run_result = rig.run(
        jobs, concurrency=1, cost_of=lambda _endpoint, units: round(units * 140_000)
    )

    assert ExitCode.BUDGET in run_result.stopped_by()
    assert len(rig.world.books.posts) == 1


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


def test_one_local_file_is_uploaded_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, uploads=CountingUploads())
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"x")
    digest = sha256(b"x").hexdigest()
    file = LocalFile(path=str(photo), sha256=digest, size=1, content_type="image/png")
    jobs = [make_job(f"j{n}", image_url=file) for n in range(4)]

    rig.run(jobs)
    rig.run([make_job("another", image_url=file)])

    assert rig.uploads.paths == [photo]
    assert len({r.payload["image_url"] for r in rig.world.books.accepted}) == 1


def test_identical_jobs_are_one_payment_and_two_files(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    one = make_job("one", prompt="the same")
    two = make_job("two", prompt="the same")

    rig.run([one, two])

    assert one.key == two.key
    all_paid_once(rig, 1)
    assert rig.files() == ["test/one.mp4", "test/two.mp4"]


def test_a_deleted_file_is_downloaded_again_not_rendered(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(2)
    rig.run(jobs)
    (tmp_path / "test/job-0.mp4").unlink()

    rig.run(jobs)

    assert rig.files() == ["test/job-0.mp4", "test/job-1.mp4"]
    all_paid_once(rig, 2)


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
    all_paid_once(rig, 2)


def test_a_renamed_job_is_copied_not_paid(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.run([make_job("before", prompt="p")])

    rig.run([make_job("after", prompt="p")])

    assert "test/after.mp4" in rig.files()
    all_paid_once(rig, 1)


def test_leaving_lets_posts_in_flight_get_their_answer(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="submit.after", what="delay", seconds=5)])
    jobs = make_jobs(8)

    async def interrupt(engine: Engine) -> None:
        await anyio.sleep(2.5)
        engine.leave(ExitCode.INTERRUPTED, "stop")

    run_result = rig.run(jobs, stop=interrupt)

    assert run_result.stopped_by() == (ExitCode.INTERRUPTED,)
    accepted = len(rig.world.books.accepted)
    assert accepted > 0
    assert rig.states(jobs).count(State.SUBMITTED) == accepted

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 8
    all_paid_once(rig, 8)


def test_leaving_while_throttled_leaves_no_doubt(tmp_path: Path) -> None:
    fault = Fault(stage="submit.before", what="status", status=429, headers={"Retry-After": "60"})
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(3)

    async def interrupt(engine: Engine) -> None:
        await anyio.sleep(5)
        engine.leave(ExitCode.INTERRUPTED, "stop")

    rig.run(jobs, stop=interrupt)

    assert State.IN_DOUBT not in rig.states(jobs)
    rig.world.faults.clear()
    rig.run(jobs)
    all_paid_once(rig, 3)


def test_detach_submits_what_the_window_allows_and_the_next_run_collects(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(6)

    rig.run(jobs, detach=True, concurrency=4)

    assert rig.states(jobs).count(State.SUBMITTED) == 4
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 6
    all_paid_once(rig, 6)


def test_thousands_of_virtual_seconds_cost_few_real_ones(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=20, profile="realistic", media="template"))
    jobs = make_jobs(100)

    rig.run(jobs, concurrency=100)

    all_paid_once(rig, 100)


def test_the_bad_luck_of_one_job_holds_nobody_for_long(tmp_path: Path) -> None:
    """Refused ten times in a row, it waits longer and longer; the others are accepted meanwhile."""
    unlucky = Fault(stage="submit.before", what="status", status=429, prompt="job-0", times=10)
    rig = Rig(tmp_path, Settings(concurrency=20, media="template"), faults=[unlucky])
    jobs = make_jobs(20)

    rig.run(jobs, concurrency=20, rate=10.0)

    all_paid_once(rig, 20)
    times = {r.prompt: r.accepted_at for r in rig.world.books.accepted}
    slow = times.pop("prompt of job-0")
    assert max(times.values()) - min(times.values()) < 15
    assert slow - min(times.values()) > 60
