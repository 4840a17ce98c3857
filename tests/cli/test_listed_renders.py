"""Another ledger, or none: what fal's request list has is collected and not bought again."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.books import paid_once
from support.cli import EDITED, MANIFEST, ONE, Workspace

from kling_batch import ExitCode, Options, arun, load
from kling_batch.emulator import Fault
from kling_batch.operations import list_search

OTHER = ("--output", "elsewhere")
VIDEO = "mode: image-to-video, tier: standard, prompt: zoom"


def test_another_output_folder_collects_what_was_paid_for(workspace: Workspace) -> None:
    workspace.run()

    planned = workspace.invoke("plan", "workspace.yaml", *OTHER, "--emulator-url", workspace.url)
    document = json.loads(
        workspace.invoke(
            "plan", "workspace.yaml", *OTHER, "--emulator-url", workspace.url, "--json"
        )
    )
    said = workspace.run(*OTHER)

    assert "2 recover" in planned
    assert "recovered: paid on 20" in planned
    assert [job["action"] for job in document["jobs"]] == ["recover"] * 2
    assert all(job["paid_since"] and job["request_id"] for job in document["jobs"])
    assert said.count("recovered: paid on 20") == 2
    paid_once(workspace, 2)
    assert len(list((workspace.folder / "elsewhere").rglob("*.png"))) == 2
    spend = json.loads(workspace.invoke("report", *OTHER, "--json"))["spend"]
    assert spend[0]["charged_usd"] == pytest.approx(0.056)
    assert "everything fits" in workspace.invoke("verify", *OTHER)
    assert "nothing to do" in workspace.run(*OTHER)


def test_a_plan_may_ask_nobody(workspace: Workspace) -> None:
    workspace.run()

    said = workspace.invoke(
        "plan", "workspace.yaml", *OTHER, "--emulator-url", workspace.url, "--offline"
    )

    assert "2 to pay" in said


def test_the_report_of_the_run_says_that_nothing_was_spent(workspace: Workspace) -> None:
    workspace.run()

    lines = [
        json.loads(line) for line in workspace.run(*OTHER, "--json").splitlines() if line[0] == "{"
    ]

    assert lines[-1]["spent_now_usd"] == 0
    assert lines[-1]["charged_usd"] == pytest.approx(0.056)
    assert [line["job"] for line in lines if line["event"] == "recovered"] == ["one", "two"]
    assert lines[0]["data"]["actions"] == {"recover": 2}


@pytest.mark.parametrize("flag", [("--no-reuse",), ("--reuse", "0")])
def test_without_reuse_it_is_bought_anew(workspace: Workspace, flag: tuple[str, ...]) -> None:
    workspace.run()
    workspace.run(*OTHER, *flag)

    assert workspace.charges() == [2, 2]


def test_the_manifest_may_want_it_new(workspace: Workspace) -> None:
    workspace.run()
    workspace.put(MANIFEST.replace("defaults:", "limits: {reuse: 0}\ndefaults:"))
    workspace.run(*OTHER)

    assert workspace.charges() == [2, 2]


def test_older_requests_are_not_collected(workspace: Workspace) -> None:
    workspace.run()
    workspace.run(*OTHER, "--reuse", "1ms")

    assert workspace.charges() == [2, 2]


def test_each_request_serves_one_take(workspace: Workspace) -> None:
    workspace.put(MANIFEST)
    workspace.run()
    workspace.put(MANIFEST.replace("the first}", "the first, takes: 2}"))

    said = workspace.run(*OTHER)

    assert said.count("recovered: ") == 2
    assert workspace.charges() == [1, 2]
    workspace.run("--output", "third")
    assert workspace.charges() == [1, 2]


def test_a_list_that_may_not_be_read_is_said_once_and_the_run_goes_on(workspace: Workspace) -> None:
    workspace.put(MANIFEST + "  - {id: clip, mode: text-to-video, prompt: waves}\n")
    workspace.run()
    workspace.world.settings.list_allowed = False

    said = workspace.run(*OTHER)

    assert said.count("may not read the request list") == 1
    assert workspace.charges() == [2, 2, 2]


def test_a_list_that_fails_for_a_moment_is_asked_again(workspace: Workspace) -> None:
    workspace.run()
    workspace.world.faults.add(Fault(stage="list", what="status", status=500, times=2))
    workspace.run(*OTHER)

    paid_once(workspace, 2)


def test_what_failed_is_not_collected(workspace: Workspace) -> None:
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error="content_policy_violation", prompt="first", times=1)
    )
    workspace.run(code=1)

    workspace.run(*OTHER)

    assert workspace.prompts() == ["the first", "the first", "the second"]


@pytest.mark.parametrize("change", ["resolution: 2K", "aspect_ratio: portrait", "num_images: 2"])
def test_another_payload_is_another_render(workspace: Workspace, change: str) -> None:
    workspace.run()
    workspace.put(MANIFEST.replace("the first}", f"the first, {change}}}"))

    workspace.run(*OTHER)

    assert len(workspace.world.books.accepted) == 3


def test_a_local_input_is_compared_by_its_content(workspace: Workspace) -> None:
    """Two jobs that differ in their picture only; the other folder has them in another order."""
    workspace.run()
    for name in ("one", "two"):
        shutil.copy(
            workspace.folder / f"outputs/workspace/text-to-image/{name}.png", workspace.folder
        )
    brighter(workspace.folder / "two.png")
    rows = "".join(
        f"  - {{id: c-{name}, {VIDEO}, image_url: {name}.png}}\n" for name in ("one", "two")
    )
    workspace.put(MANIFEST + rows)
    workspace.run()
    charged = workspace.charges()
    inputs = {r.request_id: r.payload["image_url"] for r in workspace.world.books.accepted[2:]}
    workspace.put(MANIFEST + "".join(reversed(rows.splitlines(keepends=True))))

    workspace.run(*OTHER)

    assert workspace.charges() == charged == [1, 1, 1, 1]
    assert len(set(inputs.values())) == 2
    first = json.loads(next((workspace.folder / "outputs").rglob("c-two.mp4.json")).read_text())
    second = json.loads(next((workspace.folder / "elsewhere").rglob("c-two.mp4.json")).read_text())
    assert first["request_id"] == second["request_id"]


def brighter(file: Path) -> None:
    """Another picture of the same size: a text chunk more before its end."""
    data = file.read_bytes()
    file.write_bytes(data[:-12] + b"\0\0\0\1tEXta\xe8\xb7\xbe\x43" + data[-12:])


def test_a_child_is_collected_where_its_parent_is(workspace: Workspace) -> None:
    child = "  - {id: clip, mode: image-to-video, prompt: zoom, image_url: {job: one}}\n"
    workspace.put(MANIFEST + child)
    workspace.run()

    workspace.run(*OTHER)

    paid_once(workspace, 3)
    assert len(list((workspace.folder / "elsewhere").rglob("*.mp4"))) == 1


def test_a_child_of_a_new_parent_is_bought(workspace: Workspace) -> None:
    child = "  - {id: clip, mode: image-to-video, prompt: zoom, image_url: {job: one}}\n"
    workspace.put(MANIFEST + child)
    workspace.run()
    workspace.put(EDITED + child)

    workspace.run(*OTHER)

    assert workspace.prompts() == [
        "the first",
        "the first but better",
        "the second",
        "zoom",
        "zoom",
    ]


def test_the_emulator_inside_finds_what_its_own_file_has(workspace: Workspace) -> None:
    workspace.invoke("run", "workspace.yaml", "--emulator", "--output", "mine")
    for path in (workspace.folder / "mine").glob("ledger.db*"):
        path.unlink()
    shutil.rmtree(workspace.folder / "mine/workspace")

    said = workspace.invoke("run", "workspace.yaml", "--emulator", "--output", "mine")

    assert said.count("recovered: ") == 2


def test_a_render_that_goes_on_is_collected(workspace: Workspace) -> None:
    workspace.world.settings.list_unfinished, workspace.world.settings.start_latency = True, 0.0
    workspace.world.settings.service_times = {"image": 3.0}
    workspace.run("--detach", code=6)
    workspace.world.settings.service_times = {}

    workspace.run(*OTHER)

    paid_once(workspace, 2)


def test_a_run_inside_an_event_loop_looks_there_as_well(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.folder)
    workspace.run()
    options = Options(output="elsewhere", emulator=workspace.url)

    report = anyio.run(partial(arun, load("workspace.yaml"), options))

    assert report.exit_code is ExitCode.OK
    paid_once(workspace, 2)


def test_a_request_of_a_submission_in_doubt_serves_no_other_take(workspace: Workspace) -> None:
    """Its answer was lost, and the list was closed; now there is a second take of the same job."""
    workspace.put(ONE)
    workspace.world.settings.list_allowed = False
    workspace.world.faults.add(Fault(stage="submit.after", what="reset", times=1))
    workspace.run(code=5)
    workspace.world.settings.list_allowed = True
    workspace.put(ONE.replace("the first}", "the first, takes: 2}"))

    workspace.run()

    assert workspace.charges() == [2]
    assert workspace.pictures() == ["one-t2.png", "one.png"]
    assert "everything fits" in workspace.invoke("verify")


def test_an_emulator_in_use_is_no_reason_to_show_no_plan(workspace: Workspace) -> None:
    planned = workspace.invoke("plan", "workspace.yaml", "--emulator-url", "http://127.0.0.1:1")

    assert "2 to pay" in planned
    assert planned.count("cannot be read") == 1


def test_a_recovered_render_that_fails_is_paid_for_only_where_that_is_agreed(
    workspace: Workspace,
) -> None:
    """What is listed while it renders may fail in the end; the next attempt is a new payment."""
    workspace.world.settings.list_unfinished, workspace.world.settings.start_latency = True, 0.0
    workspace.put(ONE)
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error="internal_server_error", times=1)
    )
    workspace.world.settings.service_times = {"image": 2.0}
    workspace.run("--detach", code=6)
    workspace.world.settings.service_times = {}

    workspace.run(*OTHER)

    assert workspace.charges() == [1]
    assert len(workspace.world.books.accepted) == 2


# -- lists that are odd ---------------------------------------------------------------------------


def listed(*rows: dict[str, Any], **more: Any) -> Fault:
    return Fault(stage="list", what="status", status=200, body={"items": list(rows), **more})


def row(workspace: Workspace, number: int, **more: Any) -> dict[str, Any]:
    """A request as the list shows it."""
    request = workspace.world.books.accepted[number]
    return {
        "request_id": request.request_id,
        "endpoint_id": request.endpoint,
        "sent_at": datetime.fromtimestamp(request.accepted_at, UTC).isoformat(),
        "status_code": 200,
        "json_input": request.payload,
        "json_output": None,
        **more,
    }


def test_a_list_that_was_read_in_part_is_used_and_that_is_said_once(workspace: Workspace) -> None:
    clip = "  - {id: clip, mode: text-to-video, prompt: waves}\n"
    workspace.put(MANIFEST + clip)
    workspace.run()
    workspace.world.faults.add(listed(row(workspace, 0), has_more=True, next_cursor="again"))

    planned = workspace.plan(*OTHER)
    said = workspace.run(*OTHER)

    warning = "list was read only in part; what another ledger has paid for may not have been found"
    assert planned.count(warning) == said.count(warning) == 1
    assert said.count("recovered: ") == 1
    assert workspace.charges() == [1, 2, 2]


def test_a_search_that_takes_too_long_uses_what_it_has_found(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.put(MANIFEST + "  - {id: clip, mode: text-to-video, prompt: waves}\n")
    workspace.run()
    workspace.world.faults.add(
        Fault(stage="list", what="hang", endpoint="*video*", seconds=60.0, times=1)
    )
    monkeypatch.setattr(list_search, "PATIENCE", 1.0)
    monkeypatch.setattr(list_search, "PATIENCE_EACH", 0.0)

    said = workspace.run(*OTHER)

    assert "takes too long" in said
    assert "may not have been found" in said
    assert said.count("recovered: ") == 2
    assert workspace.charges() == [1, 1, 2]


def test_output_that_is_not_listed_is_asked_for_in_the_queue(workspace: Workspace) -> None:
    workspace.run()
    workspace.world.faults.add(listed(row(workspace, 0), row(workspace, 1)))

    assert workspace.run(*OTHER).count("recovered: ") == 2
    paid_once(workspace, 2)


def test_a_request_with_listed_output_comes_before_one_without(workspace: Workspace) -> None:
    workspace.put(ONE.replace("the first}", "the first, takes: 2}"))
    workspace.run()
    output = {"images": [{"url": "https://v3.fal.media/files/x.png"}]}
    workspace.world.faults.add(
        listed(row(workspace, 0), row(workspace, 1, json_output=output)),
    )
    workspace.put(ONE)

    document = json.loads(workspace.plan(*OTHER, "--json"))

    second = workspace.world.books.accepted[1].request_id
    assert [job["request_id"] for job in document["jobs"]] == [second]


def test_the_same_input_at_another_endpoint_is_another_render(workspace: Workspace) -> None:
    """A list that does not filter shows the requests of all endpoints."""
    workspace.videos("id: clip, prompt: waves, tier: pro", name="workspace")
    workspace.run()
    output = {"video": {"url": "https://v3.fal.media/files/x.mp4"}}
    workspace.world.faults.add(listed(row(workspace, 0, json_output=output)))
    workspace.videos("id: clip, prompt: waves, tier: standard", name="workspace")

    workspace.run(*OTHER)

    assert [r.endpoint.split("/")[3] for r in workspace.world.books.accepted] == ["pro", "standard"]


# -- raw jobs -------------------------------------------------------------------------------------

CLIP = "fal-ai/kling-video/o3/pro/text-to-video"
PICTURE = "fal-ai/kling-image/o3/text-to-image"
SQUARE = "version: 1\nname: raw\njobs:\n  - {id: a, mode: text-to-image, prompt: snow}\n"


def raw(given: str, endpoint: str = CLIP) -> str:
    """A manifest with one job that the catalogue does not check."""
    row = f"{{id: a, endpoint: {endpoint}, price: 1, input: {{{given}}}}}"
    return f"version: 1\nname: raw\njobs:\n  - {row}\n"


def test_a_raw_job_is_found_as_it_was_sent(workspace: Workspace) -> None:
    workspace.put(raw("prompt: snow, duration: '5'"))
    workspace.run("--max-cost", "9")

    assert "1 recovered" in workspace.run(*OTHER, "--max-cost", "9")
    paid_once(workspace, 1)


def test_a_raw_job_is_not_given_what_the_catalogue_alone_fills_in(workspace: Workspace) -> None:
    """fal makes a picture of 16:9 where none is asked for, and this program a square one."""
    workspace.put(SQUARE)
    workspace.run()
    workspace.put(raw("prompt: snow", PICTURE))
    workspace.run(*OTHER, "--max-cost", "9")

    assert workspace.charges() == [1, 1]


def test_a_file_of_a_raw_job_is_compared_by_its_content(workspace: Workspace) -> None:
    workspace.run()
    shutil.copy(workspace.folder / "outputs/workspace/text-to-image/one.png", workspace.folder)
    endpoint = "fal-ai/kling-video/o3/standard/image-to-video"
    workspace.put(raw("prompt: zoom, image_url: one.png", endpoint))
    workspace.run("--max-cost", "9")

    workspace.run(*OTHER, "--max-cost", "9")
    assert workspace.charges() == [1, 1, 1]
    brighter(workspace.folder / "one.png")
    workspace.run("--output", "third", "--max-cost", "9")
    assert workspace.charges() == [1, 1, 1, 1]
