"""Which listed request answers which doubt: never two for one, never one for two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_batch.core.outcomes import Listed
from kling_batch.engine.matching import (
    SKEW,
    Matches,
    UnconfirmedSubmission,
    comparable,
    contradicts,
    match,
)

T0 = datetime(2026, 5, 1, 12, tzinfo=UTC)
ONE, TWO = {"prompt": "one"}, {"prompt": "two"}

thorough = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def at(**by: float) -> datetime:
    return T0 + timedelta(**by)


def doubt(attempt: int, payload: Any = ONE, intended: datetime = T0) -> UnconfirmedSubmission:
    return UnconfirmedSubmission(attempt, "endpoint", payload, intended)


def listed(request_id: str, payload: Any = ONE, sent: datetime | str | None = T0) -> Listed:
    text = sent.isoformat() if isinstance(sent, datetime) else sent or ""
    return Listed(request_id=request_id, endpoint="endpoint", sent_at=text, payload=payload)


def found(
    doubts: Sequence[UnconfirmedSubmission], items: Sequence[Listed], **more: Any
) -> dict[int, str]:
    return dict(match(doubts, items, **({"claimed": ()} | more)).found)


# -- examples ----------------------------------------------------------------------------------


def test_equal_payload_sent_since_the_intent_is_the_lost_request() -> None:
    assert found([doubt(1)], [listed("r", sent=at(seconds=1))]) == {1: "r"}


def test_another_payload_is_another_request() -> None:
    assert found([doubt(1)], [listed("r", TWO)]) == {}


def test_a_claimed_request_is_never_claimed_again() -> None:
    assert found([doubt(1)], [listed("r")], claimed={"r"}) == {}


def test_identical_takes_claim_one_each() -> None:
    items = [listed("r1", sent=at(seconds=1)), listed("r2", sent=at(seconds=2))]

    got = found([doubt(1), doubt(2)], items)

    assert sorted(got) == [1, 2]
    assert sorted(got.values()) == ["r1", "r2"]


def test_one_request_for_two_doubts_leaves_one_in_doubt() -> None:
    assert len(found([doubt(1), doubt(2)], [listed("r")])) == 1


def test_a_post_under_way_with_the_same_payload_keeps_its_request() -> None:
    """Its answer is not here yet, but fal may list it already."""
    items = [listed("r1"), listed("r2")]

    assert found([doubt(1)], items, in_flight={comparable(ONE)}) == {}
    assert found([doubt(1)], items, in_flight={comparable(TWO)}) != {}


@pytest.mark.parametrize(
    ("sent", "fits"),
    [
        (at(seconds=-1), True),
        (T0 - SKEW, True),
        (T0 - SKEW - timedelta(seconds=1), False),
        (at(days=-1), False),
        (at(hours=30), True),
    ],
)
def test_clocks_may_differ_by_minutes(sent: datetime, fits: bool) -> None:
    assert bool(found([doubt(1)], [listed("r", sent=sent)])) is fits


@pytest.mark.parametrize("sent", ["", "yesterday", "2026-05-01", "2026-05-01T11:00:00"])
@pytest.mark.parametrize("intended", [T0, at(hours=5)])
def test_a_request_without_a_usable_time_fits_any_doubt(sent: str, intended: datetime) -> None:
    """The list was asked since the oldest intent; that is all that is known of it."""
    doubts = [doubt(1, TWO), doubt(2, ONE, intended)]

    assert found(doubts, [listed("r", ONE, sent)]) == {2: "r"}


def test_a_request_with_a_time_is_preferred_to_one_without() -> None:
    assert found([doubt(1)], [listed("a", sent=""), listed("b", sent=at(hours=9))]) == {1: "b"}


@pytest.mark.parametrize(
    "sent",
    ["2026-05-01T12:00:01Z", "2026-05-01T14:00:01+02:00", "2026-05-01T12:00:01.123456+00:00"],
)
def test_times_come_in_several_spellings(sent: str) -> None:
    earlier = listed("earlier", sent=at(seconds=-30))

    assert found([doubt(1)], [earlier, listed("r", sent=sent)]) == {1: "r"}


def test_what_was_sent_before_the_oldest_intent_is_no_surplus() -> None:
    """It is nobody's loss of this run; a minute less, and the clocks may differ by so much."""
    items = [
        listed("old", sent=T0 - SKEW - timedelta(seconds=1)),
        listed("perhaps", sent=T0 - SKEW),
        listed("right", sent=at(hours=5, seconds=1)),
    ]

    matches = match([doubt(1, TWO), doubt(2, ONE, at(hours=5))], items, claimed=())

    assert dict(matches.found) == {2: "right"}
    assert matches.surplus == ("perhaps",)


def test_a_request_without_payload_is_compared_with_nothing() -> None:
    assert found([doubt(1, None), doubt(2, {})], [listed("r", None)]) == {}


def test_the_nearest_after_the_intent_is_preferred() -> None:
    items = [
        listed("before", sent=at(minutes=-5)),
        listed("late", sent=at(hours=1)),
        listed("right", sent=at(seconds=1)),
    ]

    assert found([doubt(1)], items) == {1: "right"}


def test_an_old_doubt_does_not_take_what_only_a_young_one_could_explain() -> None:
    """Both can be settled: the old one by the early request, the young one by the late one."""
    doubts = [doubt(1), doubt(2, ONE, at(minutes=100))]
    items = [listed("early", sent=at(minutes=-5)), listed("late", sent=at(minutes=101))]

    assert found(doubts, items) == {1: "early", 2: "late"}


def test_what_is_left_over_with_a_found_payload_is_reported() -> None:
    items = [listed("r1", sent=at(seconds=1)), listed("r2", sent=at(seconds=5)), listed("x", TWO)]

    assert match([doubt(1)], items, claimed=()) == Matches({1: "r1"}, ("r2",), {})


def test_an_older_request_of_the_same_payload_is_not_taken_at_once() -> None:
    """It may be another ledger's; ours may only not be listed yet."""
    older = [listed("r", sent=at(seconds=-30))]

    assert found([doubt(1)], older, fresh={1}) == {}
    assert found([doubt(1)], older) == {1: "r"}


SHOTS: dict[str, Any] = {"prompt": "one", "shots": [{"prompt": "a"}, {"prompt": "b"}]}


@pytest.mark.parametrize(
    ("payload", "fits"),
    [
        (None, True),
        (SHOTS | {"seed": 7}, True),
        (SHOTS | {"shots": [{"prompt": "a", "seconds": 5}, {"prompt": "b"}]}, True),
        (SHOTS | {"shots": [{"prompt": "b"}, {"prompt": "a"}], "seed": 7}, False),
        (SHOTS | {"shots": [{"prompt": "a"}], "seed": 7}, False),
        (SHOTS | {"shots": [*SHOTS["shots"], {}], "seed": 7}, False),
        (SHOTS | {"shots": {"prompt": "a"}, "seed": 7}, False),
        (SHOTS | {"shots": "ab", "seed": 7}, False),
        ({"shots": SHOTS["shots"]}, False),
        ("one", False),
    ],
)
def test_a_request_whose_payload_contains_ours_may_be_it(payload: Any, fits: bool) -> None:
    matches = match([doubt(1, SHOTS)], [listed("r", payload)], claimed=())

    assert matches.found == {}
    assert matches.open == ({1: "r"} if fits else {})


@pytest.mark.parametrize(
    ("ours", "fits"),
    [
        ({"prompt": "one", "audio": False}, True),
        ({"prompt": "one", "audio": True}, False),
        ({"prompt": "one", "sound": False}, False),
    ],
)
def test_what_an_endpoint_fills_in_itself_need_not_be_listed(ours: Any, fits: bool) -> None:
    matches = match([doubt(1, ours)], [listed("r")], claimed=(), defaults={"audio": False})

    assert matches.found == {}
    assert matches.open == ({1: "r"} if fits else {})


@pytest.mark.parametrize(("early", "fits"), [(SKEW, True), (SKEW + timedelta(seconds=1), False)])
def test_a_request_from_before_the_intent_is_not_even_named(early: timedelta, fits: bool) -> None:
    """An older doubt keeps the list open for it."""
    doubts = [doubt(1), doubt(2, TWO, at(hours=-1))]

    matches = match(doubts, [listed("r", ONE | {"seed": 7}, T0 - early)], claimed=())

    assert matches.open == ({1: "r"} if fits else {})


def test_a_request_that_was_found_is_no_candidate_of_another_doubt() -> None:
    matches = match([doubt(1), doubt(2)], [listed("r", sent=at(seconds=1))], claimed=())

    assert len(matches.found) == 1
    assert matches.open == {}


def test_nothing_in_doubt_finds_nothing() -> None:
    assert match([], [listed("r")], claimed=()) == Matches({}, (), {})


# -- payloads ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1, "seed": None}),
        ({"a": {"b": None}}, {"a": {}}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ({"a": 5}, {"a": 5.0}),
        ({"a": [0.5, {"x": -0.0}]}, {"a": [0.5, {"x": 0}]}),
        ({"p": "ü"}, {"p": "\u00fc"}),
        ({"p": "é"}, {"p": "e\u0301"}),
        ({"u": "https://h/a?sig=1&sv=2"}, {"u": "https://me:pw@h/a?sig=3&sv=4"}),
    ],
)
def test_payloads_that_mean_the_same_are_equal(sent: Any, stored: Any) -> None:
    assert comparable(sent) == comparable(stored)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 5}, {"a": "5"}),
        ({"a": 1}, {"a": True}),
        ({"a": 0}, {"a": False}),
        ({"a": []}, {}),
        ({"a": ""}, {}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": [None]}, {"a": []}),
        ({"a": 0.5}, {"a": 0.25}),
        ({"p": "x"}, {"p": "x "}),
    ],
)
def test_payloads_that_may_mean_something_else_are_not(one: Any, other: Any) -> None:
    assert comparable(one) != comparable(other)


# -- whatever the list says --------------------------------------------------------------------

payloads = st.sampled_from([ONE, TWO, {**ONE, "seed": None}, None])
moments = st.integers(-40, 200).map(lambda minutes: at(minutes=minutes))
doubts = st.lists(
    st.builds(doubt, st.integers(1, 99), st.sampled_from([ONE, TWO]), moments),
    max_size=6,
    unique_by=lambda d: d.attempt_id,
)
items = st.lists(
    st.builds(listed, st.integers(1, 99).map("r{}".format), payloads, moments | st.just("")),
    max_size=8,
    unique_by=lambda i: i.request_id,
)
claims = st.sets(st.integers(1, 99).map("r{}".format), max_size=6)
flights = st.sets(st.sampled_from([comparable(ONE), comparable(TWO)]), max_size=1)


def fits(one: UnconfirmedSubmission, item: Listed, claimed: set[str], in_flight: set[str]) -> bool:
    if item.payload is None or item.request_id in claimed:
        return False
    same = comparable(one.payload) == comparable(item.payload)
    sent = datetime.fromisoformat(item.sent_at) if item.sent_at else None
    in_time = sent is None or sent >= one.intended_at - SKEW
    return same and in_time and comparable(one.payload) not in in_flight


def most(
    doubts: list[UnconfirmedSubmission], items: list[Listed], claimed: set[str], in_flight: set[str]
) -> int:
    """How many could be settled at best: augmenting paths, the textbook way."""
    taken: dict[str, UnconfirmedSubmission] = {}

    def settle(one: UnconfirmedSubmission, seen: set[str]) -> bool:
        for item in items:
            if item.request_id in seen or not fits(one, item, claimed, in_flight):
                continue
            seen.add(item.request_id)
            if item.request_id not in taken or settle(taken[item.request_id], seen):
                taken[item.request_id] = one
                return True
        return False

    return sum(settle(one, set()) for one in doubts)


@thorough
@given(doubts, items, claims, flights)
def test_every_pair_fits_and_nothing_is_claimed_twice(
    doubts: list[UnconfirmedSubmission], items: list[Listed], claimed: set[str], in_flight: set[str]
) -> None:
    matches = match(doubts, items, claimed=claimed, in_flight=in_flight)

    by_attempt = {d.attempt_id: d for d in doubts}
    by_request = {i.request_id: i for i in items}
    assert len(set(matches.found.values())) == len(matches.found)
    for attempt_id, request_id in matches.found.items():
        assert fits(by_attempt[attempt_id], by_request[request_id], claimed, in_flight)


@thorough
@given(doubts, items, claims, flights)
def test_as_many_doubts_as_possible_are_settled(
    doubts: list[UnconfirmedSubmission], items: list[Listed], claimed: set[str], in_flight: set[str]
) -> None:
    matches = match(doubts, items, claimed=claimed, in_flight=in_flight)

    assert len(matches.found) == most(doubts, items, claimed, in_flight)


@thorough
@given(doubts, items, claims, flights, st.randoms(use_true_random=False))
def test_the_order_of_list_and_doubts_does_not_matter(
    doubts: list[UnconfirmedSubmission],
    items: list[Listed],
    claimed: set[str],
    in_flight: set[str],
    rng: Random,
) -> None:
    straight = match(doubts, items, claimed=claimed, in_flight=in_flight)
    mixed_doubts, mixed_items = doubts[:], items[:]
    rng.shuffle(mixed_doubts)
    rng.shuffle(mixed_items)

    mixed = match(mixed_doubts, mixed_items, claimed=claimed, in_flight=in_flight)

    assert mixed.found == straight.found
    assert set(mixed.surplus) == set(straight.surplus)


@thorough
@given(doubts, items, claims)
def test_the_surplus_is_free_and_equal_to_something_found(
    doubts: list[UnconfirmedSubmission], items: list[Listed], claimed: set[str]
) -> None:
    matches = match(doubts, items, claimed=claimed)

    by_attempt = {d.attempt_id: d for d in doubts}
    by_request = {i.request_id: i for i in items}
    paid = {comparable(by_attempt[attempt].payload) for attempt in matches.found}
    assert set(matches.surplus).isdisjoint({*claimed, *matches.found.values()})
    assert len(set(matches.surplus)) == len(matches.surplus)
    assert {comparable(by_request[r].payload) for r in matches.surplus} <= paid


@pytest.mark.parametrize(
    ("theirs", "contrary"),
    [
        ({"prompt": "one"}, False),
        ({"prompt": "one", "duration": 5, "shot_type": "customize"}, False),
        ({"duration": "5.0"}, True),
        ({"duration": 5.0}, False),
        ({"prompt": None}, False),
        ({}, False),
        (None, False),
        ({"prompt": "two"}, True),
        ({"prompt": "one", "duration": "10"}, True),
        ({"image_url": "https://v3.fal.media/b.png"}, True),
        ({"end_image_url": "https://v3.fal.media/b.png"}, False),
    ],
)
def test_an_input_contradicts_another_where_both_have_a_value_and_it_differs(
    theirs: Any, *, contrary: bool
) -> None:
    ours = {
        "prompt": "one",
        "duration": "5",
        "image_url": "https://v3.fal.media/a.png",
        "end_image_url": "data:image/png;base64,AA==",
    }
    assert contradicts(theirs, ours) is contrary
