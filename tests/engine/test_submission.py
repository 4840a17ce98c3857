"""The paid POST: refused, throttled, put off, tried again; and uploads before it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.books import paid_once
from support.engine import CountingUploads, Rig, account, make_job, make_jobs, slow

from kling_batch.core.jobs import LocalFile
from kling_batch.core.lifecycle import Event, State
from kling_batch.emulator import Fault, Settings
from kling_batch.engine.engine import Engine
from kling_batch.errors import ExitCode, LedgerError
from kling_batch.ledger.ledger import Ledger, RequestClaimedError


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

    paid_once(rig, 4)
    first = rig.world.books.accepted[0].accepted_at - rig.world.books.posts[0].at
    assert first >= 7


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (429, {"detail": "slow down"}, "throttled", "throttled"),
        (403, {"detail": "User is locked. Reason: Exhausted balance"}, "locked", "locked"),
        (401, {"detail": "no such key"}, "retrying", "auth"),
    ],
)
def test_a_post_that_is_repeated_is_reported_with_its_job_its_reason_and_the_pause(
    tmp_path: Path, status: int, body: Any, kind: str, reason: str
) -> None:
    headers = {"Retry-After": "7"} if status == 429 else {}
    fault = Fault(
        stage="submit.before",
        what="status",
        status=status,
        body=json.dumps(body),
        headers=headers,
        nth=1,
    )
    rig = Rig(tmp_path, faults=[fault])

    rig.run(make_jobs(1))

    (event,) = [event for event in rig.events if event.kind == kind]
    first, second = (post.at for post in rig.world.books.posts)
    seconds = event.data["seconds"]
    assert seconds == pytest.approx(second - first, abs=0.1)
    assert seconds == round(seconds, 3)
    assert event.job == "job-0"
    assert event.message == f"HTTP {status}: {body['detail']}; again in {seconds:.0f} s"
    assert event.data["reason"] == reason
    paid_once(rig, 1)


@pytest.mark.parametrize(("status", "slower"), [(429, True), (403, False)])
def test_only_throttled_posts_slow_all_submissions_down(
    tmp_path: Path, status: int, slower: bool
) -> None:
    """A single one does not: it may be chance, and its own job waits anyway."""
    body = json.dumps({"detail": "User is locked. Reason: Exhausted balance"})
    fault = Fault(stage="submit.before", what="status", status=status, body=body, nth=(1, 2))
    rig = Rig(tmp_path, faults=[fault])
    rates: set[float] = set()

    async def look(engine: Engine) -> None:
        for _ in range(200):
            await anyio.sleep(0.1)
            rates.add(engine._context.pace().rate)

    rig.run(make_jobs(1), stop=look, rate=1.0)  # two answers decide there

    assert (min(rates) < 1.0) is slower
    paid_once(rig, 1)


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
    paid_once(rig, 1)


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
    paid_once(rig, 1)


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


# -- outages -----------------------------------------------------------------------------------


def test_a_refusal_in_half_characters_is_a_failure_like_any_other(tmp_path: Path) -> None:
    body = '{"detail": [{"type": "enum", "loc": ["body", "\\ud83d"], "msg": "\\ud83d"}]}'
    odd = Fault(stage="submit.before", what="status", status=422, body=body, nth=1)
    rig = Rig(tmp_path, account(), [odd])
    jobs = make_jobs(2)

    rig.run(jobs)

    assert rig.states(jobs) == [State.FAILED, State.SUCCEEDED]


def test_a_request_that_an_identical_attempt_has_claimed_is_in_doubt_until_another_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, claimed = Ledger.record, [True]

    def once_claimed(ledger: Ledger, attempt_id: int, event: Event, **facts: Any) -> State:
        if event is Event.SUBMIT_ACCEPTED and claimed and claimed.pop():
            raise RequestClaimedError
        return record(ledger, attempt_id, event, **facts)

    monkeypatch.setattr(Ledger, "record", once_claimed)
    rig = Rig(tmp_path, account())
    jobs = make_jobs(1)

    rig.run(jobs)

    (request,) = rig.world.books.accepted
    with rig.ledger() as ledger:
        told = ledger.db.execute("select data from events where event = 'submit_unconfirmed'")
        (reason,) = (json.loads(data)["reason"] for (data,) in told)
    assert reason == f"fal answered with request {request.request_id}, which another attempt has"
    assert rig.states(jobs) == [State.SUCCEEDED]
    paid_once(rig, 1)


def test_an_acceptance_that_cannot_be_recorded_is_reported_with_the_way_to_settle_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Ledger.record

    def full(ledger: Ledger, attempt_id: int, event: Event, **facts: Any) -> State:
        if event is Event.SUBMIT_ACCEPTED:
            raise LedgerError("the disk is full")
        return record(ledger, attempt_id, event, **facts)

    rig = Rig(tmp_path, account())
    jobs = make_jobs(1)
    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "record", full)
        run_result = rig.run(jobs)

    (request,) = rig.world.books.accepted
    (stop,) = run_result.stops
    assert stop.code is ExitCode.LEDGER
    assert stop.reason == (
        f"job-0: the disk is full\njob-0 was accepted by fal as request {request.request_id}; "
        "the next run looks it up, or: kling-batch resolve "
        f"job-0 --ledger {rig.ledger_path} --request-id {request.request_id}"
    )
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED]
    paid_once(rig, 1)


# -- files -------------------------------------------------------------------------------------


def test_an_input_that_changed_since_it_was_priced_is_not_uploaded_under_its_old_name(
    tmp_path: Path,
) -> None:
    class Uploads:
        def __init__(self) -> None:
            self.contents: list[bytes] = []

        async def upload(self, path: Path, data: bytes, content_type: str) -> str:
            self.contents.append(data)
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


# -- an outage is no verdict -------------------------------------------------------------------


def test_an_outage_that_answers_404_pages_to_posts_settles_no_job(tmp_path: Path) -> None:
    page = Fault(stage="submit.before", what="status", status=404, body="<html>Not Found", times=5)
    rig = Rig(tmp_path, faults=[page])
    jobs = make_jobs(5)
    rig.run(jobs)
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 5


def test_a_page_that_answers_for_one_job_stops_no_other(tmp_path: Path) -> None:
    """An endpoint that a gateway does not know is this job's trouble alone."""
    page = Fault(stage="submit.before", what="status", status=404, body="Not Found", prompt="job-7")
    rig = Rig(tmp_path, faults=[page])
    jobs = make_jobs(9)

    run_result = rig.run(jobs, concurrency=2)

    assert not run_result.stops
    assert rig.states(jobs).count(State.SUCCEEDED) == 8
    rig.world.faults.clear()
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 9


@pytest.mark.parametrize("status", [429, 403])
def test_who_has_only_stood_in_line_has_not_been_refused(tmp_path: Path, status: int) -> None:
    """Over an hour behind others; then one blip, which is no reason to give up at once."""
    body = json.dumps({"detail": "User is locked. Reason: Exhausted balance"})
    blip = Fault(stage="submit.before", what="status", status=status, body=body, nth=70)
    rig = Rig(tmp_path, Settings(concurrency=100, media="template"), faults=[blip])
    jobs = make_jobs(75)

    run_result = rig.run(jobs, rate=1 / 60, concurrency=100)

    assert not run_result.stops
    assert rig.states(jobs) == [State.SUCCEEDED] * 75


def test_what_is_put_off_for_longer_than_an_hour_is_left_to_the_next_run(tmp_path: Path) -> None:
    hint = {"Retry-After": "2000"}
    busy = Fault(stage="submit.before", what="status", status=429, headers=hint)
    rig = Rig(tmp_path, faults=[busy])
    begun = rig.now()

    rig.run(make_jobs(1))

    assert (rig.now() - begun).total_seconds() < 3600
    assert len(rig.world.books.posts) == 2


# -- estimates -------------------------------------------------------------------------------------


# -- headers ---------------------------------------------------------------------------------------


def test_fals_billing_pages_can_be_read_by_batch_job_and_attempt(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = [make_job("Äpfel"), make_job("hero", take=2)]

    rig.run(jobs)

    assert [request.tags for request in rig.world.books.accepted] == [
        {"batch": "test", "job": "Apfel", "attempt": "1"},
        {"batch": "test", "job": "hero#2", "attempt": "2"},
    ]


def test_an_account_that_takes_no_tags_pays_without_them(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(refuse_tags=True))
    jobs = make_jobs(3)

    run_result = rig.run(jobs, concurrency=1)

    assert run_result.stops == []
    assert [request.tags for request in rig.world.books.accepted] == [{}] * 3
    assert len(rig.world.books.refused) == 1
    paid_once(rig, 3)
    with rig.ledger() as ledger:
        attempts = sum(len(ledger.attempts_of(job.key)) for job in jobs)
    assert attempts == len(rig.world.books.posts) == 4


def test_what_does_not_begin_in_time_is_given_up_unbilled(tmp_path: Path) -> None:
    rig = Rig(tmp_path, slow(concurrency=1))
    jobs = make_jobs(2)

    rig.run(jobs, start_timeout=60.0)

    assert rig.states(jobs) == [State.SUCCEEDED, State.FAILED]
    assert len(rig.world.books.posts) == 2
    paid_once(rig, 1)
