"""Renditions of files in an object store, in memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import sha256

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.cli import Workspace
from support.stores import empty_memory

from kling_batch.core.locations import ObjectAddress
from kling_batch.output.renditions import publish_rendition

ROOT = "adl://assets/spring"
FOLDER = "spring/trial/text-to-image/"
POSTER = "{format: jpg, width: 64}"


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    with empty_memory():
        yield


def stored() -> dict[str, bytes]:
    fs = MemoryFileSystem()
    found = {name.removeprefix(f"/assets/{FOLDER}"): fs.cat_file(name) for name in fs.store}
    return {name: data for name, data in found.items() if not name.endswith(".json")}


def sidecar(name: str) -> dict[str, dict[str, str]]:
    text = MemoryFileSystem().cat_file(f"/assets/{FOLDER}{name}.json")
    return json.loads(text)["renditions"]


def put(workspace: Workspace, poster: str = POSTER, more: str = "", output: str = ROOT) -> None:
    workspace.put(
        f"name: trial\noutput: {output}\nrenditions:\n  poster: {poster}\n"
        "defaults: {mode: text-to-image}\njobs:\n"
        "  - {id: one, prompt: a hill}\n  - {id: two, prompt: a lake}\n" + more
    )


@pytest.fixture
def rendered(workspace: Workspace) -> Workspace:
    put(workspace)
    assert "renditions: 2 made" in workspace.run()
    return workspace


def test_they_lie_beside_their_files_and_are_made_once(rendered: Workspace) -> None:
    found = stored()

    assert {*found} == {"one.png", "one.poster.jpg", "two.png", "two.poster.jpg"}
    for name in ("one", "two"):
        made = sidecar(f"{name}.png")["poster"]
        assert made["file"] == f"{name}.poster.jpg"
        assert made["sha256"] == sha256(found[f"{name}.poster.jpg"]).hexdigest()
    assert list((rendered.folder / "outputs/ledger.db.spool").iterdir()) == []
    assert "nothing to do" in rendered.run()
    assert "2 files, 2 renditions: everything fits" in rendered.invoke("verify")
    assert stored() == found

    put(rendered, "{format: jpg, width: 32}")
    planned = rendered.invoke("plan", rendered.file, "--emulator-url", rendered.url)
    assert "2 renditions of saved files" in planned
    assert "renditions: 2 made" in rendered.run()
    again = stored()
    assert {*again} == {*found}
    assert again["one.poster.jpg"] != found["one.poster.jpg"]
    assert again["one.png"] == found["one.png"]
    assert len(rendered.charges()) == 2


def test_what_is_gone_is_made_again_and_what_was_edited_is_kept(rendered: Workspace) -> None:
    before, fs = stored(), MemoryFileSystem()
    fs.rm(f"/assets/{FOLDER}one.poster.jpg")
    fs.pipe_file(f"/assets/{FOLDER}two.poster.jpg", b"retouched by hand")

    said = rendered.invoke("verify", code=1)
    assert f"{ROOT}/trial/text-to-image/one.poster.jpg: missing" in said
    assert f"{ROOT}/trial/text-to-image/two.poster.jpg: 17 bytes instead of" in said

    rendered.invoke("renditions")

    mark = sha256(b"retouched by hand").hexdigest()[:8]
    assert stored() == {**before, f"two.poster.{mark}.jpg": b"retouched by hand"}
    assert "everything fits" in rendered.invoke("verify")


def test_none_is_made_of_an_object_that_has_changed(rendered: Workspace) -> None:
    name = f"/assets/{FOLDER}one.png"
    MemoryFileSystem().pipe_file(name, bytes(len(stored()["one.png"])))
    before = stored()["one.poster.jpg"]

    put(rendered, "{format: jpg, width: 32}")
    said = rendered.invoke("renditions", rendered.file, code=1)

    assert "one.png has changed since it was saved" in said
    assert stored()["one.poster.jpg"] == before
    assert len(rendered.charges()) == 2


def test_a_command_that_spoils_its_copy_spoils_nothing_else(workspace: Workspace) -> None:
    code = "import shutil, sys; i, o = sys.argv[1:]; shutil.copy(i, o); "
    spoils = [sys.executable, "-c", f"{code} open(i, 'r+b').write(b'x')", "{input}", "{output}"]
    copies = [sys.executable, "-c", code, "{input}", "{output}"]
    more = [("aaa", spoils), ("bbb", copies), ("ccc", copies)]
    recipes = "".join(
        f"  {name}: {{command: {json.dumps(words)}, ext: .bin}}\n" for name, words in more
    )
    workspace.put(
        f"name: trial\noutput: {ROOT}\nlimits: {{workers: 1}}\nrenditions:\n{recipes}"
        "defaults: {mode: text-to-image}\njobs:\n  - {id: one, prompt: a hill}\n"
    )

    assert "one, aaa: " in workspace.run(code=1)

    found = stored()
    assert {*found} == {"one.png", "one.bbb.bin", "one.ccc.bin"}
    assert len({*found.values()}) == 1
    assert list((workspace.folder / "outputs/ledger.db.spool").iterdir()) == []
    assert len(workspace.charges()) == 1


def test_a_lost_ledger_makes_none_again(rendered: Workspace) -> None:
    before = stored()
    (rendered.folder / "outputs").rename(rendered.folder / "lost")

    said = rendered.run("--no-reuse")

    assert "recovered" in said
    assert " made" not in said
    assert stored() == before
    assert "2 files, 2 renditions: everything fits" in rendered.invoke("verify")
    assert len(rendered.charges()) == 2


def test_repair_makes_them_again_and_the_sidecar_keeps_them(rendered: Workspace) -> None:
    before, fs = stored(), MemoryFileSystem()
    noted = sidecar("one.png")
    for name in ("one.png", "one.png.json", "one.poster.jpg"):
        fs.rm(f"/assets/{FOLDER}{name}")

    rendered.invoke("verify", "--repair", "--emulator-url", rendered.url)

    assert stored() == before
    assert sidecar("one.png") == noted
    assert len(rendered.charges()) == 2


def test_gallery_and_list_name_them(rendered: Workspace) -> None:
    rendered.invoke("gallery", "--output", ROOT)
    page = MemoryFileSystem().cat_file("/assets/spring/gallery.html").decode()
    assert '"url":"trial/text-to-image/one.poster.jpg"' in page

    said = rendered.invoke("list", "--json")
    assert f"{ROOT}/trial/text-to-image/one.poster.jpg" in said


def test_a_batch_that_moves_takes_them_along(rendered: Workspace) -> None:
    before = stored()

    put(rendered, output="here")
    rendered.run("--ledger", "outputs/ledger.db")
    folder = rendered.folder / "here/trial/text-to-image"
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".json"} == before

    MemoryFileSystem.store.clear()
    put(rendered)
    rendered.run()
    assert stored() == before
    assert len(rendered.charges()) == 2


def test_one_store_gives_another_name_through_this_machine(workspace: Workspace) -> None:
    fs = MemoryFileSystem()
    fs.pipe_file("/a/x.jpg", b"picture")
    source, target = ObjectAddress("memory://a/x.jpg"), ObjectAddress("memory://b/y.jpg")

    publish_rendition(source, target, sha256(b"picture").hexdigest(), workspace.folder / "scratch")

    assert fs.cat_file("/b/y.jpg") == b"picture"
    assert list((workspace.folder / "scratch").iterdir()) == []
