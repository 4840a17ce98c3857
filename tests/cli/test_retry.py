"""`retry` and `reroll`: a person allows one more payment."""

from __future__ import annotations

import pytest
from support.books import paid_once
from support.cli import EDITED, ONE, POLICY, Desk, key_of

from kling_batch.emulator import Fault


def test_retry_allows_one_more_payment_of_a_failed_job(desk: Desk) -> None:
    desk.world.faults.add(
        Fault(stage="job", what="fail", error="content_policy_violation", prompt="first", times=1)
    )
    desk.run(code=1)
    desk.run(code=1)
    assert len(desk.world.books.accepted) == 2

    desk.say("retry", "one")
    desk.run()

    assert len(desk.world.books.accepted) == 3
    assert desk.pictures() == ["one.png", "two.png"]


def test_reroll_pays_for_one_more_take_and_keeps_the_first(desk: Desk) -> None:
    desk.run()

    desk.say("reroll", "one")
    desk.run()
    desk.run()

    assert desk.pictures() == ["one-t2.png", "one.png", "two.png"]
    assert sorted(desk.world.books.charges().values()) == [1, 2]


@pytest.mark.parametrize("by_key", [False, True])
def test_reroll_of_what_left_the_manifest_is_refused_and_nothing_is_paid(
    desk: Desk, by_key: bool
) -> None:
    desk.run()
    desk.put(EDITED)
    desk.run()
    key = key_of(desk, "the first")

    told = desk.say("reroll", key if by_key else f"one@{key[3:11]}", code=2)

    assert "in no manifest any more" in told
    desk.run()
    paid_once(desk, 3)


def test_retry_of_two_names_of_one_undelivered_render_allows_one_payment(desk: Desk) -> None:
    desk.put(ONE + "  - {id: same, prompt: the first}\n")
    desk.world.faults.add(Fault(stage="download", what="status", status=503))
    desk.run("--timeout", "3s", code=6)

    told = desk.say("retry", "one", "same")

    assert len(told.splitlines()) == 1
    desk.world.faults.clear()
    desk.run()
    desk.run()
    assert len(desk.world.books.accepted) == 2
    assert desk.pictures() == ["one.png", "same.png"]


def test_a_retry_that_is_refused_grants_nothing(desk: Desk) -> None:
    desk.world.faults.add(POLICY)
    desk.run(code=1)
    desk.say("retry", "one", "two", code=2)
    paid = len(desk.world.books.accepted)
    desk.run(code=1)
    assert len(desk.world.books.accepted) == paid


def test_retry_of_what_left_the_manifest_promises_no_payment(desk: Desk) -> None:
    desk.world.faults.add(POLICY)
    desk.run(code=1)
    desk.put(EDITED)
    desk.run()
    told = desk.say("retry", f"one@{key_of(desk, 'the first')[3:11]}", code=2)
    assert "in no manifest any more" in told
