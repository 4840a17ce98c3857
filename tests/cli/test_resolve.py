"""A person's word to the ledger, from outside, on an emulator with faults."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing

import pytest
from support.cli import MANIFEST, Desk

from kling_batch.emulator import Fault
from kling_batch.errors import UsageError
from kling_batch.ledger.names import find
from kling_batch.ledger.reader import Reader


def test_resolve_by_request_id_collects_what_was_paid(desk: Desk) -> None:
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.after", what="reset", prompt="second"))
    told = desk.run(code=5)
    assert "kling-batch resolve two" in told
    (lost,) = [r for r in desk.world.books.accepted if "second" in r.prompt]

    desk.say("resolve", "two", "--request-id", lost.request_id)
    desk.run()

    assert desk.pictures() == ["one.png", "two.png"]
    assert sorted(desk.world.books.charges().values()) == [1, 1]


def test_a_wrong_id_is_taken_back_and_the_right_one_collected(desk: Desk) -> None:
    """Also after a run has asked fal for it in vain; the job is never free to be sent meanwhile."""
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.after", what="reset", prompt="second"))
    desk.run(code=5)
    (lost,) = [r for r in desk.world.books.accepted if "second" in r.prompt]
    desk.say("resolve", "two", "--request-id", "nonsense")
    desk.run("--timeout", "3s", code=6)

    desk.say("resolve", "two", "--request-id", lost.request_id)
    desk.run()

    assert desk.pictures() == ["one.png", "two.png"]
    assert sorted(desk.world.books.charges().values()) == [1, 1]
    assert "everything fits" in desk.say("verify")
    assert "not in doubt" in desk.say("resolve", "two", "--request-id", "another", code=2)


def test_resolve_not_submitted_lets_the_next_run_send_it(desk: Desk) -> None:
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.before", what="reset", prompt="second", times=1))
    desk.run(code=5)
    desk.run(code=5)

    desk.say("resolve", "two", "--not-submitted")
    desk.run()

    assert sorted(desk.world.books.charges().values()) == [1, 1]
    assert len(desk.world.books.posts) == 3


def test_resolve_refuses_what_makes_no_sense(desk: Desk) -> None:
    desk.run()

    assert "not in doubt" in desk.say("resolve", "one", "--not-submitted", code=2)
    assert "did you mean 'one'" in desk.say("resolve", "onr", "--not-submitted", code=2)
    assert "say one of" in desk.say("resolve", "one", code=2)


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


def test_adopt_takes_a_file_and_nothing_is_paid_for_it(desk: Desk) -> None:
    desk.say("plan", "desk.yaml")
    desk.world.faults.add(Fault(stage="job", what="fail", error="one_of", prompt="first"))
    desk.run(code=1)
    source = desk.folder / "outputs/desk/text-to-image/two.png"
    mine = desk.folder / "mine.png"
    mine.write_bytes(source.read_bytes())

    desk.say("adopt", "one", "mine.png")
    desk.run()

    assert desk.pictures() == ["one.png", "two.png"]
    assert len(desk.world.books.charges()) == 1
    assert "everything fits" in desk.say("verify")


def test_an_adopted_file_that_got_lost_is_brought_again_also_a_better_one(desk: Desk) -> None:
    desk.world.faults.add(Fault(stage="job", what="fail", error="one_of", prompt="first"))
    desk.run(code=1)
    folder = desk.folder / "outputs/desk/text-to-image"
    mine = desk.folder / "mine.png"
    mine.write_bytes((folder / "two.png").read_bytes())
    desk.say("adopt", "one", "mine.png")
    (folder / "one.png").unlink()
    assert "put it back" in desk.run(code=1)

    desk.say("adopt", "one", "mine.png")
    desk.run()
    better = mine.read_bytes().replace(b"IEND", b"tEXt", 1)[:-4] + b"\0\0\0\0IEND\xaeB`\x82"
    mine.write_bytes(better)
    desk.say("adopt", "one", "mine.png")
    desk.run()

    assert (folder / "one.png").read_bytes() == better
    assert len([name for name in desk.pictures() if name.startswith("one.")]) == 2  # one set aside
    assert len(desk.world.books.charges()) == 1
    assert "everything fits" in desk.say("verify")


def test_what_is_being_paid_for_is_not_adopted_and_nothing_is_copied(desk: Desk) -> None:
    desk.run()
    (desk.folder / "mine.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"IEND\xaeB`\x82")
    before = desk.pictures()

    assert "live or paid" in desk.say("adopt", "one", "mine.png", code=2)

    assert desk.pictures() == before


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


def test_report_learns_bills_that_are_not_what_was_reckoned_from_units(desk: Desk) -> None:
    """A discount stands on the bill only: the units are the same."""
    desk.world.settings.admin_keys = frozenset({"none"})
    desk.run()
    one, two = desk.world.books.accepted
    one.charged_micro_usd //= 2
    assert charged(desk) == round(2 * two.charged_micro_usd / 1e6, 6)

    assert billed(desk) == "2 of 2 open bills learnt, 1 of them other than reckoned"

    assert charged(desk) == round(desk.world.books.total_charged_micro_usd / 1e6, 6)
    assert "fal billed $0.014" in desk.say("show", "one")
    # A bill is learnt once.
    assert billed(desk) == "0 of 0 open bills learnt"
    assert "everything fits" in desk.say("verify")


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


def test_show_and_why_tell_the_story(desk: Desk) -> None:
    desk.world.faults.add(
        Fault(stage="job", what="fail", error="internal_error", prompt="first", times=1)
    )
    desk.run()

    told = desk.say("show", "one")

    assert "attempt 1: failed, nothing charged" in told
    assert "attempt 2: done" in told
    assert json.loads(desk.say("show", "one", "--json"))["attempts"][1]["state"] == "succeeded"
    assert "is done and paid" in desk.say("why", "one")

    (desk.folder / "desk.yaml").write_text(MANIFEST.replace("the first", "the third"))
    assert "changed: prompt" in desk.say("plan", "desk.yaml")
    desk.run()
    assert "prompt: 'the first' → 'the third'" in desk.say("why", "one")


def test_what_cannot_be_a_job_is_none(desk: Desk) -> None:
    desk.say("run", "desk.yaml", "--emulator-url", desk.url, "--limit", "0")
    huge = "one#99999999999999999999"

    for command in ("show", "reroll"):
        assert f"no job '{huge}'" in desk.say(command, huge, code=2)
    assert "no job" in desk.say("why", os.fsdecode(b"one\xff"), code=2)
    with Reader.open(desk.folder / "outputs/ledger.db") as reader:
        assert find(reader, "one#1").id == "one"
        for take in ("9" * 5000, "0", "", "x", "-1", "2"):
            with pytest.raises(UsageError, match="did you mean 'one'"):
                find(reader, f"one#{take}")


def test_verify_finds_a_lost_file_and_repair_fetches_it_for_nothing(desk: Desk) -> None:
    desk.run()
    lost = desk.folder / "outputs/desk/text-to-image/one.png"
    content = lost.read_bytes()
    lost.write_bytes(content[:-9] + b"tampered!")

    assert "content has changed" in desk.say("verify", code=1)
    desk.say("verify", "--repair", "--emulator-url", desk.url)

    assert lost.read_bytes() == content
    assert sorted(desk.world.books.charges().values()) == [1, 1]


def test_verify_misses_a_sidecar_and_repair_writes_it_again(desk: Desk) -> None:
    desk.run()
    (beside,) = (desk.folder / "outputs").rglob("one.png.json")
    told = json.loads(beside.read_text())
    beside.unlink()

    assert "the sidecar beside it is missing" in desk.say("verify", code=1)
    desk.say("verify", "--repair", "--emulator-url", desk.url)

    again = json.loads(beside.read_text())
    assert {**again, "saved_at": ""} == {**told, "saved_at": ""}
    assert "everything fits" in desk.say("verify")


def test_repair_puts_a_file_back_where_it_was_whatever_has_become_of_its_job(desk: Desk) -> None:
    """The job left its manifest, and the ledger lies elsewhere: neither moves a file."""
    places = ("--output", "renders", "--ledger", "books/l.db")
    desk.run(*places)
    (desk.folder / "desk.yaml").write_text(MANIFEST.partition("  - {id: two")[0])
    desk.run(*places)
    two = desk.folder / "renders/desk/text-to-image/two.png"
    content = two.read_bytes()
    two.unlink()

    desk.say("verify", "--ledger", "books/l.db", "--repair", "--emulator-url", desk.url)

    assert two.read_bytes() == content
    assert len(list(desk.folder.rglob("two*.png"))) == 1
    assert "everything fits" in desk.say("verify", "--ledger", "books/l.db")
    assert sorted(desk.world.books.charges().values()) == [1, 1]


@pytest.mark.parametrize("intact", [True, False])
def test_repair_of_one_of_two_names_condemns_nothing(desk: Desk, intact: bool) -> None:
    """From the other name, where fal has the file no longer; and without one it stays a finding."""
    (desk.folder / "desk.yaml").write_text(MANIFEST.replace("the second", "the first"))
    desk.run()
    folder = desk.folder / "outputs/desk/text-to-image"
    (folder / "one.png").unlink()
    if not intact:
        (folder / "two.png").unlink()
    desk.world.faults.add(Fault(stage="download", what="html"))

    told = desk.say("verify", "--repair", "--emulator-url", desk.url, code=0 if intact else 1)

    assert (folder / "one.png").is_file() is intact
    assert ("still: " in told) is not intact
    desk.world.faults.clear()
    desk.run()
    assert desk.pictures() == ["one.png", "two.png"]
    assert len(desk.world.books.charges()) == 1


def test_cancel_says_what_fal_said(desk: Desk) -> None:
    desk.world.settings.profile = "demo"
    desk.world.settings.concurrency = 0
    desk.run("--detach", code=6)

    told = desk.say("cancel", "--all", "--emulator-url", desk.url)

    assert told.count("asked (202)") == 2
    desk.run(code=1)
    charged = sum(desk.world.books.charges().values())
    assert charged == len(desk.pictures()) <= 1


def test_list_and_status_read_the_ledger(desk: Desk) -> None:
    desk.run()

    rows = [json.loads(line) for line in desk.say("list", "--json").splitlines()]

    assert [row["state"] for row in rows] == ["succeeded", "succeeded"]
    assert desk.say("list", "--state", "failed") == ""
    assert json.loads(desk.say("status", "--json"))["charged_usd"] == pytest.approx(0.056)


def test_init_writes_a_manifest_that_runs_and_its_schema(desk: Desk) -> None:
    desk.say("init", "new.yaml")

    desk.say("validate", "new.yaml")
    assert "is there already" in desk.say("init", "new.yaml", code=2)
    assert json.loads(desk.say("schema")) == json.loads(
        (desk.folder / "kling-batch.schema.json").read_text()
    )


def test_gallery_is_written_beside_the_outputs(desk: Desk) -> None:
    desk.run()

    desk.say("gallery")

    page = (desk.folder / "outputs/gallery.html").read_text()
    assert "the first" in page
