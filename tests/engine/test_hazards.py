"""What a bad night brings: several things wrong at once, judged by the emulator's books."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.engine import T2I, T2V, Rig, make_job, make_jobs

from kling_batch.catalog.registry import cost_of
from kling_batch.core.jobs import Batch, Job, LocalFile, OutputOf, job_key
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import CancelAnswer, Charged, FailureKind, Fetched
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.emulator import Fault, Settings, platform_api
from kling_batch.engine.context import RunPolicy
from kling_batch.engine.engine import Engine
from kling_batch.engine.file_fetch import token_of
from kling_batch.errors import ExitCode
from kling_batch.ledger.ledger import Ledger, Placed
from kling_batch.ledger.overrides import adopt
from kling_batch.output.store import OutputStore

PRO = "fal-ai/kling-video/o3/pro/text-to-video"
LOCK = {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}

#: The answer to the POST is lost, after fal took it.
LOST = Fault(stage="submit.after", what="reset")


def account(**changes: Any) -> Settings:
    return Settings(**{"concurrency": 8, "media": "template", **changes})


def paid_once(rig: Rig, count: int) -> None:
    assert rig.charges == [1] * count


# -- doubts ------------------------------------------------------------------------------------


def test_doubts_of_two_endpoints_and_a_forbidden_list_are_all_held(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(list_allowed=False), [LOST])
    jobs = [make_job("a"), make_job("b", endpoint=PRO)]
    rig.run(jobs)

    rig.run([*jobs, make_job("c")])  # the doubts of the first run are looked up together

    assert rig.states(jobs) == [State.IN_DOUBT, State.IN_DOUBT]
    assert len(rig.world.books.posts) == 3
    paid_once(rig, 3)


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 503])
def test_one_refused_look_at_the_list_is_no_verdict(tmp_path: Path, status: int) -> None:
    blip = Fault(stage="list", what="status", status=status, times=2)
    rig = Rig(tmp_path, account(), [LOST, blip])
    jobs = make_jobs(3)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    assert "warning" not in rig.kinds()
    paid_once(rig, 3)


@pytest.mark.parametrize("body", ['{"items": null}', '{"items": {}}', "[]", "null", '{"items": 7}'])
def test_a_list_of_another_shape_is_asked_again(tmp_path: Path, body: str) -> None:
    odd = Fault(stage="list", what="status", status=200, body=body, times=2)
    rig = Rig(tmp_path, account(), [LOST, odd])
    jobs = make_jobs(2)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    paid_once(rig, 2)


def test_an_unfinished_request_listed_without_payload_blinds_nobody(tmp_path: Path) -> None:
    """Not yet indexed is not forbidden: the doubt waits for it."""
    row = {"request_id": "other", "endpoint_id": T2V, "sent_at": "2026-05-01T12:00:00Z"}
    early = Fault(stage="list", what="status", status=200, body={"items": [row]}, times=3)
    rig = Rig(tmp_path, account(), [LOST, early])
    jobs = make_jobs(2)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    paid_once(rig, 2)


def test_a_list_without_end_is_no_proof_that_a_request_is_not_in_it(tmp_path: Path) -> None:
    """`on_doubt: resubmit` needs a list that was read to its end and was silent."""
    circle = Fault(
        stage="list",
        what="status",
        status=200,
        body={"items": [], "next_cursor": "again", "has_more": True},
    )
    rig = Rig(tmp_path, account(), [LOST, circle])
    jobs = make_jobs(1)

    rig.run(jobs, on_doubt="resubmit", doubt_wait=120.0)

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert len(rig.world.books.posts) == 1


@pytest.mark.parametrize("status", [403, 500])
def test_a_list_that_cannot_be_read_is_no_proof_either(tmp_path: Path, status: int) -> None:
    rig = Rig(tmp_path, account(), [LOST, Fault(stage="list", what="status", status=status)])
    jobs = make_jobs(1)

    rig.run(jobs, on_doubt="resubmit", doubt_wait=120.0)

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert len(rig.world.books.posts) == 1


def test_a_second_charge_by_permission_still_counts_against_the_cap(tmp_path: Path) -> None:
    """A silent list proves nothing: what was given up may be billed."""
    late = account(list_delay=5000.0)
    rig = Rig(tmp_path, late, [Fault(stage="submit.after", what="reset", nth=1)])
    job = make_job("a")
    cap = Cap(limit=MicroUSD(job.estimate * 2 - 1))

    run_result = rig.run([job], on_doubt="resubmit", doubt_wait=300.0, caps=(cap,))

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert rig.world.books.total_committed_micro_usd <= cap.limit


def test_the_exposure_of_a_doubt_that_was_given_up_is_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.before", what="reset", nth=1)])
    job = make_job("a")

    rig.run([job], on_doubt="resubmit", doubt_wait=60.0)

    with rig.ledger() as ledger:
        money = ledger.money()
    assert rig.states([job]) == [State.SUCCEEDED]
    assert money.exposed == job.estimate


# -- outages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("listing", [200, 403, 503])
@pytest.mark.parametrize("seconds", [15, 90, 400])
def test_a_gateway_that_denies_everything_for_minutes_costs_no_render(
    tmp_path: Path, seconds: int, listing: int
) -> None:
    """404 to every read, and a list that shows nothing running: the renders go on behind it."""
    rig = Rig(tmp_path, account(list_unfinished=False))
    jobs = make_jobs(4)

    async def outage(_: Engine) -> None:
        await anyio.sleep(2)
        for stage in ("status", "result"):
            rig.world.faults.add(Fault(stage=stage, what="status", status=404))
        if listing != 200:
            rig.world.faults.add(Fault(stage="list", what="status", status=listing))
        await anyio.sleep(seconds)
        rig.world.faults.clear()

    rig.run(jobs, stop=outage)

    assert rig.states(jobs) == [State.SUCCEEDED] * 4
    paid_once(rig, 4)


def test_a_list_that_cannot_be_read_loses_no_request_however_long(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(list_unfinished=False))
    jobs = make_jobs(2)

    async def outage(_: Engine) -> None:
        await anyio.sleep(2)
        rig.world.faults.add(Fault(stage="status", what="status", status=404))
        rig.world.faults.add(Fault(stage="list", what="html", status=502))
        await anyio.sleep(3 * 3600)
        rig.world.faults.clear()

    rig.run(jobs, stop=outage)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert "in_doubt" not in rig.kinds()


@pytest.mark.parametrize("stage", ["status", "result"])
def test_a_run_ends_although_fal_never_says_a_readable_word_again(
    tmp_path: Path, stage: Any
) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage=stage, what="garbage", prompt="job-0")])
    jobs = make_jobs(2)

    run_result = rig.run(jobs)

    assert rig.states(jobs) == [State.SUBMITTED, State.SUCCEEDED]
    assert "has not answered status checks" in run_result.reasons["test", "job-0", 1]
    assert rig._virtual < 8 * 3600
    rig.world.faults.clear()
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    paid_once(rig, 2)


def test_a_request_that_nobody_knows_any_more_ends_in_doubt_and_not_never(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(list_allowed=False), [Fault(stage="status", what="expired")])
    jobs = make_jobs(1)

    rig.run(jobs)

    assert rig.states(jobs) == [State.IN_DOUBT]
    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(State.IN_DOUBT)
    assert attempt.handle is not None


def test_what_was_lost_from_sight_is_looked_for_by_the_next_run(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(list_allowed=False), [Fault(stage="status", what="expired")])
    jobs = make_jobs(2)
    rig.run(jobs)
    assert rig.states(jobs) == [State.IN_DOUBT] * 2

    rig.world.faults.clear()
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert len(rig.world.books.posts) == 2


def test_a_locked_account_that_hides_its_results_is_exit_4_not_3(tmp_path: Path) -> None:
    hidden = [Fault(stage=s, what="status", status=403, body=LOCK) for s in ("status", "result")]
    rig = Rig(tmp_path, account(), hidden)
    jobs = make_jobs(2)

    run_result = rig.run(jobs)

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert rig.states(jobs) == [State.SUBMITTED] * 2


@pytest.mark.parametrize(
    "body",
    [
        '{"status": "COMPLETED", "metrics": {"inference_time": NaN}}',
        '{"status": "COMPLETED", "metrics": {"inference_time": 1e999}}',
        '{"status": "COMPLETED", "error": "half a \\ud83d", "error_type": "\\udc00"}',
        '{"status": "\\ud83d"}',
        '{"status": "IN_QUEUE", "queue_position": 1e400}',
    ],
)
def test_answers_that_sqlite_cannot_keep_break_no_run(tmp_path: Path, body: str) -> None:
    odd = Fault(stage="status", what="status", status=200, body=body, per_request=1)
    rig = Rig(tmp_path, account(), [odd])
    jobs = make_jobs(3)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    paid_once(rig, 3)


def test_a_refusal_in_half_characters_is_a_failure_like_any_other(tmp_path: Path) -> None:
    body = '{"detail": [{"type": "enum", "loc": ["body", "\\ud83d"], "msg": "\\ud83d"}]}'
    odd = Fault(stage="submit.before", what="status", status=422, body=body, nth=1)
    rig = Rig(tmp_path, account(), [odd])
    jobs = make_jobs(2)

    rig.run(jobs)

    assert rig.states(jobs) == [State.FAILED, State.SUCCEEDED]


# -- the end of buying -------------------------------------------------------------------------


def test_a_price_alarm_stops_what_stands_in_line_too(tmp_path: Path) -> None:
    """Eight wait for their turn at five seconds each: the alarm rings before most have had it."""
    rig = Rig(tmp_path, account())
    jobs = make_jobs(8, estimate=100_000)  # fal bills 420,000

    run_result = rig.run(
        jobs, rate=0.05, concurrency=8, cost_of=lambda _e, units: MicroUSD(420_000)
    )

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert len(rig.world.books.posts) < 4


def test_a_price_alarm_stops_what_fal_throttled_meanwhile_too(tmp_path: Path) -> None:
    """Put off by a 429, and not to be sent again after buying has ended."""
    busy = Fault(
        stage="submit.before", what="status", status=429, headers={"Retry-After": "60"}, nth=2
    )
    rig = Rig(tmp_path, account(), [busy])
    jobs = make_jobs(2, estimate=100_000)

    run_result = rig.run(jobs, cost_of=lambda _e, units: MicroUSD(420_000))

    assert run_result.stopped_by() == (ExitCode.BUDGET,)
    assert len(rig.world.books.accepted) == 1
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    paid_once(rig, 2)


def test_every_request_that_the_ledger_could_not_keep_is_named(tmp_path: Path) -> None:
    """Several POSTs are in flight when the disk refuses to write: each id is money."""
    rig = Rig(tmp_path, account(), [Fault(stage="submit.after", what="delay", seconds=5)])
    jobs = make_jobs(4)

    async def refuse(engine: Engine) -> None:
        await anyio.sleep(3)
        db = engine._context.ledger.db
        db.execute("pragma query_only = 1")
        try:
            await anyio.sleep_forever()
        finally:
            db.execute("pragma query_only = 0")

    run_result = rig.run(jobs, stop=refuse)

    assert run_result.stopped_by() == (ExitCode.LEDGER,)
    assert len(rig.world.books.accepted) == 4
    told = " ".join([*(stop.reason for stop in run_result.stops), *run_result.reasons.values()])
    for request in rig.world.books.accepted:
        assert request.request_id in told
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 4
    paid_once(rig, 4)


# -- files -------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


def temporary_of(rig: Rig, attempt: Any) -> Path:
    store = rig.store()
    return store.temporary(rig.folder / "test/job-0.mp4", token_of(attempt), 0)


def test_a_copy_whose_entry_was_lost_leaves_no_second_temporary(tmp_path: Path) -> None:
    """Renaming one of two links of a file onto the other does nothing, not even remove it."""
    rig = Rig(tmp_path, account())
    one, two = make_job("one", prompt="same"), make_job("two", prompt="same")
    rig.run([one])
    os.link(tmp_path / "test/one.mp4", tmp_path / "test/two.mp4")  # killed before the ledger knew

    rig.run([one, two])

    assert names(tmp_path / "test") == ["one.mp4", "one.mp4.json", "two.mp4", "two.mp4.json"]


def test_two_new_names_for_a_file_that_was_edited_get_the_paid_one(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    one = make_job("one", prompt="same")
    rig.run([one])
    paid = (tmp_path / "test/one.mp4").read_bytes()
    (tmp_path / "test/one.mp4").write_bytes(b"cut by hand")
    jobs = [one, make_job("two", prompt="same"), make_job("three", prompt="same")]

    rig.run(jobs)

    assert (tmp_path / "test/one.mp4").read_bytes() == b"cut by hand"
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
    """It is told once as lost; the other two are not, and nobody asks for it again."""
    rig = Rig(tmp_path, account())
    job = three_images(rig)
    first, gone, last = rig.files()
    (tmp_path / gone).unlink()
    rig.world.faults.add(Fault(stage="download", what="expired"))

    rig.run([job])
    assert rig.states([job]) == [State.RENDERED]  # for a week it may come back
    assert rig.files() == [first, last]
    rig.epoch += timedelta(days=8)
    rig.run([job])

    assert rig.states([job]) == [State.SUCCEEDED]
    assert rig.files() == [first, last]
    warnings = [h.message for h in rig.happenings if h.kind == "warning"]
    assert len(warnings) == 1
    assert "1 of 3 files are paid and lost" in warnings[0]
    with rig.ledger() as ledger:
        assert rig.plan(ledger, [job]).idle
    paid_once(rig, 1)


def test_missing_and_renamed_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    job = three_images(rig)
    (tmp_path / rig.files()[1]).unlink()

    rig.run([job._replace(id="b", path="test/b{output}{ext}")])

    assert sum(name.startswith("test/b") for name in rig.files()) == 3
    paid_once(rig, 1)


def test_an_input_that_changed_since_it_was_priced_is_not_uploaded_under_its_old_name(
    tmp_path: Path,
) -> None:
    class Uploads:
        def __init__(self) -> None:
            self.contents: list[bytes] = []

        async def upload(self, path: Path, content_type: str) -> str:
            self.contents.append(path.read_bytes())
            return "https://v3b.fal.media/files/b/x.png"

    photo = tmp_path / "photo.png"
    photo.write_bytes(b"as loaded")
    digest = sha256(b"as loaded").hexdigest()
    file = LocalFile(path=str(photo), sha256=digest, size=9, content_type="image/png")
    rig = Rig(tmp_path, account(), uploads=Uploads())
    photo.write_bytes(b"something else")

    rig.run([make_job("a", image_url=file)])

    assert rig.uploads.contents == []
    assert rig.world.books.posts == []


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


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_faults_everywhere_never_hang_a_run_nor_pay_twice(
    tmp_path: Path, concurrency: int, detach: bool
) -> None:
    faults = [
        Fault(stage="submit.after", what="reset", probability=0.15),
        Fault(stage="submit.before", what="status", status=429, probability=0.1),
        Fault(stage="status", what="status", status=502, probability=0.1),
        Fault(stage="result", what="garbage", probability=0.1),
        Fault(stage="download", what="truncated", probability=0.2),
        Fault(stage="job", what="fail", error="internal_error", probability=0.2),
    ]
    rig = Rig(tmp_path, account(), faults)
    parents = make_jobs(12)
    jobs: list[Job] = [*parents]
    for parent in parents[:4]:
        reference = OutputOf(key=parent.key, job_id=parent.id, take=1)
        jobs.append(make_job(f"child-of-{parent.id}", video_url=reference))

    for _ in range(3):
        rig.run(jobs, concurrency=concurrency, detach=detach)
    rig.world.faults.clear()
    for _ in range(3):
        rig.run(jobs, concurrency=concurrency)

    assert max(rig.charges) == 1
    finals = rig.states(jobs)
    assert set(finals) <= {State.SUCCEEDED, State.FAILED, None}
    assert finals.count(State.SUCCEEDED) >= 12
    assert list(tmp_path.rglob("*.part")) == []


# -- stopping ----------------------------------------------------------------------------------


def test_a_refused_key_leaves_no_sibling_without_its_answer(tmp_path: Path) -> None:
    """One POST is refused at once; the others are in flight, and each may be a paid render."""
    faults = [
        Fault(stage="submit.before", what="status", status=401, nth=2),
        Fault(stage="submit.after", what="delay", seconds=5),
    ]
    rig = Rig(tmp_path, account(), faults)
    jobs = make_jobs(5)

    run_result = rig.run(jobs)

    accepted = len(rig.world.books.accepted)
    assert run_result.stopped_by() == (ExitCode.AUTH,)
    assert accepted >= 1
    assert rig.states(jobs).count(State.SUBMITTED) == accepted
    assert State.IN_DOUBT not in rig.states(jobs)
    rig.world.faults.clear()
    rig.run(jobs)
    paid_once(rig, 5)


def for_real(rig: Rig, jobs: list[Job], stop: Any, **policy: Any) -> Any:
    """The same run on asyncio and the real clock, as the program does it."""
    with rig.ledger() as ledger:
        ledger.begin_run(command="test", batches=["test"], pid=1, version="0", cap=None)
        ledger.recover()
        ledger.register(Batch(name="test", source="test.yaml", jobs=tuple(jobs)))
        work = partial(
            rig._drive,
            ledger,
            jobs,
            False,
            stop,
            RunPolicy(rate=500.0, **policy),
            None,
            lambda _endpoint, _units: None,
        )

        async def main() -> Any:
            MAIN.append(asyncio.current_task())
            return await work()

        return anyio.run(main)


#: The task that each real run began in.
MAIN: list[Any] = []


def slow_answers(tmp_path: Path) -> Rig:
    settings = account(profile="instant", start_latency=0.0, jitter=0.0)
    return Rig(tmp_path, settings, [Fault(stage="submit.after", what="delay", seconds=0.4)])


async def accepted_one(rig: Rig) -> None:
    while not rig.world.books.accepted:  # noqa: ASYNC110 - the books ring no bell
        await anyio.sleep(0.01)


def test_leaving_shields_the_posts_in_flight_on_asyncio_too(tmp_path: Path) -> None:
    rig = slow_answers(tmp_path)
    jobs = make_jobs(6)

    async def interrupt(engine: Engine) -> None:
        await accepted_one(rig)
        engine.leave(ExitCode.INTERRUPTED, "stop")

    run_result = for_real(rig, jobs, interrupt)

    assert run_result.stopped_by() == (ExitCode.INTERRUPTED,)
    accepted = len(rig.world.books.accepted)
    assert accepted >= 1
    assert rig.states(jobs).count(State.SUBMITTED) == accepted
    assert State.IN_DOUBT not in rig.states(jobs)


def test_a_cancellation_from_outside_anyio_shields_them_as_well(tmp_path: Path) -> None:
    """What `asyncio.run` does on Ctrl-C before our own signal handler stands, or after it."""
    rig = slow_answers(tmp_path)
    jobs = make_jobs(6)

    async def interrupt(_: Engine) -> None:
        await accepted_one(rig)
        MAIN[-1].cancel()
        await anyio.sleep_forever()

    with pytest.raises(asyncio.CancelledError):
        for_real(rig, jobs, interrupt)

    accepted = len(rig.world.books.accepted)
    assert accepted >= 1
    assert rig.states(jobs).count(State.SUBMITTED) == accepted
    assert State.SUBMITTING not in rig.states(jobs)


def test_an_exception_that_nobody_foresaw_loses_no_answer_and_is_not_hidden(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.after", what="delay", seconds=5)])
    jobs = make_jobs(4)

    async def bug(engine: Engine) -> None:
        await anyio.sleep(3)
        raise RuntimeError("a bug")

    with pytest.raises(ExceptionGroup) as caught:
        rig.run(jobs, stop=bug)

    assert caught.group_contains(RuntimeError, match="a bug")
    accepted = len(rig.world.books.accepted)
    assert rig.states(jobs).count(State.SUBMITTED) == accepted >= 1


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


def slow(**changes: Any) -> Settings:
    return account(service_times={"standard": 400.0}, jitter=0.0, **changes)


def test_a_request_that_the_key_may_not_see_is_left_alone_and_the_others_are_not(
    tmp_path: Path,
) -> None:
    hidden = Fault(
        stage="status", what="status", status=403, request=1, body={"detail": "not yours"}
    )
    rig = Rig(tmp_path, slow(), [hidden])
    jobs = make_jobs(4)

    run_result = rig.run(jobs)

    assert rig.states(jobs) == [State.SUBMITTED] + [State.SUCCEEDED] * 3
    assert run_result.stops == []
    assert "does not show it" in run_result.reasons["test", "job-0", 1]


def test_a_lock_on_the_reads_of_one_ends_the_buying_and_not_the_collecting(tmp_path: Path) -> None:
    locked = Fault(stage="status", what="status", status=403, request=1, body=LOCK)
    rig = Rig(tmp_path, slow(), [locked])
    jobs = make_jobs(6)

    run_result = rig.run(jobs, concurrency=4)

    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert rig.states(jobs) == [State.SUBMITTED] + [State.SUCCEEDED] * 3 + [None] * 2
    paid_once(rig, 4)


def test_one_batchs_cap_is_not_held_against_another(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    rig.store = lambda: OutputStore(  # type: ignore[method-assign]
        dict.fromkeys(("test", "small"), tmp_path), tmp_path
    )
    small = [
        make_job(f"s{n}")._replace(batch="small", path=f"small/s{n}{{output}}{{ext}}")
        for n in range(3)
    ]
    jobs = [small[0], *make_jobs(2), *small[1:]]
    caps = (
        Cap(limit=MicroUSD(500_000), batches=("small",), name="max_cost"),
        Cap(limit=MicroUSD(5_000_000), batches=("test",), name="max_cost"),
    )

    run_result = rig.run(jobs, caps=caps, concurrency=1)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3 + [None] * 2
    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert "s1 would pass" in run_result.stops[0].reason
    paid_once(rig, 3)


def test_a_detached_run_waits_for_a_download_that_a_child_needs(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    parent = make_job("parent")
    video = OutputOf(key=parent.key, job_id="parent", take=1)
    child = make_job("child", video_url=video, duration=None)
    rig.run([parent])
    (tmp_path / "test/parent.mp4").unlink()

    rig.run([parent, child], detach=True)

    assert rig.states([parent, child]) == [State.SUCCEEDED, State.SUBMITTED]


def test_a_detached_run_with_a_full_window_leaves_a_retry_to_the_next(tmp_path: Path) -> None:
    lock = Fault(stage="submit.before", what="status", status=429, nth=tuple(range(1, 15)))
    rig = Rig(tmp_path, account(), [lock])

    rig.run(make_jobs(6), detach=True, concurrency=2)

    assert rig.states(make_jobs(6)).count(State.SUBMITTED) == 2


def test_a_price_that_turns_out_higher_is_reckoned_with_from_then_on(tmp_path: Path) -> None:
    """Each render is billed 2.5 times its estimate: not enough for an alarm, and known by then."""
    units = {"X-Fal-Billable-Units": "7.5"}
    rig = Rig(tmp_path, account(), [Fault(stage="result", what="headers", headers=units)])
    cap = Cap(limit=MicroUSD(4_000_000), batches=("test",))

    run_result = rig.run(make_jobs(20), cost_of=cost_of, concurrency=3, caps=(cap,))

    with rig.ledger() as ledger:
        charged = ledger.money().charged
    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert 3_000_000 <= charged <= cap.limit


def test_a_failure_that_is_billed_many_times_over_stops_the_buying_too(tmp_path: Path) -> None:
    failing = Fault(
        stage="job", what="fail", error="content_policy_violation", billed=True, request=1
    )
    units = {"X-Fal-Billable-Units": "30"}
    dear = Fault(stage="result", what="headers", headers=units, request=1)
    rig = Rig(tmp_path, account(), [failing, dear])

    run_result = rig.run(make_jobs(6), cost_of=cost_of, concurrency=1)

    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert len(rig.world.books.posts) == 1


# -- what expired on the queue's side ------------------------------------------------------------


def test_a_failure_that_is_collected_from_the_list_is_a_failure(tmp_path: Path) -> None:
    """Its answer holds a link into fal's manual; that is no file, and nothing was lost."""
    rig = Rig(
        tmp_path, account(), [Fault(stage="job", what="fail", error="content_policy_violation")]
    )
    jobs = make_jobs(1)
    rig.run(jobs, detach=True)
    rig.epoch += timedelta(hours=2)

    run_result = rig.run(jobs)

    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(State.FAILED)
    assert attempt.failure is not None
    assert attempt.failure.kind is FailureKind.POLICY
    assert attempt.charged is not Charged.YES
    assert "lost" not in run_result.reasons["test", "job-0", 1]


def test_an_answer_without_files_is_collected_from_the_list(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(extra_endpoints=("acme/text",)), media=lambda _: False)
    arguments = {"prompt": "x"}
    job = make_job("raw")._replace(
        endpoint="acme/text", arguments=arguments, key=job_key("acme/text", arguments, 1)
    )
    rig.run([job], detach=True)
    rig.epoch += timedelta(seconds=60)
    rig.world.catch_up()
    rig.world.books.accepted[0].output = {"text": "forty-two"}
    rig.epoch += timedelta(hours=2)

    rig.run([job])

    assert rig.states([job]) == [State.SUCCEEDED]
    assert json.loads((tmp_path / "test/raw.json").read_text()) == {"text": "forty-two"}


@pytest.mark.parametrize("status", ["IN_QUEUE", ""])
def test_what_was_cancelled_and_vanished_is_free_only_if_it_was_still_in_its_queue(
    tmp_path: Path, status: str
) -> None:
    """What the polls saw hours ago says nothing; the look right before the cancellation does."""
    rig = Rig(
        tmp_path, account(concurrency=1, status_ttl=3600.0, list_allowed=status == "IN_QUEUE")
    )
    jobs = make_jobs(2)

    async def stop(engine: Engine) -> None:
        await anyio.sleep(5)
        engine.leave(ExitCode.INTERRUPTED, "x")

    rig.run(jobs, stop=stop)
    with rig.ledger() as ledger:
        last = ledger.attempts_in(State.SUBMITTED)[-1]
        assert last.remote_status == "IN_QUEUE"
        ledger.record(
            last.id,
            Event.CANCEL_REQUESTED,
            answer=CancelAnswer.REQUESTED,
            remote_status=status,
        )
        assert last.handle is not None
        if status:
            rig.world.cancel(rig.world.find(last.handle.request_id))
    rig.world.faults.add(Fault(stage="status", what="expired", request=2))
    rig.epoch += timedelta(hours=2)

    rig.run(jobs)

    with rig.ledger() as ledger:
        attempt = ledger.attempt(last.id)
    assert attempt.state is State.CANCELLED
    assert attempt.charged is (Charged.NO if status else Charged.UNKNOWN)


# -- outages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [30, 240])
def test_another_ledgers_request_is_not_taken_for_our_own_that_is_listed_late(
    tmp_path: Path, seconds: float
) -> None:
    rig = Rig(tmp_path, account(list_delay=10.0), [LOST])
    job = make_job("a")
    rig.world.accept(rig.world.endpoint(T2V), dict(job.arguments))
    rig.epoch += timedelta(seconds=seconds)

    rig.run([job])

    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(State.SUCCEEDED)
    assert attempt.handle is not None
    assert attempt.handle.request_id == rig.world.books.accepted[-1].request_id


@pytest.mark.parametrize("what", ["reset", "hang"])
def test_an_outage_of_a_minute_leaves_few_in_doubt(tmp_path: Path, what: Any) -> None:
    """Sixty jobs, and fal answers nothing for 40 s: the rate of five a second is not kept up."""
    rig = Rig(tmp_path, account(list_allowed=False))
    jobs = make_jobs(60)

    async def outage(_: Engine) -> None:
        rig.world.faults.add(Fault(stage="submit.before", what=what, seconds=5.0))
        await anyio.sleep(40)
        rig.world.faults.clear()

    rig.run(jobs, stop=outage, concurrency=6, rate=5.0)

    states = rig.states(jobs)
    assert states.count(State.IN_DOUBT) <= 16
    assert states.count(State.SUCCEEDED) == 60 - states.count(State.IN_DOUBT)
    assert max(rig.charges) == 1


def test_the_brake_is_loosened_by_the_first_certain_answer(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.before", what="reset", nth=(1, 2, 3, 4))])
    jobs = make_jobs(40)

    rig.run(jobs, doubt_wait=30.0)

    assert rig.states(jobs).count(State.SUCCEEDED) == 36
    assert rig.kinds().count("braking") <= 2


# -- silence that is none ------------------------------------------------------------------------


def test_an_identical_take_on_its_way_is_no_silence(tmp_path: Path) -> None:
    """The list shows one request of two equal ones: whose it is will be known, none is resent."""
    late = Fault(
        stage="submit.before", what="status", status=429, headers={"Retry-After": "900"}, nth=(2, 3)
    )
    rig = Rig(tmp_path, account(), [Fault(stage="submit.after", what="reset", nth=1), late])
    jobs = [make_job("same"), make_job("same", take=2)]

    rig.run(jobs, on_doubt="resubmit", doubt_wait=300.0)
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert sum(rig.charges) == 2


def test_a_request_that_is_listed_without_its_payload_yet_is_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = platform_api._item

    def running(*words: Any) -> dict[str, Any]:
        row = whole(*words)
        return row if row["ended_at"] else row | {"json_input": None}

    monkeypatch.setattr(platform_api, "_item", running)
    settings = account(service_times={"standard": 7200.0}, jitter=0.0, list_unfinished=True)
    rig = Rig(tmp_path, settings, [Fault(stage="submit.after", what="reset", nth=1)])
    jobs = make_jobs(1)

    rig.run(jobs, on_doubt="resubmit", doubt_wait=3600.0)

    assert rig.states(jobs) == [State.IN_DOUBT]
    rig.epoch += timedelta(hours=2)
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED]
    paid_once(rig, 1)


def test_a_request_of_another_program_without_payload_blinds_nobody(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.after", what="reset", nth=1)])
    rig.world.accept(rig.world.endpoint(T2V), {"prompt": "foreign"}, store_io=False)
    rig.epoch += timedelta(seconds=30)
    jobs = make_jobs(1)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED]


# -- clocks ------------------------------------------------------------------------------------


def jump(hours: float, after: float = 5.0) -> Any:
    """The machine's clock is put wrong, or right, in the middle of the run."""

    async def work(engine: Engine) -> None:
        await anyio.sleep(after)
        context = engine._context
        before = context.now
        context.now = lambda: before() + timedelta(hours=hours)
        context.ledger._now = context.now

    return work


@pytest.mark.parametrize("hours", [-30, -5, 5, 30])
@pytest.mark.parametrize("on_doubt", ["hold", "resubmit"])
def test_a_clock_that_jumps_buys_nothing_twice(tmp_path: Path, hours: float, on_doubt: str) -> None:
    """fal's list needs ten minutes; an hour that passed on the clock alone is no hour."""
    rig = Rig(
        tmp_path, account(list_delay=600.0), [Fault(stage="submit.after", what="reset", nth=2)]
    )
    jobs = make_jobs(4)

    rig.run(jobs, stop=jump(hours), on_doubt=on_doubt, doubt_wait=3600.0)

    assert rig.states(jobs) == [State.SUCCEEDED] * 4
    paid_once(rig, 4)


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_clock_that_jumps_between_runs_holds_what_is_in_doubt(
    tmp_path: Path, hours: float
) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.before", what="reset", nth=1)])
    jobs = make_jobs(3)
    rig.run(jobs[:2], doubt_wait=60.0)

    def wrong() -> datetime:
        return rig.now() + timedelta(hours=hours)

    ledger = Ledger(rig.ledger_path, service="emulator", now=wrong)
    rig.ledger = lambda: ledger  # type: ignore[method-assign]
    rig.run(jobs, stop=jump(hours, after=0), doubt_wait=60.0)
    del rig.ledger

    assert rig.states(jobs) == [State.IN_DOUBT, State.SUCCEEDED, State.SUCCEEDED]
    assert len(rig.world.books.posts) == 3


class Askew(Rig):
    """A machine whose clock is wrong by some hours; fal's is right."""

    hours = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.world._clock = self.fals_time

    def fals_time(self) -> float:
        return (self.now() - timedelta(hours=self.hours)).timestamp()

    def put(self, hours: float) -> None:
        """Set this machine's clock; fal's goes on as before."""
        self.epoch = self.now() + timedelta(hours=hours - self.hours)
        self._virtual, self.hours = 0.0, hours


@pytest.mark.parametrize("hours", [-7, 7])
@pytest.mark.parametrize("on_doubt", ["hold", "resubmit"])
def test_a_machine_whose_clock_is_wrong_finds_its_lost_requests(
    tmp_path: Path, hours: float, on_doubt: str
) -> None:
    """By the clock that fal's answers show: the list is asked from the true moment on."""
    rig = Askew(tmp_path, account(list_delay=60.0), [LOST])
    rig.put(hours)
    jobs = make_jobs(3)

    rig.run(jobs, on_doubt=on_doubt, doubt_wait=600.0)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    paid_once(rig, 3)


@pytest.mark.parametrize("hours", [-7, 7])
def test_a_clock_that_is_wrong_is_no_witness_that_a_request_was_not_made(
    tmp_path: Path, hours: float
) -> None:
    """The list is silent for longer than `doubt_wait`, and nothing is sent again all the same."""
    rig = Askew(tmp_path, account(list_delay=7200.0), [LOST])
    rig.put(hours)
    jobs = make_jobs(2)

    run_result = rig.run(jobs, on_doubt="resubmit", doubt_wait=600.0)

    assert rig.states(jobs) == [State.IN_DOUBT] * 2
    assert "clock" in run_result.reasons["test", "job-0", 1]
    paid_once(rig, 2)


@pytest.mark.parametrize("on_doubt", ["hold", "resubmit"])
def test_a_clock_that_was_ahead_and_is_put_right_before_the_next_run(
    tmp_path: Path, on_doubt: str
) -> None:
    """The submission lies in the future, and nobody knows when it was: a whole day is searched."""
    rig = Askew(tmp_path, account(list_delay=300.0), [LOST])
    rig.put(7)
    jobs = make_jobs(2)
    rig.run(jobs, doubt_wait=1.0)
    assert rig.states(jobs) == [State.IN_DOUBT] * 2
    rig.world.faults.clear()
    rig.put(0)

    rig.run(jobs, on_doubt=on_doubt, doubt_wait=30.0)
    rig.run(jobs, on_doubt=on_doubt, doubt_wait=900.0)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    paid_once(rig, 2)


# -- adopted files and several names -----------------------------------------------------------


def test_an_adopted_file_that_is_gone_is_a_sentence_and_nobody_else_suffers(
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

    rig.run([adopted, other])

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


def test_a_cap_is_kept_by_retries_twins_takes_and_doubts_together(tmp_path: Path) -> None:
    faults = [
        Fault(stage="submit.after", what="reset", probability=0.2),
        Fault(stage="job", what="fail", error="internal_error", probability=0.3),
        Fault(
            stage="job", what="fail", error="content_policy_violation", probability=0.1, billed=True
        ),
    ]
    rig = Rig(tmp_path, account(), faults)
    jobs = [
        *make_jobs(8),
        *(make_job("take", take=n) for n in (1, 2, 3)),
        *(make_job(name, prompt="same") for name in ("twin", "twin-2")),
    ]
    cap = Cap(limit=MicroUSD(jobs[0].estimate * 6 + 1), batches=("test",))

    for _ in range(4):
        rig.run(jobs, caps=(cap,), retry=True)
        assert rig.world.books.total_committed_micro_usd <= cap.limit
        with rig.ledger() as ledger:
            assert ledger.committed() <= cap.limit
            assert rig.world.books.total_committed_micro_usd <= ledger.committed()
