"""Targets of a run, checked before anything is paid: inside the output folder, and with room."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.books import paid_once
from support.cli import MANIFEST, ONE, Workspace, run_command
from support.process import environment

from kling_batch.core.jobs import Batch
from kling_batch.errors import UsageError
from kling_batch.manifest.loader import load
from kling_batch.operations import targets
from kling_batch.output.download import SPARE
from kling_batch.planning.builder import build_plan
from kling_batch.settings import RunOptions, resolve


def test_a_link_that_leads_out_is_reported_by_plan_and_by_run(workspace: Workspace) -> None:
    outside = workspace.folder.parent / "outside"
    outside.mkdir()
    (workspace.folder / "outputs").mkdir()
    (workspace.folder / "outputs/workspace").symlink_to(outside)

    for told in (workspace.invoke("plan", workspace.file, code=2), workspace.run(code=2)):
        assert "leads out of the output folder" in told
        assert "remove the link in it, or give the folder behind it as --output" in told
    assert list(outside.iterdir()) == []
    assert workspace.world.books.posts == []


def test_a_link_inside_the_output_folder_is_fine(workspace: Workspace) -> None:
    (workspace.folder / "outputs/elsewhere").mkdir(parents=True)
    (workspace.folder / "outputs/workspace").symlink_to("elsewhere")

    workspace.invoke("plan", workspace.file)
    workspace.run()

    paid_once(workspace, 2)


def with_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    real = shutil.disk_usage

    def usage(path: Any) -> Any:
        return real(path)._replace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)


@pytest.mark.parametrize(
    "name", ["outputs", "outputs/workspace", "outputs/workspace/text-to-image"]
)
def test_a_file_in_the_place_of_a_folder_is_reported_by_plan_and_run(
    workspace: Workspace, name: str
) -> None:
    file = workspace.folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("notes")

    for told in (workspace.invoke("plan", workspace.file, code=2), workspace.run(code=2)):
        assert f"{name}: is no folder, and outputs go below it; nothing was sent" in told
    assert file.read_text() == "notes"
    assert workspace.world.books.posts == []


def test_a_disk_without_room_for_the_usual_size_costs_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.put(ONE)
    workspace.run()
    workspace.put(MANIFEST)
    with_free(monkeypatch, SPARE + 100)

    for told in (workspace.plan(), workspace.run(code=2)):
        assert "MB are free, and the files of 1 job usually take" in told
        assert "make room" in told
    paid_once(workspace, 1)

    with_free(monkeypatch, SPARE + 10_000_000)
    workspace.run()
    paid_once(workspace, 2)


def clips(folder: Path, job: str) -> Batch:
    (folder / "b.yaml").write_text(f"version: 1\njobs:\n  - {{id: a, prompt: x, {job}}}\n")
    return load(folder / "b.yaml")


@pytest.mark.parametrize(
    ("job", "megabytes"),
    [
        ("mode: text-to-image", 4),
        ("mode: text-to-image, num_images: 3", 12),
        ("mode: text-to-video, duration: 10", 20),
        ("mode: text-to-video, tier: 4k", 40),
        ("mode: text-to-video, takes: 3", 30),
    ],
)
def test_sizes_where_the_ledger_knows_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, megabytes: int
) -> None:
    batch = clips(tmp_path, job)
    settings = resolve([batch], RunOptions(output=tmp_path / "out"))
    plan = build_plan(None, [batch], settings)

    with_free(monkeypatch, SPARE + megabytes * 1_000_000)
    targets.check_room(plan, settings, {})

    with_free(monkeypatch, SPARE + megabytes * 1_000_000 - 1)
    with pytest.raises(UsageError, match=f"usually take {megabytes} MB"):
        targets.check_room(plan, settings, {})


@pytest.mark.parametrize("option", ["--ledger", "--junit", "--summary"])
def test_an_address_is_no_path_on_this_machine(workspace: Workspace, option: str) -> None:
    told = workspace.invoke("run", "workspace.yaml", option, "s3://bucket/x", code=2)

    assert "`s3://bucket/x` is an address" in told
    assert not (workspace.folder / "s3:").exists()
    assert workspace.charges() == []


def test_a_manifest_is_held_to_a_folder_by_the_environment(workspace: Workspace) -> None:
    workspace.put(f"output: ../elsewhere\n{MANIFEST}")
    env = environment(KLING_BATCH_OUTPUT_BELOW=".")
    words = (workspace.file, "--emulator-url", workspace.url)

    for command in ("plan", "run"):
        done = run_command(command, *words, cwd=workspace.folder, env=env)
        assert done.returncode == 2
        assert "the output ../elsewhere is not inside" in done.stderr
    assert not (workspace.folder.parent / "elsewhere").exists()
    assert workspace.prompts() == []

    named = ("run", *words, "--output", str(workspace.folder.parent / "named"))
    assert run_command(*named, cwd=workspace.folder, env=env).returncode == 0
    assert len(workspace.prompts()) == 2


def test_the_folder_that_manifests_are_held_to_may_begin_with_a_home_folder(
    workspace: Workspace,
) -> None:
    env = environment(KLING_BATCH_OUTPUT_BELOW="~/work", HOME=str(workspace.folder))
    workspace.put(f"output: work/spring\n{MANIFEST}")

    done = run_command("plan", workspace.file, cwd=workspace.folder, env=env)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["--ledger", "--output", "--junit"])
def test_an_empty_path_is_not_the_working_folder(workspace: Workspace, option: str) -> None:
    told = workspace.run(option, "", code=2)

    assert f"Invalid value for '{option}'" in told
    assert "the path is empty" in told
    assert workspace.world.books.posts == []
    assert not (workspace.folder / "ledger.db").exists()


def test_a_folder_is_no_ledger(workspace: Workspace) -> None:
    (workspace.folder / "outputs").mkdir()

    for words in (("run", workspace.file, "--yes"), ("status",)):
        told = workspace.invoke(*words, "--ledger", "outputs", code=7)
        assert "outputs: is a folder, and a ledger is a file, such as outputs/ledger.db" in told
    assert workspace.world.books.posts == []
