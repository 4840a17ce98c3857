"""Commands on outputs in an object store, in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.cli import Workspace
from support.stores import empty_memory

from kling_batch.core.outcomes import Fetched
from kling_batch.engine.file_fetch import token_of
from kling_batch.ledger.reader import Reader
from kling_batch.output import spool

ROOT = "adl://assets/spring"
ONE = "spring/trial/text-to-image/one.png"


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    with empty_memory():
        yield


def stored() -> dict[str, bytes]:
    fs = MemoryFileSystem()
    return {name.removeprefix("/assets/"): fs.cat_file(name) for name in fs.store}


@pytest.fixture
def rendered(workspace: Workspace) -> Workspace:
    workspace.put(
        f"name: trial\noutput: {ROOT}\n" + (workspace.folder / workspace.file).read_text()
    )
    workspace.run()
    return workspace


def clip(workspace: Workspace) -> str:
    (name,) = [n for n in stored() if n.endswith("one.png")]
    return name


def test_outputs_are_in_the_store_and_the_ledger_is_here(rendered: Workspace) -> None:
    assert clip(rendered) == ONE
    assert sorted(p.name for p in (rendered.folder / "outputs").iterdir()) == [
        "ledger.db",
        "ledger.db.lock",
        "ledger.db.spool",
    ]
    assert "nothing to do, 2 jobs done before" in rendered.run()
    assert f"{ROOT}/" in rendered.invoke("list", "--json")
    assert "everything fits" in rendered.invoke("verify")
    assert rendered.charges() == [1, 1]


def test_the_output_of_the_command_line_is_an_address_too(workspace: Workspace) -> None:
    said = workspace.run("--output", f"{ROOT}/")

    assert f"files in {ROOT}" in said
    assert len([n for n in stored() if n.endswith(".png")]) == 2
    assert "everything fits" in workspace.invoke("verify", "--output", ROOT)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("sftp://me:secret@host/x", "an address holds no password"),
        ("https://host/x", "`https://` is no store for outputs"),
        ("s3://", "names no bucket or server"),
        ("s3://127.0.0.1:9000/assets/x", "goes into AWS_ENDPOINT_URL"),
        ("s3://bucket/x?versionId=1", "is no plain address of a folder"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(
    workspace: Workspace, address: str, words: str
) -> None:
    said = workspace.run("--output", address, code=2)
    assert words in said

    workspace.put(f"output: {address}\n" + (workspace.folder / workspace.file).read_text())
    assert words in workspace.invoke("validate", workspace.file, code=2)
    assert workspace.charges() == []


def test_a_scheme_that_nobody_knows_costs_nothing(workspace: Workspace) -> None:
    said = workspace.run("--output", "nosuch://bucket/x", code=1)

    assert "`nosuch://` is no store that fsspec knows" in said
    assert workspace.charges() == []


def test_an_export_comes_from_the_store(rendered: Workspace) -> None:
    rendered.invoke("verdict", "one", "pick")

    rendered.invoke("export", "--picked", "final")

    assert (rendered.folder / "final/one.png").read_bytes() == stored()[ONE]
    assert json.loads((rendered.folder / "final/one.png.json").read_text())["job"] == "one"
    said = rendered.invoke("export", "--picked", "linked", "--link", code=1)
    assert "leave out --link" in said


def test_verify_tells_and_repairs_a_changed_object(rendered: Workspace) -> None:
    whole = stored()[ONE]
    MemoryFileSystem().pipe_file(f"/assets/{ONE}", b"x" * len(whole))

    said = rendered.invoke("verify", code=1)
    assert f"adl://assets/{ONE}: the content has changed since it was saved" in said

    rendered.invoke("verify", "--repair", "--emulator-url", rendered.url)
    found = stored()
    assert found[ONE] == whole
    kept = sha256(b"x" * len(whole)).hexdigest()[:8]
    assert found[ONE.replace("one.", f"one.{kept}.")] == b"x" * len(whole)
    assert rendered.charges() == [1, 1]


def test_a_lost_ledger_buys_nothing_again(rendered: Workspace) -> None:
    (rendered.folder / "outputs").rename(rendered.folder / "lost")

    said = rendered.run("--no-reuse")

    assert said.count("recovered") >= 2
    assert rendered.charges() == [1, 1]


def test_the_gallery_lies_beside_the_files_or_says_which_have_no_link(rendered: Workspace) -> None:
    assert rendered.invoke("gallery", "--output", ROOT).strip() == f"{ROOT}/gallery.html"

    found = stored()
    page = found["spring/gallery.html"].decode()
    assert '"url":"trial/text-to-image/one.png"' in page
    assert f'"poster":".posters/{sha256(found[ONE]).hexdigest()[:32]}.jpg"' in page
    assert any(name.startswith("spring/.posters/") for name in found)

    rendered.invoke("gallery")
    local = (rendered.folder / "outputs/gallery.html").read_text()
    assert '"missing":true' in local  # memory signs no links


def test_an_adopted_file_is_put_into_the_store(workspace: Workspace, rendered: Workspace) -> None:
    own = rendered.folder / "own.png"
    own.write_bytes(stored()[ONE])
    text = (rendered.folder / rendered.file).read_text()
    rendered.put(text + "  - {id: three, prompt: the third}\n")
    rendered.run("--limit", "0")

    rendered.invoke("adopt", "three", "own.png", "--output", ROOT)

    assert stored()["spring/trial/text-to-image/three.png"] == own.read_bytes()
    assert rendered.charges() == [1, 1]


def test_a_single_shot_says_where_its_file_is(workspace: Workspace) -> None:
    said = workspace.invoke(
        "generate", "-p", "a hill", "--output", ROOT, "--emulator-url", workspace.url
    )

    assert f'"path": "{ROOT}/generate/text-to-image/a-hill-' in said


def test_doctor_asks_the_store(workspace: Workspace) -> None:
    said = workspace.invoke("doctor", "--output", ROOT, "--emulator-url", workspace.url)

    assert f"output: {ROOT} can be read" in said


@pytest.mark.parametrize("known", [True, False])
def test_what_a_killed_run_left_in_the_spool_goes_where_the_ledger_has_it(
    rendered: Workspace, known: bool
) -> None:
    folder = rendered.folder / "outputs/ledger.db.spool"
    with Reader.open(rendered.folder / "outputs/ledger.db") as reader:
        token = token_of(reader.attempt(1)) if known else "0123456789ab"
    path = folder / f".{token}-0.part"
    path.write_bytes(b"x")
    digest, kind = sha256(b"x").hexdigest(), {"ext": ".png", "content_type": "image/png"}
    spool.note(Fetched(temporary=str(path), sha256=digest, size=1, **kind), 1)
    rendered.put((rendered.folder / rendered.file).read_text() + "  - {id: three, prompt: x}\n")

    rendered.run()

    assert len(list(folder.iterdir())) == (0 if known else 2)
