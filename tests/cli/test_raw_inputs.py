"""`endpoint:` jobs: their inputs are held against fal's own schemas before anything is paid."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.cli import Workspace

from kling_batch.core.outcomes import Unread
from kling_batch.emulator import Fault
from kling_batch.operations.kept_schemas import FILE_NAME, KeptSchemas

ID = "fal-ai/flux/dev"
FIELDS = {
    "prompt": {"type": "string"},
    "image_size": {"type": "string", "enum": ["square", "landscape_4_3"]},
    "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 50},
}
HEAD = "version: 1\nname: raw\njobs:\n"


def row(given: str, name: str = "a", endpoint: str = ID) -> str:
    return f"  - {{id: {name}, endpoint: {endpoint}, price: 0.05, input: {{{given}}}}}\n"


def schema(**more: Any) -> Fault:
    """fal's document of the endpoint."""
    body = {"schema": {"properties": FIELDS, "required": ["prompt"]}}
    post = {"requestBody": {"content": {"application/json": body}}}
    document = {"paths": {f"/{ID}": {"post": post}}}
    values: dict[str, Any] = {"stage": "schema", "endpoint": ID, **more}
    return Fault(what="status", status=200, body=document, **values)


WRONG = "promt: x, image_size: landscape, num_inference_steps: 51"


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_every_problem_is_reported_at_its_place_and_nothing_is_paid(
    workspace: Workspace, command: str
) -> None:
    workspace.world.faults.add(schema())
    workspace.put(HEAD + row("prompt: fine", "fine") + row(WRONG))

    told = workspace.invoke(command, workspace.file, "--emulator-url", workspace.url, code=2)

    today = f"by fal's schema of {datetime.now(UTC):%Y-%m-%d}"
    name = f"{workspace.file}:5"
    assert f"{name}:5: {ID} needs `prompt`, {today}" in told
    assert f"{ID} has no parameter `promt`, {today} (did you mean `prompt`?)" in told
    assert f'`image_size` is "landscape"; fal takes square, landscape_4_3, {today}' in told
    assert f"`num_inference_steps` is 51; fal takes at most 50, {today}" in told
    assert told.count(name) == 4
    assert workspace.charges() == []


def test_a_good_input_is_paid_for_once_and_its_key_knows_no_schema(workspace: Workspace) -> None:
    workspace.world.faults.add(schema())
    workspace.put(HEAD + row("prompt: fine"))
    before = workspace.invoke("plan", workspace.file, "--no-schemas", "--offline", "--json")

    workspace.run()
    workspace.run()

    (before_job,) = json.loads(before)["jobs"]
    after = workspace.invoke("plan", workspace.file, "--json", "--emulator-url", workspace.url)
    (after_job,) = json.loads(after)["jobs"]
    assert before_job["key"] == after_job["key"]
    assert workspace.charges() == [1]


def test_what_is_done_is_not_held_against_a_schema(workspace: Workspace) -> None:
    workspace.put(HEAD + row("promt: x"))
    workspace.run("--no-schemas")
    workspace.world.faults.add(schema())

    workspace.run()

    assert workspace.charges() == [1]
    assert "has no parameter `promt`" in workspace.invoke(
        "validate", workspace.file, "--emulator-url", workspace.url, code=2
    )


UNREADABLE = (
    (Fault(stage="schema", what="status", status=503, times=1), "HTTP 503"),
    (Fault(stage="schema", what="status", status=404, times=1), "HTTP 404"),
    (Fault(stage="schema", what="reset", times=1), "cannot be read"),
    (Fault(stage="schema", what="garbage", times=1), "cannot be read"),
    (Fault(stage="schema", what="status", status=200, body={"paths": {}}), "describes no input"),
)


def test_a_schema_that_cannot_be_had_is_a_warning(workspace: Workspace) -> None:
    workspace.put(HEAD + row("promt: x") + row("promt: y", "b"))
    for fault, said in UNREADABLE:
        workspace.world.faults.add(fault)
        told = workspace.invoke("validate", workspace.file, "--emulator-url", workspace.url)
        assert told.count(f"the input of {ID} is not checked: fal's schema") == 1, told
        assert said in told

    for told in (workspace.plan(), workspace.run()):
        assert told.count(f"the input of {ID} is not checked: fal's schema") == 1, told
    assert workspace.charges() == [1, 1]


def test_it_is_read_once_and_kept_beside_the_ledger(workspace: Workspace) -> None:
    workspace.world.faults.add(schema(times=1))
    workspace.put(HEAD + row("prompt: fine"))
    workspace.run()

    kept = json.loads((workspace.folder / "outputs" / FILE_NAME).read_text())
    assert list(kept) == ["emulator"]
    assert kept["emulator"][ID]["read_at"].endswith("Z")
    workspace.put(HEAD + row("promt: x"))
    for command in ("validate", "plan"):
        for words in (
            ["--emulator-url", workspace.url],
            ["--emulator-url", workspace.url, "--offline"],
        ):
            told = workspace.invoke(command, workspace.file, *words, code=2)
            assert "has no parameter `promt`" in told


def test_offline_nobody_is_asked(workspace: Workspace) -> None:
    workspace.world.faults.add(schema())
    workspace.put(HEAD + row("promt: x"))

    for command in ("validate", "plan"):
        told = workspace.invoke(command, workspace.file, "--offline")
        assert "is not checked: fal's schema cannot be read: nobody is asked" in told


def test_validate_tells_it_in_json(workspace: Workspace) -> None:
    workspace.world.faults.add(schema(times=1))
    workspace.put(HEAD + row("promt: x"))
    words = ("validate", workspace.file, "--json", "--emulator-url", workspace.url)

    found = json.loads(workspace.invoke(*words, code=2))
    assert [each["code"] for each in found["problems"]] == ["missing", "unknown-parameter"]
    assert found["valid"] is False

    found = json.loads(
        workspace.invoke(*words)
    )  # the folder of outputs is not there yet: nothing is kept
    assert [(each["code"], each["severity"]) for each in found["problems"]] == [
        ("unchecked", "warning")
    ]
    assert found["valid"] is True


def test_it_needs_no_key_and_none_is_sent(workspace: Workspace) -> None:
    """The emulator refuses every key but its own; a schema is given to anybody."""
    workspace.world.settings.update({"keys": ["another"]})
    workspace.world.faults.add(schema())
    workspace.put(HEAD + row("promt: x"))

    assert "has no parameter" in workspace.invoke(
        "validate", workspace.file, "--emulator-url", workspace.url, code=2
    )


def test_the_built_in_emulator_serves_schemas(workspace: Workspace) -> None:
    endpoint = "fal-ai/kling-video/o3/standard/text-to-video"
    workspace.put(HEAD + row("prompt: x, duration: 5, seed: 1", endpoint=endpoint))

    told = workspace.invoke("validate", workspace.file, "--emulator", code=2)

    assert "`duration` must be text, not 5" in told
    assert "has no parameter `seed`" in told


def test_outputs_of_other_jobs_and_files_are_addresses(workspace: Workspace) -> None:
    (workspace.folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 64)
    endpoint = "fal-ai/kling-video/o3/standard/image-to-video"
    workspace.put(
        HEAD
        + "  - {id: still, mode: text-to-image, prompt: x}\n"
        + row("prompt: x, image_url: {job: still}", "one", endpoint)
        + row("prompt: x, image_url: a.png, end_image_url: {job: still}", "two", endpoint)
    )

    workspace.invoke("validate", workspace.file, "--emulator")


NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "asked"),
    [(timedelta(hours=23), 0), (timedelta(hours=25), 1), (timedelta(hours=-1), 1)],
)
def test_one_that_is_too_old_is_read_again(tmp_path: Path, age: timedelta, asked: int) -> None:
    ledger, calls = tmp_path / "ledger.db", []
    KeptSchemas(ledger, "fal", lambda: NOW - age).of([ID], lambda _: {ID: {"old": 1}})

    def ask(names: Any) -> dict[str, Any]:
        calls.append(names)
        return {ID: {"new": 1}}

    found = KeptSchemas(ledger, "fal", lambda: NOW).of([ID], ask)[ID]

    assert len(calls) == asked
    assert found.document == ({"new": 1} if asked else {"old": 1})


def test_where_it_cannot_be_read_again_the_old_one_is_used(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    old = NOW - timedelta(days=3)
    KeptSchemas(ledger, "fal", lambda: old).of([ID], lambda _: {ID: {"old": 1}})

    found = KeptSchemas(ledger, "fal", lambda: NOW).of([ID], lambda _: {ID: Unread("HTTP 503")})

    assert found[ID] == ({"old": 1}, old, "HTTP 503")
    assert found[ID].date == "2026-11-24"


def test_schemas_of_an_emulator_are_not_fals(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    KeptSchemas(ledger, "emulator", lambda: NOW).of([ID], lambda _: {ID: {}})

    assert KeptSchemas(ledger, "fal", lambda: NOW).of([ID], None)[ID].document is None


NO_ZONE = '{"fal": {"fal-ai/flux/dev": {"read_at": "2026-01-02", "document": {}}}}'


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"fal": 3}', '{"fal": {"fal-ai/flux/dev": 3}}', NO_ZONE]
)
def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    kept = KeptSchemas(tmp_path / "ledger.db", "fal", lambda: NOW)

    assert kept.of([ID], lambda _: {ID: {"new": 1}})[ID].document == {"new": 1}
    assert kept.of([ID], None)[ID].document == {"new": 1}


def test_an_old_schema_that_every_input_fits_is_not_worth_a_word(workspace: Workspace) -> None:
    workspace.world.faults.add(schema(times=1))
    workspace.put(HEAD + row("prompt: fine"))
    workspace.run()
    file = workspace.folder / "outputs" / FILE_NAME
    file.write_text(
        re.sub('"read_at": ".*"', '"read_at": "2026-01-02T00:00:00.000Z"', file.read_text())
    )
    workspace.put(HEAD + row("prompt: as fine"))

    assert "schema" not in workspace.run()
    assert workspace.charges() == [1, 1]


def test_errors_by_an_old_schema_are_doubts(workspace: Workspace) -> None:
    workspace.world.faults.add(schema(times=1))
    workspace.put(HEAD + row("prompt: fine"))
    workspace.run()
    file = workspace.folder / "outputs" / FILE_NAME
    kept = json.loads(file.read_text())
    kept["emulator"][ID]["read_at"] = "2026-01-02T00:00:00.000Z"
    file.write_text(json.dumps(kept))
    workspace.put(HEAD + row("promt: x"))

    told = workspace.run()

    assert f"{ID} is held against fal's schema of 2026-01-02" in told
    assert "has no parameter `promt`, by fal's schema of 2026-01-02" in told
    assert workspace.charges() == [1, 1]


@pytest.mark.parametrize(
    ("endpoint", "given", "cap"),
    [
        # fal gives it sound where nobody says anything.
        ("fal-ai/kling-video/v3/pro/text-to-video", "prompt: x", "0.60"),
        # Fifteen seconds of shots, whatever the duration says.
        (
            "fal-ai/kling-video/o3/pro/text-to-video",
            'multi_prompt: [{prompt: x, duration: "15"}], duration: "3"',
            "0.40",
        ),
    ],
)
def test_a_cap_holds_for_what_fal_makes_of_an_input(
    workspace: Workspace, endpoint: str, given: str, cap: str
) -> None:
    workspace.put(HEAD + row(given, endpoint=endpoint).replace("price: 0.05, ", ""))

    workspace.run("--no-schemas", "--max-cost", cap, code=4)
    assert workspace.charges() == []

    workspace.run("--no-schemas", "--max-cost", "1.68")
    assert workspace.charges() == [1]
    assert workspace.world.books.total_charged_micro_usd <= 1_680_000


def test_a_cap_does_not_hold_for_what_cannot_be_read(workspace: Workspace) -> None:
    given = "prompt: x, num_images: 12"
    job = row(given, endpoint="fal-ai/kling-image/o3/text-to-image")
    workspace.put(HEAD + job.replace("price: 0.05, ", ""))

    told = workspace.run("--no-schemas", "--max-cost", "0.10", code=2)

    assert "a: its price is unknown" in told
    assert "give the job a `price:`" in told
    assert workspace.charges() == []
