"""What commands print as JSON, held against the published schema: names are a promise."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.cli import HERO, OTHER, POLICY, Workspace, run_command

from kling_batch import errors
from kling_batch.cli.command_tree import command_tree
from kling_batch.cli.commands import COMMANDS
from kling_batch.cli.main import cli
from kling_batch.core.events import EventKind
from kling_batch.errors import KlingBatchError
from kling_batch.report.output_schema import ERROR_CODES, output_schema

ROOT = Path(__file__).parents[2]

#: What this program writes has no field that is not promised; rows of the ledger may grow.
CLOSED = (
    "comparison",
    "catalog_check",
    "event",
    "report",
    "error",
    "problem",
    "plan",
    "validation",
    "commands",
)


def closed(schema: Any) -> Any:
    """The schema with every object closed, as far as its fields are listed."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items() if name != "if"}
    listed = isinstance(schema.get("properties"), dict) and "required" in schema
    more = {"additionalProperties": False} if listed else {}
    return {**inner, **more, **({"if": schema["if"]} if "if" in schema else {})}


def strict() -> dict[str, Any]:
    schema = copy.deepcopy(output_schema())
    schema["$defs"] = {
        name: closed(each) if name in CLOSED else each for name, each in schema["$defs"].items()
    }
    return schema


STRICT = strict()


def hold(document: Any, name: str) -> None:
    schema = {**{k: v for k, v in STRICT.items() if k != "anyOf"}, "$ref": f"#/$defs/{name}"}
    jsonschema.validate(document, schema)


def streamed(workspace: Workspace, *words: str, code: int = 0) -> list[Any]:
    """The lines of a run, each held against the schema."""
    done = run_command(
        *("run", workspace.file, "--emulator-url", workspace.url, "--json", "-q", *words),
        cwd=workspace.folder,
    )
    assert done.returncode == code, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        hold(line, line["event"] if line["event"] in ("report", "error") else "event")
    return lines


def of(lines: list[Any], event: str, job: str) -> Any:
    (found,) = [each for each in lines if (each["event"], each.get("job")) == (event, job)]
    return found["data"]


# -- the stream of a run --------------------------------------------------------------------------


def test_events_carry_their_facts_as_fields(workspace: Workspace) -> None:
    workspace.write(HERO, OTHER)

    lines = streamed(workspace)

    ids = {request.request_id: request.prompt for request in workspace.world.books.accepted}
    submitted, saved = of(lines, "submitted", "hero"), of(lines, "saved", "hero")
    assert ids[submitted["request_id"]] == "first"
    assert submitted["request_id"] == saved["request_id"]
    assert (submitted["attempt"], submitted["attempts"], submitted["cost_usd"]) == (1, 3, None)
    assert submitted["estimate_usd"] == saved["cost_usd"] == pytest.approx(0.028)
    (artifact,) = saved["artifacts"]
    assert [artifact["path"]] == saved["files"]
    assert artifact["size"] == (workspace.folder / artifact["path"]).stat().st_size
    assert len(artifact["sha256"]) == 64


def test_a_failure_says_why_as_fields(workspace: Workspace) -> None:
    workspace.write(HERO)
    workspace.world.faults.add(POLICY)

    failed = of(streamed(workspace, code=1), "failed", "hero")

    assert (failed["failure"], failed["attempt"]) == ("policy", 1)
    assert failed["request_id"] == workspace.world.books.accepted[0].request_id
    assert failed["reason"]


def test_renditions_are_reported_as_fields(workspace: Workspace) -> None:
    recipes = {
        "poster": {"format": "jpg", "width": 16},
        "raw": {"command": ["false", "{input}", "{output}"], "ext": ".bin"},
    }
    workspace.put(
        f"renditions: {json.dumps(recipes)}\ndefaults: {{mode: text-to-image}}\njobs:\n{HERO}"
    )

    lines = streamed(workspace, code=1)

    made, failed = of(lines, "rendition", "hero"), of(lines, "rendition_failed", "hero")
    assert made["size"] == (workspace.folder / made["path"]).stat().st_size
    assert (made["rendition"], failed["rendition"]) == ("poster", "raw")
    assert made["of"] == failed["of"]
    assert lines[-1]["renditions"]["made"] == 1
    (sentence,) = lines[-1]["renditions"]["failed"]
    assert failed["reason"] in sentence

    (workspace.folder / made["path"]).unlink()
    done = run_command("renditions", workspace.file, "--json", cwd=workspace.folder)
    document = json.loads(done.stdout)
    hold(document, "renditions")
    assert document["made"] == [made]
    assert document["failed"] == [failed]
    assert done.returncode == 1


def test_every_event_has_a_schema() -> None:
    known = output_schema()["$defs"]["event"]["properties"]["event"]["enum"]

    assert {*known} == {*map(str, EventKind), "started", "heartbeat"}


# -- documents of other commands -------------------------------------------------------------------


def test_the_documents_are_as_published(workspace: Workspace) -> None:
    workspace.write(HERO, OTHER)
    hold(json.loads(workspace.invoke("plan", workspace.file, "--offline", "--json")), "plan")
    workspace.run()

    for words, name in (
        (("status", "--json"), "status"),
        (("show", "hero", "--json"), "show"),
        (("report", "--json"), "costs"),
        (("validate", workspace.file, "--json"), "validation"),
        (("catalog", "--json"), "catalog"),
        (("compare", workspace.file, "--json"), "comparison"),
        (("export", "--picked", "cut", "--json"), "exported"),
        (("--help", "--json"), "commands"),
        (("run", "-h", "--json"), "commands"),
    ):
        done = run_command(*words, cwd=workspace.folder)
        assert done.returncode == 0, done.stderr
        hold(json.loads(done.stdout), name)
    for line in workspace.invoke("list", "--json").splitlines():
        hold(json.loads(line), "list_row")


def test_the_check_of_the_catalogue_is_as_published(workspace: Workspace) -> None:
    words = ("catalog", "o3", "--check", "--json", "--emulator-url", workspace.url)

    hold(json.loads(run_command(*words, cwd=workspace.folder).stdout), "catalog_check")


def test_no_command_with_json_is_forgotten() -> None:
    tree = command_tree(cli)["commands"]
    found = {
        each["command"]
        for each in tree
        if any("--json" in option["spellings"] for option in each["parameters"])
    }

    held = {"run", "plan", "status", "list", "show", "report", "validate"}
    assert found == held | {"catalog", "compare", "export", "renditions"}


def test_the_problems_of_a_manifest_are_as_published(workspace: Workspace) -> None:
    workspace.write("  - {id: hero, promt: first}\n")

    document = json.loads(workspace.invoke("validate", workspace.file, "--json", code=2))

    hold(document, "validation")
    assert document["problems"][0]["code"] == "unknown-key"


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (("run", "batch.yaml", "--json", "--nonsense"), 2, "usage"),
        (("run", "missing.yaml", "--json", "--emulator"), 2, "manifest"),
        (("run", "batch.yaml", "--json", "--yes"), 3, "key"),
        (("status", "--json", "--ledger", "batch.yaml"), 7, "ledger"),
        (("report", "--json", "--ledger", "nowhere.db"), 7, "ledger"),
        (("catalog", "--json", "nonsense"), 2, "usage"),
    ],
)
def test_an_error_is_one_json_object_where_json_is_asked_for(
    tmp_path: Path, words: tuple[str, ...], code: int, name: str
) -> None:
    (tmp_path / "batch.yaml").write_text("jobs:\n- {id: a, mode: text-to-image, prompt: b}\n")

    done = run_command(*words, cwd=tmp_path)

    assert done.returncode == code, done.stderr
    assert done.stderr  # people are told all the same
    (document,) = map(json.loads, done.stdout.splitlines())
    hold(document, "error")
    assert (document["error"]["code"], document["exit_code"]) == (name, code)


def test_an_error_of_a_manifest_names_its_place(tmp_path: Path) -> None:
    (tmp_path / "batch.yaml").write_text("jobs:\n- {id: a, mode: text-to-image, promt: b}\n")

    done = run_command("plan", "batch.yaml", "--json", cwd=tmp_path)

    error = json.loads(done.stdout)["error"]
    assert error["place"] == {"file": "batch.yaml", "line": 2, "column": 32, "cell": None}
    assert error["problems"][0]["message"] == error["message"]
    assert "prompt" in (error["hint"] + error["message"])


@pytest.mark.parametrize("words", [("--", "--json"), ()])
def test_without_json_standard_output_stays_empty(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run_command("plan", *words, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")


def kinds(kind: type[KlingBatchError]) -> Iterator[type[KlingBatchError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from kinds(each)


def test_the_codes_of_errors_are_a_promise() -> None:
    own = {each.code for each in kinds(KlingBatchError)}

    assert own | {"system", "interrupted", "terminated"} == {*ERROR_CODES}
    assert errors.LedgerError.code == "ledger"


# -- the published schema --------------------------------------------------------------------------


def test_the_schema_is_published(tmp_path: Path) -> None:
    printed = run_command("schema", "output", cwd=tmp_path).stdout

    jsonschema.Draft202012Validator.check_schema(json.loads(printed))
    assert (ROOT / "docs/output.schema.json").read_text("utf-8") == printed


def test_the_tree_of_commands_is_complete(tmp_path: Path) -> None:
    tree = json.loads(run_command("--help", "--json", cwd=tmp_path).stdout)

    assert [each["command"] for each in tree["commands"]] == [*COMMANDS]
    (run,) = [each for each in tree["commands"] if each["command"] == "run"]
    options = {each["name"]: each for each in run["parameters"]}
    assert options["concurrency"]["spellings"] == ["--concurrency", "-j"]
    assert options["concurrency"]["default"] == "8"
    assert options["max_cost"]["environment"] == "KLING_BATCH_MAX_COST"
    assert (options["manifests"]["kind"], options["manifests"]["required"]) == ("argument", True)
    assert all(each["examples"] for each in tree["commands"])
