"""`report --billing`: what fal billed, learnt once and for nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from support.cli import MANIFEST, Workspace


def test_report_learns_the_bill_of_what_was_cancelled_too(workspace: Workspace) -> None:
    workspace.world.settings.admin_keys = frozenset({"none"})
    workspace.world.settings.profile = "demo"
    workspace.world.settings.concurrency = 0
    workspace.run("--detach", code=6)
    workspace.invoke("cancel", "--all", "--emulator-url", workspace.url)
    workspace.run(code=1)
    before = json.loads(workspace.invoke("report", "--json"))
    open_before = before["exposed_usd"]

    workspace.invoke("report", "--billing", "--emulator-url", workspace.url)

    after = json.loads(workspace.invoke("report", "--json"))
    assert after["exposed_usd"] <= open_before
    assert after["charged_usd"] == pytest.approx(0.028 * len(workspace.pictures()))


def billed(workspace: Workspace, code: int = 0) -> str:
    """What `report --billing` says of the bills."""
    told = workspace.invoke("report", "--billing", "--emulator-url", workspace.url, code=code)
    return next(line for line in told.splitlines() if "bills learnt" in line)


def charged(workspace: Workspace) -> float:
    return round(json.loads(workspace.invoke("report", "--json"))["charged_usd"], 6)


def test_report_learns_bills_that_are_not_what_was_reckoned_from_units(
    workspace: Workspace,
) -> None:
    """A discount stands on the bill only: the units are the same."""
    workspace.world.settings.admin_keys = frozenset({"none"})
    workspace.run()
    one, two = workspace.world.books.accepted
    one.charged_micro_usd //= 2
    assert charged(workspace) == round(2 * two.charged_micro_usd / 1e6, 6)

    assert billed(workspace) == "2 of 2 open bills learnt, 1 of them other than reckoned"

    assert charged(workspace) == round(workspace.world.books.total_charged_micro_usd / 1e6, 6)
    assert "would have cost $0.02" in workspace.invoke("show", "one")
    # A bill is learnt once.
    assert billed(workspace) == "0 of 0 open bills learnt"
    assert "everything fits" in workspace.invoke("verify")


def long_ago(workspace: Workspace, prompt: str, days: float) -> None:
    """As if a job had been bought so many days before, in the ledger and in fal's books."""
    (request,) = [r for r in workspace.world.books.accepted if prompt in r.prompt]
    assert request.started_at
    assert request.finished_at
    request.started_at -= days * 86_400
    request.finished_at -= days * 86_400
    with closing(sqlite3.connect(workspace.folder / "outputs/ledger.db")) as db:
        db.execute(
            "update attempts set intended_at = strftime('%Y-%m-%dT%H:%M:%fZ', intended_at, ?)"
            " where request_id = ?",
            [f"-{days} days", request.request_id],
        )
        db.commit()


def test_report_asks_for_bills_as_far_back_as_fal_tells(workspace: Workspace) -> None:
    workspace.world.settings.admin_keys = frozenset({"none"})
    workspace.run()
    for request in workspace.world.books.accepted:
        request.charged_micro_usd *= 2
    long_ago(workspace, "first", days=80)
    long_ago(workspace, "second", days=95)

    told = billed(workspace)

    assert told == (
        "1 of 1 open bills learnt, 1 of them other than reckoned;"
        " too old for fal to tell (90 days): 1"
    )
    assert charged(workspace) == round((2 + 1) * 0.028, 6)


def test_report_says_what_it_did_not_learn(workspace: Workspace) -> None:
    workspace.run()

    told = billed(workspace, code=1)

    assert "need an admin key" in told
    assert "0 of 2 open bills learnt" in told

    workspace.world.settings.admin_keys = frozenset({"none"})
    workspace.world.settings.list_delay = 3600.0  # its events come late
    assert billed(workspace) == "0 of 2 open bills learnt"


def test_more_bills_than_one_call_may_ask_for_are_all_learnt(workspace: Workspace) -> None:
    rows = "".join(f"  - {{id: j{n}, prompt: number {n}}}\n" for n in range(51))
    (workspace.folder / "workspace.yaml").write_text(MANIFEST + rows)
    workspace.world.settings.admin_keys = frozenset({"none"})
    workspace.run("--rate", "100/s")
    for request in workspace.world.books.accepted:
        request.charged_micro_usd += request.ordinal

    assert billed(workspace) == "53 of 53 open bills learnt, 53 of them other than reckoned"

    assert charged(workspace) == round(workspace.world.books.total_charged_micro_usd / 1e6, 6)
