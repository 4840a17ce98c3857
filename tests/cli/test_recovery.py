"""A lost, older or other ledger buys nothing again: what lies beside the targets is taken over."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from support.books import paid_once
from support.cli import MANIFEST, POLICY, Desk

FIVE = MANIFEST + "".join(f"  - {{id: j{n}, prompt: number {n}}}\n" for n in range(3))
FOLDER = "outputs/desk/text-to-image"


@pytest.fixture
def rendered(desk: Desk) -> Desk:
    """Five jobs are rendered and paid for."""
    desk.put(FIVE)
    desk.run()
    paid_once(desk, 5)
    return desk


def lose_the_ledger(desk: Desk) -> None:
    for path in (desk.folder / "outputs").glob("ledger.db*"):
        path.unlink()


def money(desk: Desk) -> float:
    """What the ledger counts for the batch."""
    rows = json.loads(desk.say("report", "--json"))["spend"]
    return round(sum(row["charged_usd"] + row["exposed_usd"] for row in rows), 6)


def test_without_its_ledger_a_run_takes_over_what_lies_there(rendered: Desk) -> None:
    before = money(rendered)
    lose_the_ledger(rendered)

    planned = rendered.say("plan", "desk.yaml", "--emulator-url", rendered.url)
    said = rendered.run()

    assert "5 recover" in planned
    assert "recovered: paid on 20" in planned
    assert said.count("recovered: paid on 20") == 5
    paid_once(rendered, 5)
    assert money(rendered) == before > 0
    assert len(rendered.pictures()) == 5
    assert "everything fits" in rendered.say("verify")
    assert "nothing to do" in rendered.run()


def test_a_missing_or_changed_file_is_fetched_by_its_request(rendered: Desk) -> None:
    lose_the_ledger(rendered)
    folder = rendered.folder / FOLDER
    whole = (folder / "one.png").read_bytes()
    (folder / "one.png").unlink()
    (folder / "two.png").write_bytes(b"edited")

    rendered.run()

    paid_once(rendered, 5)
    assert (folder / "one.png").read_bytes() == whole
    assert (folder / "two.png").read_bytes() != b"edited"
    assert "everything fits" in rendered.say("verify")


def test_an_older_copy_of_the_ledger_buys_nothing_again(rendered: Desk) -> None:
    ledger = rendered.folder / "outputs/ledger.db"
    old = shutil.copy(ledger, rendered.folder / "old.db")
    rendered.put(FIVE.replace("number", "another"))
    rendered.run()
    paid_once(rendered, 8)
    lose_the_ledger(rendered)
    shutil.copy(old, ledger)

    rendered.run()

    paid_once(rendered, 8)
    assert "everything fits" in rendered.say("verify")


def test_an_older_copy_knows_a_failure_and_the_file_is_here(desk: Desk) -> None:
    """The copy is of the night in which a job failed; it was paid for and rendered since."""
    desk.world.faults.add(POLICY)
    desk.run(code=1)
    ledger = desk.folder / "outputs/ledger.db"
    old = shutil.copy(ledger, desk.folder / "old.db")
    desk.run("--retry-failed")
    lose_the_ledger(desk)
    shutil.copy(old, ledger)

    said = desk.run("--retry-failed")

    assert "recovered: paid on 20" in said
    assert desk.prompts() == ["the first", "the first", "the second"]
    assert "everything fits" in desk.say("verify")


def test_what_was_recovered_counts_against_the_cap(rendered: Desk) -> None:
    lose_the_ledger(rendered)
    rendered.put(FIVE + "  - {id: more, prompt: one more}\n")
    said = rendered.run("--max-cost", "0.14", code=4)

    assert "$0.14 committed" in said
    paid_once(rendered, 5)


def test_a_render_is_found_under_another_name_of_its_job(rendered: Desk) -> None:
    lose_the_ledger(rendered)
    rendered.put(FIVE.replace("id: one", "id: uno") + "  - {id: due, prompt: the second}\n")

    rendered.run()

    paid_once(rendered, 5)
    assert {"uno.png", "due.png", "two.png"} <= set(rendered.pictures())
    assert "everything fits" in rendered.say("verify")


def test_all_pictures_of_a_request_or_its_id(desk: Desk) -> None:
    desk.put(MANIFEST.replace("the second}", "the second, num_images: 3}"))
    desk.run()
    lose_the_ledger(desk)
    (desk.folder / FOLDER / "two-2.png").unlink()

    said = desk.run()

    assert "fetched by its request id" in said
    paid_once(desk, 2)
    assert desk.pictures() == ["one.png", "two-2.png", "two-3.png", "two.png"]


def test_what_was_recovered_is_said_once_and_also_when_quiet(desk: Desk) -> None:
    desk.run()
    lose_the_ledger(desk)

    planned = desk.plan()
    why = desk.say("why", "one", "desk.yaml", "--emulator", "-o", "outputs")
    told = desk.run("--quiet")

    assert "one: recovered: paid on " in planned
    assert why.startswith("one is recovered: paid on ")
    assert why.count("recovered") == 1
    assert re.search(r"; 2 recovered, paid since \d{4}-\d\d-\d\d \d\d:\d\d UTC; ", told)
    shown = desk.say("show", "one")
    assert "file_recovered" not in shown
    assert "recovered: paid on " in shown
    paid_once(desk, 2)


def test_a_sidecar_of_the_emulator_says_what_it_would_have_cost(desk: Desk) -> None:
    desk.run()
    records = [json.loads(path.read_text()) for path in desk.folder.rglob("*.png.json")]

    assert {record["cost_is"] for record in records} == {"would have cost"}
    lose_the_ledger(desk)
    assert "2 recovered" in desk.run()
    assert "would have cost $0.06 on fal" in desk.say("status")
    paid_once(desk, 2)


def test_what_the_emulator_rendered_is_no_render_of_fal(rendered: Desk) -> None:
    lose_the_ledger(rendered)

    planned = rendered.say("plan", "desk.yaml")

    assert "5 to pay" in planned


def test_a_recovered_file_that_is_deleted_later_is_downloaded(rendered: Desk) -> None:
    lose_the_ledger(rendered)
    rendered.run()
    (rendered.folder / FOLDER / "one.png").unlink()

    rendered.run()

    paid_once(rendered, 5)
    assert len(rendered.pictures()) == 5


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"schema_version": 1, "key": 5}', "\0"])
def test_other_json_beside_the_files_is_no_sidecar(rendered: Desk, text: str) -> None:
    lose_the_ledger(rendered)
    (rendered.folder / FOLDER / "one.png.json").write_text(text)
    rendered.run("--no-reuse")

    assert sorted(rendered.charges()) == [1, 1, 1, 1, 2]
