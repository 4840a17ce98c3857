"""`limits.account_max_per_day` as a person meets it: plan, run, refusal, another machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import MANIFEST, Desk

LIMITED = MANIFEST.replace("defaults:", "limits: {account_max_per_day: 0.05}\ndefaults:")


def other_folder(desk: Desk, text: str) -> Desk:
    """Another machine: a folder and a ledger of its own, the same account."""
    folder: Path = desk.folder / "elsewhere"
    folder.mkdir()
    other = Desk(folder, desk.world, desk.url, desk.file)
    other.put(text)
    return other


def test_what_other_machines_were_billed_stops_this_one(desk: Desk) -> None:
    desk.world.settings.admin_keys = frozenset({"none"})
    desk.run("--only", "one")
    other = other_folder(desk, LIMITED.replace("the first", "a third"))

    told = other.plan()
    assert "account_max_per_day $0.05: $0.03 billed to the account in 24 hours" in told
    assert "account_max_per_day covers 0 of 2 jobs to pay for" in told
    plan = json.loads(
        other.say("plan", other.file, "--emulator-url", other.url, "--json").partition("\nw")[0]
    )
    assert (plan["account_max_per_day_usd"], plan["account_counted_usd"]) == (0.05, 0.028)
    told = other.run(code=4)

    assert len(desk.world.books.accepted) == 1
    assert "would pass account_max_per_day of $0.05" in told
    assert "a day later, or after raising account_max_per_day" in told


def test_a_key_without_the_right_pays_nothing(desk: Desk) -> None:
    desk.put(LIMITED)

    assert "use an admin key, or remove account_max_per_day" in desk.plan()
    told = desk.run("--max-cost", "5", code=3)

    assert not desk.world.books.accepted
    assert "the key may not read fal's billing events" in told


def test_without_the_right_what_is_open_is_collected(desk: Desk) -> None:
    desk.run("--detach", "--only", "one", code=6)
    desk.put(LIMITED)

    desk.run(code=3)

    assert len(desk.pictures()) == 1
    assert len(desk.world.books.accepted) == 1


def test_nothing_to_pay_for_asks_for_no_right(desk: Desk) -> None:
    desk.run()
    desk.put(LIMITED)

    desk.run()


@pytest.mark.acceptance
def test_an_emulator_inside_the_program_tells_its_bills(desk: Desk) -> None:
    desk.put(LIMITED)

    told = desk.say("run", desk.file, "--emulator", code=4)

    assert "would pass account_max_per_day" in told


def test_what_another_machine_paid_for_is_found_and_not_bought(desk: Desk) -> None:
    desk.run()
    other = other_folder(desk, MANIFEST)

    assert "2 recover" in other.plan()
    other.run()

    assert len(other.pictures()) == 2
    assert len(desk.world.books.accepted) == 2


def test_doctor_says_whether_the_key_may_read_what_was_billed(desk: Desk) -> None:
    told = desk.say("doctor", "--emulator-url", desk.url)
    assert "ok  billing events: not readable" in told
    assert "account_max_per_day need an admin key" in told

    desk.world.settings.admin_keys = frozenset({"none"})

    assert "billing events: readable" in desk.say("doctor", "--emulator-url", desk.url)
