"""`run`: its exit code, its messages and its files where something goes wrong."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from contextlib import closing

import pytest
from PIL import Image
from support.books import paid_once
from support.cli import MANIFEST, ONE, Workspace

from kling_batch.emulator import Fault


def test_a_renamed_job_that_cannot_be_placed_is_undelivered(workspace: Workspace) -> None:
    workspace.run()
    workspace.put(MANIFEST.replace("id: one", "id: renamed"))
    (workspace.folder / "outputs/workspace/text-to-image/renamed.png").mkdir()

    told = workspace.run(code=1)

    assert "1 unchanged, 1 downloading" in told
    assert "renamed.png: Is a directory" in told
    paid_once(workspace, 2)


def test_a_second_name_that_cannot_be_placed_is_undelivered_and_a_third_is_placed(
    workspace: Workspace,
) -> None:
    duplicates = "  - {id: same, prompt: the first}\n  - {id: third, prompt: the first}\n"
    workspace.put(ONE + duplicates)
    folder = workspace.folder / "outputs/workspace/text-to-image"
    (folder / "same.png").mkdir(parents=True)

    told = workspace.run(code=1)

    assert "2 done, 1 downloading" in told
    assert "same.png: Is a directory" in told
    assert (folder / "third.png").read_bytes() == (folder / "one.png").read_bytes()
    paid_once(workspace, 1)


def test_what_a_daily_cap_stopped_is_not_sent_to_another_cap(workspace: Workspace) -> None:
    workspace.put(MANIFEST + "limits: {max_cost_per_day: 0.03}\n")
    assert "--max-cost USD" not in workspace.run(code=4)


def an_hour_ago(workspace: Workspace) -> None:
    """As if every render had been made an hour before, in the ledger."""
    columns = ("intended_at", "submitted_at", "rendered_at", "settled_at")
    earlier = (f"{name} = strftime('%Y-%m-%dT%H:%M:%fZ', {name}, '-1 hour')" for name in columns)
    with closing(sqlite3.connect(workspace.folder / "outputs/ledger.db")) as db, db:
        db.execute(f"update attempts set {', '.join(earlier)}")


def test_a_file_that_is_fetched_again_has_not_been_rendering_since(workspace: Workspace) -> None:
    workspace.run()
    an_hour_ago(workspace)
    (workspace.folder / "outputs/workspace/text-to-image/one.png").unlink()

    workspace.run("--junit", "j.xml")

    text = (workspace.folder / "j.xml").read_text()
    times = [float(seconds) for seconds in re.findall(r'<testcase[^>]* time="([\d.]+)"', text)]
    assert len(times) == 2
    assert max(times) < 1800


WITH_PHOTO = """\
version: 1
jobs:
  - {id: moved, mode: image-to-video, tier: standard, image_url: photo.png, prompt: it moves}
  - {id: still, mode: text-to-image, prompt: it stands}
"""


@pytest.fixture
def photo(workspace: Workspace) -> Workspace:
    Image.new("RGB", (320, 320)).save(workspace.folder / "photo.png")
    workspace.put(WITH_PHOTO)
    return workspace


@pytest.mark.parametrize(
    ("status", "detail", "code"),
    [
        (401, "Invalid key", 3),
        (403, "User is locked. Reason: Exhausted balance. Top up your balance.", 4),
        (403, "This key may not upload", 1),
        (413, "Too large", 1),
    ],
)
def test_a_key_or_an_account_that_is_refused_at_the_upload_is_reported_as_such(
    photo: Workspace, status: int, detail: str, code: int
) -> None:
    body = json.dumps({"detail": detail})
    fault = Fault(stage="upload", what="status", status=status, body=body)
    photo.world.faults.add(fault)

    told = photo.run("-j", "1", code=code)

    assert detail in told
    assert len(photo.world.books.accepted) == (code == 1)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_upload_that_meets_a_bad_minute_is_made_again(photo: Workspace, status: int) -> None:
    photo.world.faults.add(Fault(stage="upload", what="status", status=status, times=2))

    photo.run()

    assert len(photo.world.books.accepted) == 2


def test_time_that_is_over_during_a_download_sends_somebody_to_collect(
    workspace: Workspace,
) -> None:
    workspace.world.faults.add(Fault(stage="download", what="status", status=503))

    told = workspace.run("--timeout", "2s", code=6)

    assert "run workspace.yaml" in told
    workspace.world.faults.clear()
    workspace.run()
    assert len(workspace.world.books.accepted) == 2


def test_a_plan_is_handed_over_by_a_name_that_can_be_typed(workspace: Workspace) -> None:
    told = workspace.plan("--save", "my plan.json")
    option = told.partition("hand it to a run with: run … ")[2].splitlines()[0]

    assert option == "--plan 'my plan.json'"
    workspace.run(*shlex.split(option))
    paid_once(workspace, 2)
