"""A lost, older or other ledger buys nothing again: what lies beside the targets is taken over."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from support.books import paid_once
from support.cli import MANIFEST, POLICY, Workspace

FIVE = MANIFEST + "".join(f"  - {{id: j{n}, prompt: number {n}}}\n" for n in range(3))
FOLDER = "outputs/workspace/text-to-image"


@pytest.fixture
def rendered(workspace: Workspace) -> Workspace:
    """Five jobs are rendered and paid for."""
    workspace.put(FIVE)
    workspace.run()
    paid_once(workspace, 5)
    return workspace


def lose_the_ledger(workspace: Workspace) -> None:
    for path in (workspace.folder / "outputs").glob("ledger.db*"):
        path.unlink()


def money(workspace: Workspace) -> float:
    """What the ledger counts for the batch."""
    rows = json.loads(workspace.invoke("report", "--json"))["spend"]
    return round(sum(row["charged_usd"] + row["exposed_usd"] for row in rows), 6)


def test_without_its_ledger_a_run_takes_over_what_lies_there(rendered: Workspace) -> None:
    before = money(rendered)
    lose_the_ledger(rendered)

    planned = rendered.invoke("plan", "workspace.yaml", "--emulator-url", rendered.url)
    said = rendered.run()

    assert "5 recover" in planned
    assert "recovered: paid on 20" in planned
    assert said.count("recovered: paid on 20") == 5
    paid_once(rendered, 5)
    assert money(rendered) == before > 0
    assert len(rendered.pictures()) == 5
    assert "everything fits" in rendered.invoke("verify")
    assert "nothing to do" in rendered.run()


ODD = {
    "one": {"url": "\ud800"},
    "two": {"rendered_at": "9999-12-31T23:59:59-14:00"},
    "j0": {"cost_usd": float("inf"), "billable_units": 10**400},
    "j1": {"content_type": "\udc00/png", "submitted_at": "0001-01-01T00:00:00+14:00"},
}


def test_odd_values_in_sidecars_do_not_buy_again(rendered: Workspace) -> None:
    lose_the_ledger(rendered)
    for name, odd in ODD.items():
        sidecar = rendered.folder / FOLDER / f"{name}.png.json"
        sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), **odd}))

    assert ": 5 recovered;" in rendered.run()
    paid_once(rendered, 5)
    rendered.invoke("gallery")


def test_a_missing_or_changed_file_is_fetched_by_its_request(rendered: Workspace) -> None:
    lose_the_ledger(rendered)
    folder = rendered.folder / FOLDER
    whole = (folder / "one.png").read_bytes()
    (folder / "one.png").unlink()
    (folder / "two.png").write_bytes(b"edited")

    rendered.run()

    paid_once(rendered, 5)
    assert (folder / "one.png").read_bytes() == whole
    assert (folder / "two.png").read_bytes() != b"edited"
    assert "everything fits" in rendered.invoke("verify")


def test_an_older_copy_of_the_ledger_buys_nothing_again(rendered: Workspace) -> None:
    ledger = rendered.folder / "outputs/ledger.db"
    old = shutil.copy(ledger, rendered.folder / "old.db")
    rendered.put(FIVE.replace("number", "another"))
    rendered.run()
    paid_once(rendered, 8)
    lose_the_ledger(rendered)
    shutil.copy(old, ledger)

    rendered.run()

    paid_once(rendered, 8)
    assert "everything fits" in rendered.invoke("verify")


def test_an_older_copy_knows_a_failure_and_the_file_is_here(workspace: Workspace) -> None:
    """The copy is of the night in which a job failed; it was paid for and rendered since."""
    workspace.world.faults.add(POLICY)
    workspace.run(code=1)
    ledger = workspace.folder / "outputs/ledger.db"
    old = shutil.copy(ledger, workspace.folder / "old.db")
    workspace.run("--retry-failed")
    lose_the_ledger(workspace)
    shutil.copy(old, ledger)

    said = workspace.run("--retry-failed")

    assert "recovered: paid on 20" in said
    assert workspace.prompts() == ["the first", "the first", "the second"]
    assert "everything fits" in workspace.invoke("verify")


def test_what_was_recovered_counts_against_the_cap(rendered: Workspace) -> None:
    lose_the_ledger(rendered)
    rendered.put(FIVE + "  - {id: more, prompt: one more}\n")
    said = rendered.run("--max-cost", "0.14", code=4)

    assert "$0.14 committed" in said
    paid_once(rendered, 5)


def test_a_render_is_found_under_another_name_of_its_job(rendered: Workspace) -> None:
    lose_the_ledger(rendered)
    rendered.put(FIVE.replace("id: one", "id: uno") + "  - {id: due, prompt: the second}\n")

    rendered.run()

    paid_once(rendered, 5)
    assert {"uno.png", "due.png", "two.png"} <= set(rendered.pictures())
    assert "everything fits" in rendered.invoke("verify")


def test_all_pictures_of_a_request_or_its_id(workspace: Workspace) -> None:
    workspace.put(MANIFEST.replace("the second}", "the second, num_images: 3}"))
    workspace.run()
    lose_the_ledger(workspace)
    (workspace.folder / FOLDER / "two-2.png").unlink()

    said = workspace.run()

    assert "fetched by its request id" in said
    paid_once(workspace, 2)
    assert workspace.pictures() == ["one.png", "two-2.png", "two-3.png", "two.png"]


def test_what_was_recovered_is_said_once_and_also_when_quiet(workspace: Workspace) -> None:
    workspace.run()
    lose_the_ledger(workspace)

    planned = workspace.plan()
    why = workspace.invoke("why", "one", "workspace.yaml", "--emulator", "-o", "outputs")
    told = workspace.run("--quiet")

    assert "one: recovered: paid on " in planned
    assert why.startswith("one is recovered: paid on ")
    assert why.count("recovered") == 1
    assert re.search(r"; 2 recovered, paid since \d{4}-\d\d-\d\d \d\d:\d\d UTC; ", told)
    shown = workspace.invoke("show", "one")
    assert "file_recovered" not in shown
    assert "recovered: paid on " in shown
    paid_once(workspace, 2)


def test_a_sidecar_of_the_emulator_says_what_it_would_have_cost(workspace: Workspace) -> None:
    workspace.run()
    records = [json.loads(path.read_text()) for path in workspace.folder.rglob("*.png.json")]

    assert {record["cost_is"] for record in records} == {"would have cost"}
    lose_the_ledger(workspace)
    assert "2 recovered" in workspace.run()
    assert "would have cost $0.06 on fal" in workspace.invoke("status")
    paid_once(workspace, 2)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "1" + "0" * 400])
def test_numbers_that_no_render_costs_are_left_out(rendered: Workspace, number: str) -> None:
    lose_the_ledger(rendered)
    sidecar = rendered.folder / FOLDER / "one.png.json"
    text = re.sub(r'"(cost_usd|billable_units)": [^,\n]+', rf'"\1": {number}', sidecar.read_text())
    sidecar.write_text(text)

    assert rendered.run().count("recovered: paid on 20") == 5
    paid_once(rendered, 5)


def test_what_the_emulator_rendered_is_no_render_of_fal(rendered: Workspace) -> None:
    lose_the_ledger(rendered)

    planned = rendered.invoke("plan", "workspace.yaml")

    assert "5 to pay" in planned


def test_a_recovered_file_that_is_deleted_later_is_downloaded(rendered: Workspace) -> None:
    lose_the_ledger(rendered)
    rendered.run()
    (rendered.folder / FOLDER / "one.png").unlink()

    rendered.run()

    paid_once(rendered, 5)
    assert len(rendered.pictures()) == 5


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"schema_version": 1, "key": 5}', "\0"])
def test_other_json_beside_the_files_is_no_sidecar(rendered: Workspace, text: str) -> None:
    lose_the_ledger(rendered)
    (rendered.folder / FOLDER / "one.png.json").write_text(text)
    rendered.run("--no-reuse")

    assert sorted(rendered.charges()) == [1, 1, 1, 1, 2]
