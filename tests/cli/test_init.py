"""`init`, `validate` and `schema`."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from support.cli import Workspace


def test_init_writes_a_manifest_that_runs_and_its_schema(workspace: Workspace) -> None:
    workspace.invoke("init", "new.yaml")

    workspace.invoke("validate", "new.yaml")
    assert "is there already" in workspace.invoke("init", "new.yaml", code=2)
    assert json.loads(workspace.invoke("schema")) == json.loads(
        (workspace.folder / "kling-batch.schema.json").read_text()
    )


@pytest.mark.parametrize(
    "name",
    [
        "shoe set.yaml",
        pytest.param("./~x.yaml", marks=pytest.mark.acceptance),
        pytest.param("-x.yaml", marks=pytest.mark.acceptance),
        pytest.param("it's.yaml", marks=pytest.mark.acceptance),
    ],
)
def test_what_init_prints_can_be_typed(workspace: Workspace, name: str) -> None:
    told = workspace.invoke("init", "--", name)

    step = told.partition("try it with: kling-batch ")[2].removesuffix("\n")
    workspace.type(f"kling-batch {step}")
    text = (workspace.folder / name).read_text()
    in_comment = re.search(r"kling-batch plan (.*)$", text, re.MULTILINE)
    assert in_comment is not None
    assert shlex.split(in_comment[1]) in ([name], [f"./{name}"])


def test_an_empty_name_is_none(workspace: Workspace) -> None:
    assert "the path is empty" in workspace.invoke("init", "", code=2)


@pytest.mark.parametrize("name", [".", "..", "/", "./"])
def test_a_folder_is_no_name_for_a_manifest(workspace: Workspace, name: str) -> None:
    told = workspace.invoke("init", name, code=2)

    assert "is a folder; give the manifest a name, as in " in told


@pytest.mark.parametrize(
    ("file", "batch"),
    [
        ("#.yaml", "batch"),
        ("a:b.yaml", "a-b"),
        (".yaml", "yaml"),
        ("con.yaml", "batch-con"),
        ("x{{y.yaml", "x-y"),
        ("two\nlines.yaml", "two-lines"),
        ("x" * 160 + ".yaml", "x" * 100),
    ],
)
def test_where_no_batch_can_have_the_name_of_its_file_it_has_another(
    workspace: Workspace, file: str, batch: str
) -> None:
    workspace.invoke("init", file)

    assert f'version: 1\nname: "{batch}"\n' in (workspace.folder / file).read_text()
    assert "4 jobs, no problems" in workspace.invoke("validate", file)


def test_a_name_of_two_lines_stays_in_its_comment(workspace: Workspace) -> None:
    told = workspace.invoke("init", "two\nlines.yaml")

    assert "kling-batch run $'two\\012lines.yaml' --emulator" in told
    text = (workspace.folder / "two\nlines.yaml").read_text()
    assert "# See what it would cost:" in text
    assert "kling-batch plan $'two\\012lines.yaml'" in text


def test_validate_counts_the_jobs(workspace: Workspace) -> None:
    job = "  - {id: %s, mode: text-to-image, prompt: fox}\n"
    one = workspace.folder / "one.yaml"
    one.write_text("version: 1\njobs:\n" + job % "a")
    assert "one.yaml: 1 job, no problems" in workspace.invoke("validate", "one.yaml")
    one.write_text(one.read_text() + job % "b")
    assert "one.yaml: 2 jobs, no problems" in workspace.invoke("validate", "one.yaml")
