"""Renders whose files cannot be had where fal said: its later answers are read before it counts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.books import paid_once
from support.engine import Bent, Rig, account, is_result, make_jobs

from kling_batch.core.lifecycle import Event, State
from kling_batch.emulator import World

DEAD = "/files/dead/"
ERROR = {"error": {"message": "not ready", "url": "https://docs.fal.ai/errors"}}


def is_list(request: httpx.Request) -> bool:
    return request.url.path.endswith("by-endpoint")


class DeadAddresses(Bent):
    """fal names addresses where nothing lies, in results or in the list, so often for each."""

    def __init__(self, world: World, status: int, *, results: int, lists: int = 0) -> None:
        super().__init__(world)
        self.status, self.times = status, {"result": results, "list": lists}
        self.reads: Counter[tuple[str, str]] = Counter()

    def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if DEAD in str(request.url):
            return httpx.Response(self.status)
        kind = "list" if is_list(request) else "result" if is_result(request) else ""
        ready = answer.status_code in (200, 404)
        self.reads[kind, str(request.url)] += ready
        if not kind or not ready or self.reads[kind, str(request.url)] > self.times[kind]:
            return answer
        text = answer.content.decode().replace("/files/", DEAD)
        return httpx.Response(answer.status_code, content=text.encode())

    def most(self, kind: str) -> int:
        return max(n for (what, _), n in self.reads.items() if what == kind)


def changes(rig: Rig) -> int:
    with rig.ledger() as ledger:
        sql = "select count(*) from events where event = 'output_changed'"
        return int(ledger.db.execute(sql).fetchone()[0])


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(("results", "lists"), [(1, 0), (9, 0)])
def test_a_file_is_fetched_from_where_a_later_answer_says(
    tmp_path: Path, status: int, results: int, lists: int
) -> None:
    """The second result names it, or else the request list."""
    rig = Rig(tmp_path, account())
    jobs = make_jobs(2)
    dead = DeadAddresses(rig.world, status, results=results, lists=lists)

    rig.run(jobs, transport=dead)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert len(rig.files()) == 2
    assert changes(rig) == 2
    assert dead.most("result") <= 2
    paid_once(rig, 2)
    with rig.ledger() as ledger:
        urls = [row[0] for row in ledger.db.execute("select url from artifacts")]
        assert len(urls) == 2
        assert not any(DEAD in url for url in urls)


@pytest.mark.parametrize("status", [403, 404])
def test_each_run_asks_once_and_then_it_looks_lost(tmp_path: Path, status: int) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(1)
    dead = DeadAddresses(rig.world, status, results=99, lists=99)

    for run in (1, 2):
        reason = rig.run(jobs, transport=dead).reasons["test", "job-0", 1]
        assert ("looks lost" in reason) is (status == 404)
        assert dead.most("result") == run + 1
        assert dead.most("list") == run
    assert rig.states(jobs) == [State.RENDERED]
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED]
    paid_once(rig, 1)


def test_a_missing_file_of_a_finished_job_is_asked_for_at_its_new_address(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(1)
    rig.run(jobs)
    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(State.SUCCEEDED)
        output = json.loads(json.dumps(attempt.output).replace("/files/", DEAD))
        ledger.record(attempt.id, Event.OUTPUT_CHANGED, output=output)
    (tmp_path / rig.files()[0]).unlink()

    rig.run(jobs, transport=DeadAddresses(rig.world, 404, results=0))

    assert len(rig.files()) == 1
    paid_once(rig, 1)


@pytest.mark.parametrize("status", [403, 404])
def test_another_address_is_asked_for_early(tmp_path: Path, status: int) -> None:
    """A run may last for seconds only, and the next one begins anew."""
    rig = Rig(tmp_path, account())

    rig.run(make_jobs(1), transport=DeadAddresses(rig.world, status, results=1))

    pauses = [e.data["seconds"] for e in rig.events if e.kind == "download_again"]
    assert len(pauses) == 3
    assert sum(pauses) < 10
    paid_once(rig, 1)


class EarlyErrors(Bent):
    """fal answers for a result that is not there yet with an error that has an address."""

    def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        early = is_result(request) and not is_list(request) and answer.status_code != 200
        return httpx.Response(200, json=ERROR) if early else answer


def test_an_address_in_an_error_is_no_output(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(service_times={"standard": 60.0}, jitter=0.02))
    jobs = make_jobs(40)

    rig.run(jobs, transport=EarlyErrors(rig.world), concurrency=20)

    assert rig.states(jobs) == [State.SUCCEEDED] * 40
    paid_once(rig, 40)


@pytest.mark.parametrize("output", [ERROR, {}])
def test_an_output_without_files_in_the_ledger_is_read_again(tmp_path: Path, output: Any) -> None:
    """As an earlier version may have recorded it."""
    rig = Rig(tmp_path, account())
    jobs = make_jobs(1)
    rig.run(jobs, detach=True)
    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(State.SUBMITTED)
        ledger.record(attempt.id, Event.REMOTE_COMPLETED, output=output)
    rig.world.complete_now()

    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED]
    assert [Path(name).suffix for name in rig.files()] == [".mp4"]
    paid_once(rig, 1)


def test_without_files_anywhere_nothing_is_saved_in_their_place(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(1)
    rig.run(jobs, detach=True)
    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(State.SUBMITTED)
        ledger.record(attempt.id, Event.REMOTE_COMPLETED, output=ERROR)
    rig.world.settings.service_times = {"standard": 1e6}

    class Nothing(Bent):
        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            return httpx.Response(200, json=ERROR) if is_result(request) else answer

    reason = rig.run(jobs, transport=Nothing(rig.world)).reasons["test", "job-0", 1]

    assert "names no file" in reason
    assert rig.states(jobs) == [State.RENDERED]
    assert not list(tmp_path.rglob("*.json"))
    paid_once(rig, 1)
