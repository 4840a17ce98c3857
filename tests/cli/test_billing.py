"""`report --billing`: what fal billed, learnt once and for nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from support.cli import MANIFEST, Desk


def test_report_learns_the_bill_of_what_was_cancelled_too(desk: Desk) -> None:
    desk.world.settings.admin_keys = frozenset({"none"})
    desk.world.settings.profile = "demo"
    desk.world.settings.concurrency = 0
    desk.run("--detach", code=6)
    desk.say("cancel", "--all", "--emulator-url", desk.url)
    desk.run(code=1)
    before = json.loads(desk.say("report", "--json"))
    open_before = before["exposed_usd"]

    desk.say("report", "--billing", "--emulator-url", desk.url)

    after = json.loads(desk.say("report", "--json"))
    assert after["exposed_usd"] <= open_before
    assert after["charged_usd"] == pytest.approx(0.028 * len(desk.pictures()))


def billed(desk: Desk, code: int = 0) -> str:
    """What `report --billing` says of the bills."""
    told = desk.say("report", "--billing", "--emulator-url", desk.url, code=code)
    return next(line for line in told.splitlines() if "bills learnt" in line)


def charged(desk: Desk) -> float:
    return round(json.loads(desk.say("report", "--json"))["charged_usd"], 6)


def test_report_learns_bills_that_are_not_what_was_reckoned_from_units(desk: Desk) -> None:
    """A discount stands on the bill only: the units are the same."""
    desk.world.settings.admin_keys = frozenset({"none"})
    desk.run()
    one, two = desk.world.books.accepted
    one.charged_micro_usd //= 2
    assert charged(desk) == round(2 * two.charged_micro_usd / 1e6, 6)

    assert billed(desk) == "2 of 2 open bills learnt, 1 of them other than reckoned"

    assert charged(desk) == round(desk.world.books.total_charged_micro_usd / 1e6, 6)
    assert "would have cost $0.02" in desk.say("show", "one")
    # A bill is learnt once.
    assert billed(desk) == "0 of 0 open bills learnt"
    assert "everything fits" in desk.say("verify")


def long_ago(desk: Desk, prompt: str, days: float) -> None:
    """As if a job had been bought so many days before, in the ledger and in fal's books."""
    (request,) = [r for r in desk.world.books.accepted if prompt in r.prompt]
    assert request.started_at
    assert request.finished_at
    request.started_at -= days * 86_400
    request.finished_at -= days * 86_400
    with closing(sqlite3.connect(desk.folder / "outputs/ledger.db")) as db:
        db.execute(
            "update attempts set intended_at = strftime('%Y-%m-%dT%H:%M:%fZ', intended_at, ?)"
            " where request_id = ?",
            [f"-{days} days", request.request_id],
        )
        db.commit()


def test_report_asks_for_bills_as_far_back_as_fal_tells(desk: Desk) -> None:
    desk.world.settings.admin_keys = frozenset({"none"})
    desk.run()
    for request in desk.world.books.accepted:
        request.charged_micro_usd *= 2
    long_ago(desk, "first", days=80)
    long_ago(desk, "second", days=95)

    told = billed(desk)

    assert told == (
        "1 of 1 open bills learnt, 1 of them other than reckoned;"
        " too old for fal to tell (90 days): 1"
    )
    assert charged(desk) == round((2 + 1) * 0.028, 6)


def test_report_says_what_it_did_not_learn(desk: Desk) -> None:
    desk.run()

    told = billed(desk, code=1)

    assert "need an admin key" in told
    assert "0 of 2 open bills learnt" in told

    desk.world.settings.admin_keys = frozenset({"none"})
    desk.world.settings.list_delay = 3600.0  # its events come late
    assert billed(desk) == "0 of 2 open bills learnt"


def test_more_bills_than_one_call_may_ask_for_are_all_learnt(desk: Desk) -> None:
    rows = "".join(f"  - {{id: j{n}, prompt: number {n}}}\n" for n in range(51))
    (desk.folder / "desk.yaml").write_text(MANIFEST + rows)
    desk.world.settings.admin_keys = frozenset({"none"})
    desk.run("--rate", "100/s")
    for request in desk.world.books.accepted:
        request.charged_micro_usd += request.ordinal

    assert billed(desk) == "53 of 53 open bills learnt, 53 of them other than reckoned"

    assert charged(desk) == round(desk.world.books.total_charged_micro_usd / 1e6, 6)
