"""Submissions in doubt: looked up in fal's list, matched, held or sent again."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support.books import paid_once
from support.engine import (
    LOST,
    PRO,
    START,
    T2V,
    Bent,
    Rig,
    account,
    make_job,
    make_jobs,
)

from kling_batch.core.jobs import job_key
from kling_batch.core.lifecycle import State
from kling_batch.emulator import Fault, Settings, World, platform_api
from kling_batch.emulator.inprocess import InProcessTransport
from kling_batch.engine.engine import Engine
from kling_batch.ledger.ledger import Ledger


@pytest.mark.parametrize("what", ["reset", "garbage", "close", "hang"])
def test_a_lost_answer_is_found_in_the_list_and_never_sent_again(tmp_path: Path, what: Any) -> None:
    fault = Fault(stage="submit.after", what=what, every=3)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(9)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 9
    assert len(rig.world.books.posts) == 9
    assert rig.kinds().count("adopted") == 3
    paid_once(rig, 9)


def test_a_lost_answer_of_an_endpoint_outside_the_catalogue_is_found_too(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(extra_endpoints=("acme/text",)), [LOST], media=lambda _: False)
    arguments = {"prompt": "x"}
    job = make_job("raw")._replace(
        endpoint="acme/text", arguments=arguments, key=job_key("acme/text", arguments, 1)
    )

    rig.run([job])

    assert rig.states([job]) == [State.SUCCEEDED]
    assert rig.kinds().count("adopted") == 1
    paid_once(rig, 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 409, 302])
def test_an_unclear_answer_is_doubt_not_a_retry(tmp_path: Path, status: int) -> None:
    fault = Fault(stage="submit.after", what="status", status=status, nth=1)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(3)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    paid_once(rig, 3)


def test_doubt_without_a_trace_is_held_and_everything_else_goes_on(tmp_path: Path) -> None:
    fault = Fault(stage="submit.before", what="reset", nth=2)
    rig = Rig(tmp_path, faults=[fault])
    jobs = make_jobs(6)

    rig.run(jobs, doubt_wait=600.0, concurrency=1)

    assert rig.states(jobs) == [State.IN_DOUBT if n == 1 else State.SUCCEEDED for n in range(6)]
    assert len(rig.world.books.posts) == 6
    paid_once(rig, 5)


def test_a_doubt_is_held_over_later_runs_too(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="submit.before", what="reset", nth=1)])
    jobs = make_jobs(1)
    rig.run(jobs, doubt_wait=60.0)

    rig.run(jobs, doubt_wait=60.0)

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert len(rig.world.books.posts) == 1


def test_a_forbidden_list_leaves_doubt_to_a_person_at_once(tmp_path: Path) -> None:
    settings = Settings(concurrency=4, media="template", list_allowed=False)
    rig = Rig(tmp_path, settings, [Fault(stage="submit.after", what="reset", nth=(2, 4))])
    jobs = make_jobs(6)

    run_result = rig.run(jobs)

    assert rig.states(jobs).count(State.IN_DOUBT) == 2
    assert rig.states(jobs).count(State.SUCCEEDED) == 4
    (reason,) = {*run_result.reasons.values()}
    (warning,) = [event.message for event in rig.events if event.kind == "warning"]
    resolve = f"kling-batch resolve --ledger {rig.ledger_path}"
    assert warning == f"{reason}; submissions in doubt are left to: {resolve}"
    assert reason == "this key may not read the request list"
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


#: A list whose pages repeat.
CIRCLE = Fault(
    stage="list",
    what="status",
    status=200,
    body={"items": [], "next_cursor": "again", "has_more": True},
)


def test_a_list_without_end_is_no_proof_that_a_request_is_not_in_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(), [LOST, CIRCLE])
    jobs = make_jobs(1)

    run_result = rig.run(jobs, doubt_wait=120.0)

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert len(rig.world.books.posts) == 1
    reason = run_result.reasons["test", "job-0", 1]
    assert reason == "no trace in the part of fal's request list that could be read"


@pytest.mark.acceptance
def test_a_list_without_end_does_not_prove_that_a_request_is_lost(tmp_path: Path) -> None:
    """Its result is not found for hours; what the rest of the list says is not known."""
    gone = Fault(stage="result", what="status", status=404)
    rig = Rig(tmp_path, account(), [gone, CIRCLE])
    jobs = make_jobs(1)

    rig.run(jobs)
    assert rig.states(jobs) == [State.SUBMITTED]
    rig.world.faults.clear()
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED]
    paid_once(rig, 1)


@pytest.mark.parametrize("status", [403, 500])
def test_a_list_that_cannot_be_read_is_no_proof_either(tmp_path: Path, status: int) -> None:
    rig = Rig(tmp_path, account(), [LOST, Fault(stage="list", what="status", status=status)])
    jobs = make_jobs(1)

    run_result = rig.run(jobs, doubt_wait=120.0)

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert len(rig.world.books.posts) == 1
    reason = run_result.reasons["test", "job-0", 1]
    if status == 403:
        assert reason == "this key may not read the request list"
    else:
        assert reason.startswith("the request list cannot be read: ")
        assert "500" in reason


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


# -- silence that is none ------------------------------------------------------------------------


def test_an_identical_take_on_its_way_is_no_silence(tmp_path: Path) -> None:
    """The list shows one request of two equal ones: whose it is will be known, none is resent."""
    late = Fault(
        stage="submit.before", what="status", status=429, headers={"Retry-After": "900"}, nth=(2, 3)
    )
    rig = Rig(tmp_path, account(), [Fault(stage="submit.after", what="reset", nth=1), late])
    jobs = [make_job("same"), make_job("same", take=2)]

    rig.run(jobs, doubt_wait=300.0)
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert sum(rig.charges) == 2


class SecondAnswerIsLate(InProcessTransport):
    """The emulator, whose second POST is accepted at once and answered after 20 seconds."""

    posts = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.posts += request.method == "POST"
        late = request.method == "POST" and self.posts == 2
        answer = await super().handle_async_request(request)
        if late:
            await anyio.sleep(20)
        return answer


def test_the_request_of_a_take_whose_answer_is_still_to_come_is_not_taken_for_a_lost_one(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.before", what="reset", nth=1)])
    jobs = [make_job("same"), make_job("same", take=2)]

    rig.run(jobs, doubt_wait=60.0, transport=SecondAnswerIsLate(rig.world))

    assert rig.states(jobs) == [State.IN_DOUBT, State.SUCCEEDED]
    assert "adopted" not in rig.kinds()
    (accepted,) = rig.world.books.accepted
    with rig.ledger() as ledger:
        assert ledger.request_ids() == {accepted.request_id}
    assert rig.charges == [1]


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

    rig.run(jobs, doubt_wait=3600.0)

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


def test_a_listed_request_with_more_than_our_input_is_named_and_keeps_the_doubt_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fal may list an input with values filled in, or with defaults left out."""
    whole = platform_api._item

    def filled_in(*parts: Any) -> dict[str, Any]:
        row = whole(*parts)
        given = {k: v for k, v in row["json_input"].items() if k != "shot_type"}
        return row | {"json_input": given | {"watermark": False}}

    monkeypatch.setattr(platform_api, "_item", filled_in)
    rig = Rig(tmp_path, account(), [LOST])
    jobs = make_jobs(2)

    run_result = rig.run(jobs, doubt_wait=600.0)

    assert rig.states(jobs) == [State.IN_DOUBT] * 2
    for n, request in enumerate(rig.world.books.accepted):
        assert run_result.reasons["test", f"job-{n}", 1] == (
            f"fal lists a request that may be it: {request.request_id}"
        )
    rig.run(jobs, doubt_wait=600.0)
    assert len(rig.world.books.posts) == 2
    paid_once(rig, 2)


@pytest.mark.parametrize("wait", [0.0, 60.0, 86400.0])
def test_silence_of_the_list_never_sends_again(tmp_path: Path, wait: float) -> None:
    """A list that is later than any wait, and a render that is longer than any."""
    rig = Rig(tmp_path, account(list_delay=200_000.0), [LOST])
    jobs = make_jobs(1)

    for _ in range(2):
        run_result = rig.run(jobs, doubt_wait=wait)
        told = run_result.reasons["test", "job-0", 1]
        assert told == "no trace in fal's request list yet"

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert len(rig.world.books.posts) == 1
    paid_once(rig, 1)


def test_a_second_request_of_the_same_payload_is_reported_once(tmp_path: Path) -> None:
    """Another program's, or a charge without a file: nobody else would tell of it."""
    rig = Rig(tmp_path, account(list_delay=60.0), [Fault(stage="submit.after", what="reset")])
    jobs = [make_job("a"), make_job("late")]

    async def another(_: Engine) -> None:
        while not rig.world.books.accepted:  # noqa: ASYNC110 - nobody reports when
            await anyio.sleep(0.01)
        await anyio.sleep(5)
        rig.world.accept(rig.world.endpoint(T2V), dict(jobs[0].arguments))

    rig.run(jobs, stop=another)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    surplus = rig.world.books.accepted[-1].request_id
    (told,) = [event.message for event in rig.events if event.kind == "warning"]
    assert told == (
        f"fal also accepted request {surplus} with the same payload, and no job of this ledger "
        "owns it: another program's, or a charge without a file"
    )


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
def test_a_clock_that_jumps_buys_nothing_twice(tmp_path: Path, hours: float) -> None:
    """fal's list needs ten minutes; an hour that passed on the clock alone is no hour."""
    rig = Rig(
        tmp_path, account(list_delay=600.0), [Fault(stage="submit.after", what="reset", nth=2)]
    )
    jobs = make_jobs(4)

    rig.run(jobs, stop=jump(hours), doubt_wait=3600.0)

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
def test_a_machine_whose_clock_is_wrong_finds_its_lost_requests(
    tmp_path: Path, hours: float
) -> None:
    """By the clock that fal's answers show: the list is asked from the true moment on."""
    rig = Askew(tmp_path, account(list_delay=60.0), [LOST])
    rig.put(hours)
    jobs = make_jobs(3)

    rig.run(jobs, doubt_wait=600.0)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    paid_once(rig, 3)


@pytest.mark.parametrize("hours", [-7, 7])
def test_a_wrong_clock_is_no_proof_that_a_request_was_not_made(
    tmp_path: Path, hours: float
) -> None:
    """The list is silent for longer than `doubt_wait`, and nothing is sent again all the same."""
    rig = Askew(tmp_path, account(list_delay=7200.0), [LOST])
    rig.put(hours)
    jobs = make_jobs(2)

    run_result = rig.run(jobs, doubt_wait=600.0)

    assert rig.states(jobs) == [State.IN_DOUBT] * 2
    told = run_result.reasons["test", "job-0", 1]
    assert told == (
        "no trace in fal's request list yet; this machine's clock differs, or differed, from fal's"
    )
    paid_once(rig, 2)


def test_a_clock_that_is_put_right_during_the_post_makes_no_age_uncertain(tmp_path: Path) -> None:
    """The intent lies in the future then, but the loop's clock knows when it was."""
    hang = Fault(stage="submit.after", what="hang")
    rig = Askew(tmp_path, account(list_delay=7200.0), [hang])
    rig.put(7)
    jobs = make_jobs(1)

    run_result = rig.run(jobs, stop=jump(-7, after=1.0), doubt_wait=600.0)

    assert rig.states(jobs) == [State.IN_DOUBT]
    told = run_result.reasons["test", "job-0", 1]
    assert told == "no trace in fal's request list yet"
    paid_once(rig, 1)


@pytest.mark.parametrize("later", [0, 6])
def test_a_clock_that_was_ahead_and_is_put_right_before_the_next_run(
    tmp_path: Path, later: float
) -> None:
    """The submission lies in the future, and nobody knows when it was: a whole day is searched."""
    rig = Askew(tmp_path, account(list_delay=300.0), [LOST])
    rig.put(7)
    jobs = make_jobs(2)
    rig.run(jobs, doubt_wait=1.0)
    assert rig.states(jobs) == [State.IN_DOUBT] * 2
    rig.world.faults.clear()
    rig.put(0)
    rig.epoch += timedelta(hours=later)

    rig.run(jobs, doubt_wait=30.0)
    rig.run(jobs, doubt_wait=900.0)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    paid_once(rig, 2)


@pytest.mark.parametrize(("minutes", "differs"), [(9.9, False), (10, False), (10.1, True)])
def test_an_intent_in_the_future_tells_of_a_wrong_clock_beyond_ten_minutes(
    tmp_path: Path, minutes: float, differs: bool
) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.before", what="reset", nth=1)])
    jobs = make_jobs(1)
    rig.run(jobs, doubt_wait=0.3)
    rig.epoch -= rig.now() - START + timedelta(minutes=minutes)

    run_result = rig.run(jobs, doubt_wait=0.3)

    reason = run_result.reasons["test", "job-0", 1]
    assert reason.startswith("no trace in fal's request list yet")
    assert ("this machine's clock differs" in reason) is differs


# -- hostile answers ---------------------------------------------------------------------------


def test_a_deep_payload_in_the_list_breaks_no_run(tmp_path: Path) -> None:
    """Another program's request of the same endpoint."""
    deep: Any = "x"
    for _ in range(600):
        deep = [deep]
    row = {
        "request_id": "theirs",
        "endpoint_id": T2V,
        "sent_at": "2026-05-01T12:00:01+00:00",
        "status_code": 200,
        "json_input": {"prompt": deep},
    }

    class Deep(Bent):
        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if not request.url.path.endswith("by-endpoint"):
                return answer
            return httpx.Response(200, json={"items": [row], "has_more": False})

    rig = Rig(tmp_path, faults=[Fault(stage="submit.after", what="reset", nth=1)])
    jobs = make_jobs(3)
    rig.run(jobs, transport=Deep(rig.world), doubt_wait=60.0)
    assert sorted(map(str, rig.states(jobs))) == ["in_doubt", "succeeded", "succeeded"]


# -- how long and how often the list is asked ------------------------------------------------------


def took(rig: Rig, jobs: list[Any], **options: Any) -> float:
    """Virtual seconds of a run."""
    before = rig.world.now()
    rig.run(jobs, **options)
    return float(rig.world.now() - before)


def test_the_list_is_asked_three_times_before_it_counts_as_forbidden(tmp_path: Path) -> None:
    refused = Fault(stage="list", what="status", status=403)
    rig = Rig(tmp_path, account(), [LOST, refused])
    jobs = make_jobs(1)

    seconds = took(rig, jobs)

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert [each["fired"] for each in rig.world.faults.report()][1] == 3
    assert 2 <= seconds < 2.5, "a second between refusals"


def test_refusals_of_the_list_count_in_a_row_only(tmp_path: Path) -> None:
    refused = Fault(stage="list", what="status", status=403, nth=(1, 2, 4, 5))
    rig = Rig(tmp_path, account(list_delay=60.0), [LOST, refused])
    jobs = make_jobs(1)

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED]
    paid_once(rig, 1)


def test_our_own_request_without_payload_shows_at_once_that_fal_stores_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = platform_api._item
    monkeypatch.setattr(
        platform_api, "_item", lambda *args, **named: item(*args, **named) | {"json_input": None}
    )
    rig = Rig(tmp_path, account(), [Fault(stage="submit.before", what="reset", nth=2)])
    jobs = make_jobs(2)

    seconds = took(rig, jobs, concurrency=1)

    assert rig.states(jobs) == [State.SUCCEEDED, State.IN_DOUBT]
    assert seconds < 250
    (warning,) = [event.message for event in rig.events if event.kind == "warning"]
    assert warning.startswith("fal stores no payloads for this key; submissions in doubt are left")


@pytest.mark.parametrize("loop_start", [0.0, 5000.0])
def test_other_requests_without_payload_show_it_after_five_minutes(
    tmp_path: Path, loop_start: float
) -> None:
    lost = Fault(stage="submit.before", what="reset", nth=1)
    rig = Rig(tmp_path, account(), [lost], loop_start=loop_start)
    rig.world.accept(rig.world.endpoint(T2V), {"prompt": "foreign"}, store_io=False)
    rig.epoch += timedelta(seconds=30)
    jobs = make_jobs(1)

    seconds = took(rig, jobs, doubt_wait=3000.0)

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert 300 <= seconds < 600


def test_the_last_look_is_when_the_wait_is_over(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.before", what="reset", nth=1)])
    jobs = make_jobs(1)

    seconds = took(rig, jobs, doubt_wait=50.0)

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert 49 <= seconds < 51


def test_a_wait_of_less_than_a_second_is_over_in_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(), [Fault(stage="submit.before", what="reset", nth=1)])
    jobs = make_jobs(1)

    seconds = took(rig, jobs, doubt_wait=0.3)

    assert rig.states(jobs) == [State.IN_DOUBT]
    assert 0.29 < seconds < 0.8


# -- an id that fal gives twice ----------------------------------------------------------------


class GivenTwice(Bent):
    """fal answers the second POST with the id of the first, whose own answer was lost."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.books = world.books

    def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if request.method != "POST" or len(self.books.accepted) != 2:
            return answer
        first, second = (each.request_id for each in self.books.accepted)
        body = answer.content.decode().replace(second, first)
        return httpx.Response(200, content=body.encode())


def test_a_request_given_to_another_job_is_told_with_what_was_paid_beside_it(
    tmp_path: Path,
) -> None:
    lost = Fault(stage="submit.after", what="reset", nth=1)
    late = Fault(stage="list", what="status", status=200, body={"items": []}, times=8)
    rig = Rig(tmp_path, account(), [lost, late])
    jobs = make_jobs(2)

    rig.run(jobs, transport=GivenTwice(rig.world), concurrency=1, doubt_wait=600.0)

    first, second = (each.request_id for each in rig.world.books.accepted)
    told = [event.message for event in rig.events if event.kind == "warning"]
    (warning,) = [message for message in told if "another input" in message]
    assert warning == (
        f"fal lists request {first} with another input than job-1 has sent, which it was given to: "
        f"its file may be another job's render; request {second} has its input, was paid for as "
        f"well, and no job owns it; see: kling-batch show job-1 --ledger {rig.ledger_path}"
    )
    assert rig.states(jobs)[0] is State.IN_DOUBT
    paid_once(rig, 2)
