"""Looks at open requests in whole runs on the emulator: how many, how late, and in bad times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import anyio
import httpx
import pytest
from support.books import paid_once
from support.engine import Bent, Rig, account, is_result, make_job, make_jobs
from support.faults import repeatable

from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import parse_time
from kling_batch.emulator import Fault
from kling_batch.engine.engine import Engine
from kling_batch.settings import default_rate


@pytest.fixture(autouse=True)
def _one_order_of_tasks() -> Iterator[None]:
    """The counts depend on it: of fifty random ones, one takes more requests than allowed."""
    with repeatable(seed=1):
        yield


class Counting(Bent):
    """The emulator, with everything that is asked of it counted, and when."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig.world)
        self.kinds: Counter[str] = Counter()
        self.reads: list[float] = []

    def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if request.url.path.endswith("/status"):
            kind = "status"
        else:
            kind = "result" if is_result(request) else request.method
        self.kinds[kind] += 1
        if kind in ("status", "result"):
            self.reads.append(anyio.current_time())
        return answer

    def since(self, begin: float, end: float) -> int:
        return sum(begin <= at < end for at in self.reads)


def renders(seconds: float, jitter: float = 0.15, slots: int = 40, **changes: Any) -> Any:
    return account(service_times={"standard": seconds}, jitter=jitter, concurrency=slots, **changes)


def lateness(rig: Rig, since: int = 0) -> float:
    """Average seconds from the end of a render at fal to the ledger's row about it."""
    with rig.ledger() as ledger:
        rows = ledger.db.execute(
            "select request_id, rendered_at from attempts where id > ?", [since]
        )
        read = dict(rows.fetchall())
    ends = {each.request_id: each.finished_at for each in rig.world.books.accepted}
    return fmean(parse_time(at).timestamp() - ends[request_id] for request_id, at in read.items())


@pytest.mark.parametrize(
    ("seconds", "jitter", "most"),
    [(2.0, 0.15, 6.0), pytest.param(94.0, 0.15, 12.0, marks=pytest.mark.acceptance)],
)
def test_with_learned_durations_a_job_costs_few_requests_and_is_noticed_at_once(
    tmp_path: Path, seconds: float, jitter: float, most: float
) -> None:
    rig = Rig(tmp_path, renders(seconds, jitter))
    learned, jobs = make_jobs(60), make_jobs(200)[60:]
    rig.run(learned, concurrency=40)
    counting = Counting(rig)

    rig.run(jobs, concurrency=40, transport=counting)

    assert rig.states(jobs) == [State.SUCCEEDED] * 140
    assert counting.kinds.total() / 140 <= most
    # At 2 s, few requests are chosen over 40 ms.
    assert lateness(rig, since=60) <= 0.02 * seconds + 0.08
    paid_once(rig, 200)


def test_the_default_rate_keeps_forty_slots_busy(tmp_path: Path) -> None:
    """80 clips of two seconds at 40 slots: two rounds, nearly back to back."""
    rig = Rig(tmp_path, renders(2.0, 0.0))
    jobs = make_jobs(80)

    rig.run(jobs, concurrency=40, rate=default_rate(40))

    ends = [each.finished_at for each in rig.world.books.accepted]
    began = min(each.accepted_at for each in rig.world.books.accepted)
    assert max(end for end in ends if end is not None) - began <= 2 * 2.3 + 1
    paid_once(rig, 80)


def test_a_resumed_run_looks_at_all_that_is_open_soon_and_not_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, renders(30.0, slots=10_000))
    jobs = make_jobs(100)
    rig.run(jobs, detach=True, rate=1000.0)
    rig.epoch += timedelta(minutes=20)
    counting = Counting(rig)

    rig.run(jobs, transport=counting)

    assert rig.states(jobs) == [State.SUCCEEDED] * 100
    # Where their service time is known, some give their result at once.
    assert 20 < counting.kinds["status"] < counting.kinds["result"] == 100
    assert counting.since(0, 0.1) < 60
    assert max(counting.reads) < 5
    paid_once(rig, 100)


# -- results in place of statuses ----------------------------------------------------------------


class Early(Counting):
    """The same, with the answers to results that are not there yet counted, and changed."""

    def __init__(self, rig: Rig, instead: httpx.Response | None = None) -> None:
        super().__init__(rig)
        self._instead = instead
        self.early, self.early_at = 0, 0.0

    def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        super().bend(request, answer)
        if not is_result(request) or b"still in progress" not in answer.content:
            return answer
        self.early += 1
        self.early_at = self.early_at or anyio.current_time()
        instead = self._instead
        if instead is None:
            return answer
        headers = {k: v for k, v in instead.headers.items() if k == "retry-after"}
        return httpx.Response(instead.status_code, headers=headers, content=instead.content)


def test_what_has_probably_ended_gives_its_result_without_a_look_at_its_status(
    tmp_path: Path,
) -> None:
    """A quarter is looked at all the same: only the status tells how long it rendered."""
    rig = Rig(tmp_path, renders(94.0, 0.002, slots=100))
    learned, jobs = make_jobs(40), make_jobs(240)[40:]
    rig.run(learned, concurrency=40)
    counting = Early(rig)

    rig.run(jobs, concurrency=40, transport=counting)

    assert rig.states(jobs) == [State.SUCCEEDED] * 200
    given = counting.kinds["result"] - counting.early
    assert given == 200
    with rig.ledger() as ledger:
        measured = [each for each in ledger.services() if each.told is not None]
    # 40 of the first run, and of the second those that were seen to be COMPLETED.
    assert 40 + 30 <= len(measured) < 40 + 140
    assert lateness(rig, since=40) <= 0.02 * 94
    paid_once(rig, 240)


ODD_EARLY_RESULTS = [
    None,
    httpx.Response(202, json={"status": "IN_PROGRESS"}),
    httpx.Response(200, json={"status": "IN_PROGRESS", "logs": None}),
    httpx.Response(200, json=None),
    httpx.Response(404, json={"detail": "Request not found"}),
    httpx.Response(403, json={"detail": "Forbidden"}),
    httpx.Response(422, json={"detail": [{"loc": ["body"], "msg": "no", "type": "no_result"}]}),
    httpx.Response(500, json={"detail": "error", "error_type": "internal_server_error"}),
    httpx.Response(502, content=b"<html>Bad Gateway</html>"),
]


@pytest.mark.parametrize(
    "answer",
    [
        *ODD_EARLY_RESULTS[:2],
        *(pytest.param(each, marks=pytest.mark.acceptance) for each in ODD_EARLY_RESULTS[2:]),
    ],
)
def test_no_answer_to_a_result_that_is_not_there_says_anything(
    tmp_path: Path, answer: httpx.Response | None
) -> None:
    """The service has become slower: every result that is asked for early is missing."""
    rig = Rig(tmp_path, renders(20.0, 0.0, slots=100))
    learned, jobs = make_jobs(20), make_jobs(60)[20:]
    rig.run(learned, concurrency=20)
    rig.world.change_settings({"service_times": {"standard": 30.0}})
    counting = Early(rig, answer)

    rig.run(jobs, concurrency=10, transport=counting)

    assert rig.states(jobs) == [State.SUCCEEDED] * 40
    assert 0 < counting.early <= 10  # eight in a row, and what was under way
    assert lateness(rig, since=20) <= 0.1 * 30
    paid_once(rig, 60)


@pytest.mark.parametrize("kinds", [1, pytest.param(3, marks=pytest.mark.acceptance)])
def test_a_service_that_became_faster_is_noticed_by_runs_of_few_jobs(
    tmp_path: Path, kinds: int
) -> None:
    """The status of a quarter is read whatever their number, kind and order."""
    rig = Rig(tmp_path, renders(60.0, 0.0, slots=100))
    lengths = ["5", "6", "7"][:kinds]
    jobs = [make_job(f"job-{n}", duration=lengths[n % kinds]) for n in range(40 * kinds)]
    first = 10 * kinds
    rig.run(jobs[:first], concurrency=100)
    rig.world.change_settings({"service_times": {"standard": 30.0}})

    for at in range(first, len(jobs), kinds):
        rig.run(jobs[at : at + kinds], concurrency=100)

    assert rig.states(jobs) == [State.SUCCEEDED] * len(jobs)
    assert lateness(rig, since=len(jobs) - first) <= 0.1 * 30
    paid_once(rig, len(jobs))


def test_a_retry_after_of_a_result_that_is_not_there_holds_all_reads(tmp_path: Path) -> None:
    rig = Rig(tmp_path, renders(20.0, 0.0, slots=100))
    learned, jobs = make_jobs(20), make_jobs(60)[20:]
    rig.run(learned, concurrency=20)
    rig.world.change_settings({"service_times": {"standard": 22.0}})
    busy = httpx.Response(429, headers={"Retry-After": "15"}, json={"detail": "slow down"})
    counting = Early(rig, busy)

    rig.run(jobs, concurrency=40, transport=counting)

    assert rig.states(jobs) == [State.SUCCEEDED] * 40
    assert counting.early
    first = counting.early_at
    assert counting.since(first + 0.5, first + 14) <= 8  # what was under way
    paid_once(rig, 60)


def test_a_result_that_makes_wait_is_not_waited_for_long(tmp_path: Path) -> None:
    rig = Rig(tmp_path, renders(20.0, 0.0, slots=100))
    learned, jobs = make_jobs(20), make_jobs(60)[20:]
    rig.run(learned, concurrency=20)
    rig.world.change_settings({"service_times": {"standard": 22.0}})

    class Waiting(Early):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            before = self.early
            answer = await super().handle_async_request(request)
            if self.early > before:
                await anyio.sleep(170)
            return answer

    counting = Waiting(rig)
    rig.run(jobs, concurrency=40, transport=counting)

    assert rig.states(jobs) == [State.SUCCEEDED] * 40
    assert counting.early
    assert lateness(rig, since=20) <= 10 + 0.1 * 22
    paid_once(rig, 60)


def test_what_failed_is_not_asked_again_and_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path, renders(20.0, 0.0, slots=100))
    learned, jobs = make_jobs(20), make_jobs(32)[20:]
    rig.run(learned, concurrency=20)
    rig.world.faults.add(Fault(stage="job", what="fail", error="content_policy_violation"))
    counting = Counting(rig)

    rig.run(jobs, concurrency=12, transport=counting)

    assert rig.states(jobs) == [State.FAILED] * 12
    assert counting.kinds["result"] <= 2 * 12
    assert counting.kinds["POST"] == 12


@pytest.mark.parametrize("status", [429, 503])
def test_reads_that_are_throttled_become_rare_and_recover(tmp_path: Path, status: int) -> None:
    rig = Rig(tmp_path, renders(5.0))
    jobs = make_jobs(50)
    counting = Counting(rig)

    async def trouble(_: Engine) -> None:
        await anyio.sleep(3)
        for stage in ("status", "result"):
            rig.world.faults.add(Fault(stage=stage, what="status", status=status))
        await anyio.sleep(120)
        rig.world.faults.clear()

    rig.run(jobs, concurrency=40, transport=counting, stop=trouble)

    assert rig.states(jobs) == [State.SUCCEEDED] * 50
    assert counting.since(20, 120) <= 105  # one a second, where 40 requests are due
    assert max(counting.reads) < 123 + 60
    paid_once(rig, 50)


def test_a_throttled_rate_of_submissions_shrinks_and_recovers(tmp_path: Path) -> None:
    rig = Rig(tmp_path, renders(2.0, slots=1000))
    jobs = make_jobs(60)
    posts: list[float] = []

    class Watching(Bent):
        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if request.method == "POST":
                posts.append(anyio.current_time())
            return answer

    async def trouble(_: Engine) -> None:
        rig.world.faults.add(Fault(stage="submit.before", what="status", status=429))
        await anyio.sleep(20)
        rig.world.faults.clear()

    rig.run(
        jobs,
        concurrency=1000,
        rate=default_rate(1000),
        transport=Watching(rig.world),
        stop=trouble,
    )

    assert rig.states(jobs) == [State.SUCCEEDED] * 60
    assert sum(at < 20 for at in posts) < 60
    paid_once(rig, 60)
