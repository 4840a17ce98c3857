"""Odd answers: every field of fal's answers replaced by what it can never hold.

Each job of a run meets another oddity. Whatever it is, the run ends in time, nothing is paid twice,
and what can be read later is collected.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.engine import LOST, Bent, Rig, account, is_result, make_jobs

from kling_batch.core.lifecycle import State
from kling_batch.emulator import Fault, World

#: As they are written in JSON.
ODD = (
    *("null", f"1{'0' * 400}", f"1{'0' * 19}", f'"{"x" * 5000}"', '"https://["'),
    *('"0001-01-01T00:00:00+10:00"', "[]", "[" * 60 + "]" * 60),
)
HOLE = "@odd@"

Place = tuple[str | int, ...]
#: Fields of an item of the list, without what tells which request it is and what came of it.
LISTED: tuple[Place, ...] = tuple(
    ("items", 0, name) for name in ("status_code", "sent_at", "endpoint_id")
)


def fields(value: Any, above: Place = ()) -> Iterator[Place]:
    """The places of everything in an answer."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield (*above, name)
        yield from fields(inner, (*above, name))


def with_odd(body: Any, places: Iterable[Place], number: int) -> str:
    """The answer with the oddity of this number in one of its fields."""
    changes = list(product(places, ODD))
    place, odd = changes[number % len(changes)]
    body = copy.deepcopy(body)
    at = body
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = HOLE
    return json.dumps(body).replace(json.dumps(HOLE), odd)


class OddAnswers(Bent):
    """Answers of one kind with one odd field each, the next one in each; as often per address."""

    def __init__(self, world: World, kind: str, times: int = 8) -> None:
        super().__init__(world)
        self.kind, self.times = kind, times
        self.seen: Counter[str] = Counter()
        self.numbers: dict[str, int] = {}

    def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if kind_of(request) != self.kind or answer.status_code not in (200, 202):
            return answer
        body = json.loads(answer.content)
        address = str(request.url) if self.kind != "submit" else body["request_id"]
        self.seen[address] += 1
        if self.seen[address] > self.times:
            return answer
        number = self.numbers.setdefault(address, len(self.numbers))
        places = LISTED if self.kind == "list" else fields(body)
        return httpx.Response(answer.status_code, text=with_odd(body, places, number))


def kind_of(request: httpx.Request) -> str:
    path = request.url.path
    if path.endswith("/by-endpoint"):
        return "list"
    if request.method == "POST":
        return "submit"
    if path.endswith("/status"):
        return "status"
    return "result" if is_result(request) else ""


def in_bounds(rig: Rig) -> bool:
    """Whether the run ended in time, bought each render once, and said no more than can be read."""
    short = all(len(event.message) < 2000 for event in rig.events)
    return short and set(rig.charges) <= {1} and rig._virtual < 3600


@pytest.mark.parametrize(("kind", "count"), [("submit", 16), ("status", 40), ("result", 24)])
def test_an_odd_field_in_one_answer_costs_no_render(tmp_path: Path, kind: str, count: int) -> None:
    rig = Rig(tmp_path, account(concurrency=200))
    jobs = make_jobs(count)

    rig.run(jobs, transport=OddAnswers(rig.world, kind), concurrency=200)

    assert rig.states(jobs) == [State.SUCCEEDED] * count
    assert in_bounds(rig)


def test_what_an_odd_list_says_of_expired_results_is_never_paid_for_again(tmp_path: Path) -> None:
    gone = Fault(stage="status", what="status", status=404)
    rig = Rig(tmp_path, account(concurrency=200), [gone])
    jobs = make_jobs(24)

    rig.run(jobs, transport=OddAnswers(rig.world, "list", times=10**9), concurrency=200)

    assert in_bounds(rig)
    assert rig.charges == [1] * 24


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("list", "Date", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ("list", "Date", "Fri, 01 Jan 0100 00:00:00 GMT"),
        ("status", "Retry-After", "1e999"),
        ("status", "Retry-After", "9" * 400),
        ("result", "X-Fal-Billable-Units", "1e300"),
        ("result", "X-Fal-Billable-Units", "nan"),
    ],
)
def test_odd_headers_neither_end_a_run_nor_hold_it_up(
    tmp_path: Path, kind: str, name: str, value: str
) -> None:
    class OddHeaders(Bent):
        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if kind_of(request) == kind:
                answer.headers[name] = value
            return answer

    faults = [
        LOST,
        Fault(stage="list", what="status", status=200, body={"items": []}, nth=1),
        Fault(stage="list", what="status", status=503, nth=2),
        Fault(stage="status", what="status", status=503, per_request=2),
    ]
    rig = Rig(tmp_path, account(), faults)
    jobs = make_jobs(2)

    rig.run(jobs, transport=OddHeaders(rig.world), doubt_wait=300.0)

    assert rig.states(jobs) == [State.SUCCEEDED] * 2
    assert in_bounds(rig)
