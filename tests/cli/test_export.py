"""`export --picked`: the chosen files in a folder, whole, named, listed, and never over others."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from support.cli import Workspace

TAKES = """\
version: 1
name: trial
jobs:
  - {id: hero, mode: text-to-image, prompt: still, takes: 3}
  - {id: other, mode: text-to-image, prompt: second}
"""
REVIEWED = """\
version: 1
name: trial
review: {draft: {tier: standard}, final: {tier: pro}}
jobs:
  - {id: hero, mode: text-to-video, duration: 3, prompt: moving}
"""


@pytest.fixture
def judged(workspace: Workspace) -> Workspace:
    """Take 2 of `hero` is picked, `other` approved."""
    workspace.put(TAKES)
    workspace.run()
    workspace.invoke(
        "verdict", "hero", "pick", "--take", "2", "--note", "=the one", "--author", "Ada"
    )
    workspace.invoke("verdict", "other", "approve")
    return workspace


def files(folder: Path) -> list[str]:
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(path.as_posix() for path in found)


def source(workspace: Workspace, name: str) -> Path:
    (path,) = (workspace.folder / "outputs").rglob(name)
    return path


def test_picked_takes_are_copied_with_their_sidecars_and_a_list(judged: Workspace) -> None:
    told = judged.invoke("export", "--picked", "cut", "--csv", "cut.csv")

    assert "1 file in cut, 0 missing" in told
    cut = judged.folder / "cut"
    assert files(cut) == ["hero-t2.png", "hero-t2.png.json"]
    assert (cut / "hero-t2.png").read_bytes() == source(judged, "hero-t2.png").read_bytes()
    assert json.loads((cut / "hero-t2.png.json").read_text())["take"] == 2
    with (judged.folder / "cut.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["take"], row["verdict"]) == ("hero-t2.png", "2", "picked")
    assert (row["note"], row["author"], row["prompt"]) == ("=the one", "Ada", "still")


def test_approved_takes_on_request_under_names_by_template(judged: Workspace) -> None:
    words = ("--approved", "--name", "{batch}/{mode}-{job}-{take}{ext}", "--json")
    told = judged.invoke("export", "--picked", "cut", *words)

    names = ["trial/text-to-image-hero-2.png", "trial/text-to-image-other-1.png"]
    assert [name for name in files(judged.folder / "cut") if name.endswith("png")] == names
    document = json.loads(told[: told.rindex("}") + 1])
    assert [row["file"] for row in document["files"]] == names


def test_links_share_the_file(judged: Workspace) -> None:
    judged.invoke("export", "--picked", "cut", "--link")

    assert (judged.folder / "cut/hero-t2.png").samefile(source(judged, "hero-t2.png"))


def test_the_same_command_again_adds_what_is_new(judged: Workspace) -> None:
    judged.invoke("export", "--picked", "cut")
    before = (judged.folder / "cut/hero-t2.png").stat()
    judged.invoke("verdict", "other", "pick")

    assert "2 files in cut, 0 missing" in judged.invoke("export", "--picked", "cut")
    assert (judged.folder / "cut/hero-t2.png").stat().st_mtime_ns == before.st_mtime_ns


def test_nothing_of_another_content_is_overwritten(judged: Workspace) -> None:
    mine = judged.folder / "cut/hero-t2.png"
    mine.parent.mkdir()
    mine.write_text("mine")

    told = judged.invoke("export", "--picked", "cut", code=1)

    assert "is something else, which stays" in told
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_file_that_is_missing_or_changed_is_reported_and_the_others_are_copied(
    judged: Workspace, damage: str
) -> None:
    path = source(judged, "hero-t2.png")
    path.write_bytes(b"noise") if damage == "changed" else path.unlink()

    (judged.folder / "outputs").rename(judged.folder / "moved")

    told = judged.invoke("export", "--picked", "cut", "--approved", "-o", "moved", code=1)

    assert f"hero#2: its file {'has changed' if damage == 'changed' else 'is missing'}" in told
    assert ("see: kling-batch verify --ledger moved/ledger.db" in told) is (damage == "changed")
    assert "other.png" in files(judged.folder / "cut")
    assert "hero-t2.png" not in files(judged.folder / "cut")


def test_of_a_picked_draft_the_final_is_exported(workspace: Workspace) -> None:
    workspace.put(REVIEWED)
    workspace.run()
    workspace.invoke("verdict", "hero", "pick")
    assert "hero is picked, and not rendered yet" in workspace.invoke(
        "export", "--picked", "cut", code=1
    )

    workspace.run()
    workspace.invoke("export", "--picked", "cut")

    assert files(workspace.folder / "cut") == ["hero.mp4", "hero.mp4.json"]


def test_a_final_that_is_rejected_itself_is_left_out(workspace: Workspace) -> None:
    workspace.put(REVIEWED)
    workspace.run()
    workspace.invoke("verdict", "hero", "approve")
    workspace.run()
    workspace.invoke("verdict", "hero", "reject")  # the final: it is rendered now

    told = workspace.invoke("export", "--picked", "cut", "--approved")

    assert "hero is rejected itself, and is left out" in told
    assert "0 files in cut, 0 missing" in told


def test_two_files_of_one_name_are_refused_before_anything_is_copied(judged: Workspace) -> None:
    told = judged.invoke(
        "export", "--picked", "cut", "--approved", "--name", "x{take}/../{job}{ext}", code=2
    )
    assert "leaves the output folder" in told
    (judged.folder / "b.yaml").write_text(
        TAKES.replace("name: trial", "name: b\npath: 'b/{job}{suffix}{ext}'").replace("still", "b")
    )
    judged.run(manifest="b.yaml")
    judged.invoke("verdict", "b/hero", "pick", "--take", "2")

    told = judged.invoke("export", "--picked", "cut", code=2)

    assert "would both be cut/hero-t2.png" in told
    assert not (judged.folder / "cut").exists()


def test_what_left_the_manifest_is_said_and_left_out(judged: Workspace) -> None:
    judged.put(TAKES.replace("still", "better"))
    judged.run()

    told = judged.invoke("export", "--picked", "cut")

    assert "is in no manifest any more" in told
    assert "0 files in cut" in told


def test_without_a_word_what_to_export_nothing_is_done(judged: Workspace) -> None:
    assert "--picked DIR" in judged.invoke("export", code=2)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("ends", ["", ".json"])
@pytest.mark.parametrize("way", ["{}", "link", "CUT/../cut/{}"])
def test_the_list_takes_the_place_of_no_copy_and_of_no_sidecar(
    judged: Workspace, again: bool, ends: str, way: str
) -> None:
    cut, name = judged.folder / "cut", f"hero-t2.png{ends}"
    if again:
        judged.invoke("export", "--picked", "cut")
    before = {path: path.read_bytes() for path in cut.rglob("*")}
    (judged.folder / "CUT").mkdir()
    (judged.folder / "link").symlink_to(cut / name)
    given = way.format(name) if way != "{}" else f"cut/{name}"

    told = judged.invoke("export", "--picked", "cut", "--csv", given, code=2)

    assert f"cut/{name}, where this command puts hero#2; nothing was written" in told
    assert {path: path.read_bytes() for path in cut.rglob("*")} == before


def test_the_list_takes_the_place_of_no_file_that_a_copy_could_not_replace(
    judged: Workspace,
) -> None:
    mine = judged.folder / "cut/hero-t2.png"
    mine.parent.mkdir()
    mine.write_text("mine")

    judged.invoke("export", "--picked", "cut", "--csv", str(mine), code=2)

    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [("--csv", "x.csv"), ("--name", "{job}{ext}"), ("--link",), ("--approved",), ("--json",)],
)
def test_what_is_for_picked_takes_is_refused_with_everything(
    judged: Workspace, words: tuple[str, ...]
) -> None:
    told = judged.invoke("export", "--jsonl", *words, code=2)

    assert f"{words[0]} without --picked: --jsonl exports everything" in told
    assert not (judged.folder / "x.csv").exists()
