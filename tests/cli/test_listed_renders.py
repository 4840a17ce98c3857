"""Another ledger, or none: what fal's request list has is collected and not bought again."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import anyio
import pytest
from support.books import paid_once
from support.cli import EDITED, MANIFEST, ONE, Desk

from kling_batch import ExitCode, Options, arun, load
from kling_batch.emulator import Fault

OTHER = ("--output", "elsewhere")
VIDEO = "mode: image-to-video, tier: standard, prompt: zoom"


def test_another_output_folder_collects_what_was_paid_for(desk: Desk) -> None:
    desk.run()

    planned = desk.say("plan", "desk.yaml", *OTHER, "--emulator-url", desk.url)
    document = json.loads(
        desk.say("plan", "desk.yaml", *OTHER, "--emulator-url", desk.url, "--json")
    )
    said = desk.run(*OTHER)

    assert "2 recover" in planned
    assert "recovered: paid on 20" in planned
    assert [job["action"] for job in document["jobs"]] == ["recover"] * 2
    assert all(job["paid_since"] and job["request_id"] for job in document["jobs"])
    assert said.count("recovered: paid on 20") == 2
    paid_once(desk, 2)
    assert len(list((desk.folder / "elsewhere").rglob("*.png"))) == 2
    spend = json.loads(desk.say("report", *OTHER, "--json"))["spend"]
    assert spend[0]["charged_usd"] == pytest.approx(0.056)
    assert "everything fits" in desk.say("verify", *OTHER)
    assert "nothing to do" in desk.run(*OTHER)


def test_a_plan_may_ask_nobody(desk: Desk) -> None:
    desk.run()

    said = desk.say("plan", "desk.yaml", *OTHER, "--emulator-url", desk.url, "--offline")

    assert "2 to pay" in said


def test_the_report_of_the_run_says_that_nothing_was_spent(desk: Desk) -> None:
    desk.run()

    lines = [json.loads(line) for line in desk.run(*OTHER, "--json").splitlines() if line[0] == "{"]

    assert lines[-1]["spent_now_usd"] == 0
    assert lines[-1]["charged_usd"] == pytest.approx(0.056)
    assert [line["job"] for line in lines if line["event"] == "recovered"] == ["one", "two"]
    assert lines[0]["data"]["actions"] == {"recover": 2}


@pytest.mark.parametrize("flag", [("--no-reuse",), ("--reuse", "0")])
def test_without_reuse_it_is_bought_anew(desk: Desk, flag: tuple[str, ...]) -> None:
    desk.run()
    desk.run(*OTHER, *flag)

    assert desk.charges() == [2, 2]


def test_the_manifest_may_want_it_new(desk: Desk) -> None:
    desk.run()
    desk.put(MANIFEST.replace("defaults:", "limits: {reuse: 0}\ndefaults:"))
    desk.run(*OTHER)

    assert desk.charges() == [2, 2]


def test_older_requests_are_not_collected(desk: Desk) -> None:
    desk.run()
    desk.run(*OTHER, "--reuse", "1ms")

    assert desk.charges() == [2, 2]


def test_each_request_serves_one_take(desk: Desk) -> None:
    desk.put(MANIFEST)
    desk.run()
    desk.put(MANIFEST.replace("the first}", "the first, takes: 2}"))

    said = desk.run(*OTHER)

    assert said.count("recovered: ") == 2
    assert desk.charges() == [1, 2]
    desk.run("--output", "third")
    assert desk.charges() == [1, 2]


def test_a_list_that_may_not_be_read_is_said_once_and_the_run_goes_on(desk: Desk) -> None:
    desk.put(MANIFEST + "  - {id: clip, mode: text-to-video, prompt: waves}\n")
    desk.run()
    desk.world.settings.list_allowed = False

    said = desk.run(*OTHER)

    assert said.count("may not read the request list") == 1
    assert desk.charges() == [2, 2, 2]


def test_a_list_that_fails_for_a_moment_is_asked_again(desk: Desk) -> None:
    desk.run()
    desk.world.faults.add(Fault(stage="list", what="status", status=500, times=2))
    desk.run(*OTHER)

    paid_once(desk, 2)


def test_what_failed_is_not_collected(desk: Desk) -> None:
    desk.world.faults.add(
        Fault(stage="job", what="fail", error="content_policy_violation", prompt="first", times=1)
    )
    desk.run(code=1)

    desk.run(*OTHER)

    assert desk.prompts() == ["the first", "the first", "the second"]


@pytest.mark.parametrize("change", ["resolution: 2K", "aspect_ratio: portrait", "num_images: 2"])
def test_another_payload_is_another_render(desk: Desk, change: str) -> None:
    desk.run()
    desk.put(MANIFEST.replace("the first}", f"the first, {change}}}"))

    desk.run(*OTHER)

    assert len(desk.world.books.accepted) == 3


def test_a_local_input_is_compared_by_its_content(desk: Desk) -> None:
    """Two jobs that differ in their picture only; the other folder has them in another order."""
    desk.run()
    for name in ("one", "two"):
        shutil.copy(desk.folder / f"outputs/desk/text-to-image/{name}.png", desk.folder)
    brighter(desk.folder / "two.png")
    rows = "".join(
        f"  - {{id: c-{name}, {VIDEO}, image_url: {name}.png}}\n" for name in ("one", "two")
    )
    desk.put(MANIFEST + rows)
    desk.run()
    charged = desk.charges()
    inputs = {r.request_id: r.payload["image_url"] for r in desk.world.books.accepted[2:]}
    desk.put(MANIFEST + "".join(reversed(rows.splitlines(keepends=True))))

    desk.run(*OTHER)

    assert desk.charges() == charged == [1, 1, 1, 1]
    assert len(set(inputs.values())) == 2
    first = json.loads(next((desk.folder / "outputs").rglob("c-two.mp4.json")).read_text())
    second = json.loads(next((desk.folder / "elsewhere").rglob("c-two.mp4.json")).read_text())
    assert first["request_id"] == second["request_id"]


def brighter(file: Path) -> None:
    """Another picture of the same size: a text chunk more before its end."""
    data = file.read_bytes()
    file.write_bytes(data[:-12] + b"\0\0\0\1tEXta\xe8\xb7\xbe\x43" + data[-12:])


def test_a_child_is_collected_where_its_parent_is(desk: Desk) -> None:
    child = "  - {id: clip, mode: image-to-video, prompt: zoom, image_url: {job: one}}\n"
    desk.put(MANIFEST + child)
    desk.run()

    desk.run(*OTHER)

    paid_once(desk, 3)
    assert len(list((desk.folder / "elsewhere").rglob("*.mp4"))) == 1


def test_a_child_of_a_new_parent_is_bought(desk: Desk) -> None:
    child = "  - {id: clip, mode: image-to-video, prompt: zoom, image_url: {job: one}}\n"
    desk.put(MANIFEST + child)
    desk.run()
    desk.put(EDITED + child)

    desk.run(*OTHER)

    assert desk.prompts() == ["the first", "the first but better", "the second", "zoom", "zoom"]


def test_the_emulator_inside_finds_what_its_own_file_has(desk: Desk) -> None:
    desk.say("run", "desk.yaml", "--emulator", "--output", "mine")
    for path in (desk.folder / "mine").glob("ledger.db*"):
        path.unlink()
    shutil.rmtree(desk.folder / "mine/desk")

    said = desk.say("run", "desk.yaml", "--emulator", "--output", "mine")

    assert said.count("recovered: ") == 2


def test_a_render_that_goes_on_is_collected(desk: Desk) -> None:
    desk.world.settings.list_unfinished, desk.world.settings.start_latency = True, 0.0
    desk.world.settings.service_times = {"image": 3.0}
    desk.run("--detach", code=6)
    desk.world.settings.service_times = {}

    desk.run(*OTHER)

    paid_once(desk, 2)


def test_a_run_inside_an_event_loop_looks_there_as_well(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    desk.run()
    options = Options(output="elsewhere", emulator=desk.url)

    report = anyio.run(partial(arun, load("desk.yaml"), options))

    assert report.exit_code is ExitCode.OK
    paid_once(desk, 2)


def test_a_request_of_a_submission_in_doubt_serves_no_other_take(desk: Desk) -> None:
    """Its answer was lost, and the list was closed; now there is a second take of the same job."""
    desk.put(ONE)
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.after", what="reset", times=1))
    desk.run(code=5)
    desk.world.settings.list_allowed = True
    desk.put(ONE.replace("the first}", "the first, takes: 2}"))

    desk.run()

    assert desk.charges() == [2]
    assert desk.pictures() == ["one-t2.png", "one.png"]
    assert "everything fits" in desk.say("verify")


def test_an_emulator_in_use_is_no_reason_to_show_no_plan(desk: Desk) -> None:
    planned = desk.say("plan", "desk.yaml", "--emulator-url", "http://127.0.0.1:1")

    assert "2 to pay" in planned
    assert planned.count("cannot be read") == 1


def test_a_recovered_render_that_fails_is_paid_for_only_where_that_is_agreed(desk: Desk) -> None:
    """What is listed while it renders may fail in the end; the next attempt is a new payment."""
    desk.world.settings.list_unfinished, desk.world.settings.start_latency = True, 0.0
    desk.put(ONE)
    desk.world.faults.add(Fault(stage="job", what="fail", error="internal_server_error", times=1))
    desk.world.settings.service_times = {"image": 2.0}
    desk.run("--detach", code=6)
    desk.world.settings.service_times = {}

    desk.run(*OTHER)

    assert desk.charges() == [1]
    assert len(desk.world.books.accepted) == 2
