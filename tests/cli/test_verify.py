"""`verify` and `verify --repair`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from support.books import paid_once
from support.cli import MANIFEST, ONE, Workspace, run_command
from support.process import environment, start, tls_stand_in

from kling_batch.emulator import Fault
from kling_batch.engine import pacing
from kling_batch.ledger.reader import Reader
from kling_batch.operations.verify import verify_ledger
from kling_batch.output.store import OutputStore


def test_verify_finds_a_lost_file_and_repair_fetches_it_for_nothing(workspace: Workspace) -> None:
    workspace.run()
    lost = workspace.folder / "outputs/workspace/text-to-image/one.png"
    content = lost.read_bytes()
    lost.write_bytes(content[:-9] + b"tampered!")

    assert "content has changed" in workspace.invoke("verify", code=1)
    workspace.invoke("verify", "--repair", "--emulator-url", workspace.url)

    assert lost.read_bytes() == content
    paid_once(workspace, 2)


def test_verify_misses_a_sidecar_and_repair_writes_it_again(workspace: Workspace) -> None:
    workspace.run()
    (beside,) = (workspace.folder / "outputs").rglob("one.png.json")
    told = json.loads(beside.read_text())
    beside.unlink()

    assert "the sidecar beside it is missing" in workspace.invoke("verify", code=1)
    workspace.invoke("verify", "--repair", "--emulator-url", workspace.url)

    again = json.loads(beside.read_text())
    assert {**again, "saved_at": ""} == {**told, "saved_at": ""}
    assert "everything fits" in workspace.invoke("verify")


@pytest.mark.parametrize(
    "content", ["", "null", '{"mine": 1}', '{"schema_version": 1, "key": "k"}']
)
def test_verify_tells_a_sidecar_that_is_not_the_record_of_its_file(
    workspace: Workspace, content: str
) -> None:
    workspace.run()
    (beside,) = (workspace.folder / "outputs").rglob("one.png.json")
    told = json.loads(beside.read_text())
    beside.write_text(content)

    assert "the sidecar beside it is not its record" in workspace.invoke("verify", code=1)
    workspace.invoke("verify", "--repair", "--emulator-url", workspace.url)

    assert json.loads(beside.read_text())["sha256"] == told["sha256"]
    assert "everything fits" in workspace.invoke("verify")
    paid_once(workspace, 2)
    if "mine" in content:  # a person's own file keeps a second name
        assert content in [path.read_text() for path in beside.parent.glob("one.png.*.json")]


def test_a_pipe_in_the_place_of_a_sidecar_holds_up_nobody(workspace: Workspace) -> None:
    (folder := workspace.folder / "outputs/workspace/text-to-image").mkdir(parents=True)
    os.mkfifo(folder / "one.png.json")

    assert "one.png.json: is no file, but a pipe" in workspace.run(code=1)

    (folder / "one.png.json").unlink()
    workspace.run()
    assert "everything fits" in workspace.invoke("verify")
    paid_once(workspace, 2)


def test_repair_puts_a_file_back_where_it_was_whatever_has_become_of_its_job(
    workspace: Workspace,
) -> None:
    """The job left its manifest, and the ledger lies elsewhere: neither moves a file."""
    places = ("--output", "renders", "--ledger", "books/l.db")
    workspace.run(*places)
    (workspace.folder / "workspace.yaml").write_text(MANIFEST.partition("  - {id: two")[0])
    workspace.run(*places)
    two = workspace.folder / "renders/workspace/text-to-image/two.png"
    content = two.read_bytes()
    two.unlink()

    workspace.invoke(
        "verify", "--ledger", "books/l.db", "--repair", "--emulator-url", workspace.url
    )

    assert two.read_bytes() == content
    assert len(list(workspace.folder.rglob("two*.png"))) == 1
    assert "everything fits" in workspace.invoke("verify", "--ledger", "books/l.db")
    paid_once(workspace, 2)


@pytest.mark.parametrize("intact", [True, False])
def test_repair_of_one_of_two_names_condemns_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, intact: bool
) -> None:
    """From the other name, where fal has the file no longer; and without one it stays a finding."""
    monkeypatch.setattr(pacing, "DOWNLOAD", pacing.Backoff(first=0.02))  # instead of a minute
    (workspace.folder / "workspace.yaml").write_text(MANIFEST.replace("the second", "the first"))
    workspace.run()
    folder = workspace.folder / "outputs/workspace/text-to-image"
    (folder / "one.png").unlink()
    if not intact:
        (folder / "two.png").unlink()
    workspace.world.faults.add(Fault(stage="download", what="html"))

    told = workspace.invoke(
        "verify", "--repair", "--emulator-url", workspace.url, code=0 if intact else 1
    )

    assert (folder / "one.png").is_file() is intact
    assert ("still: " in told) is not intact
    workspace.world.faults.clear()
    workspace.run()
    assert workspace.pictures() == ["one.png", "two.png"]
    assert len(workspace.world.books.charges()) == 1


@pytest.mark.parametrize("lost", ["two.png*", "*.png*", "*.json", "one.png"])
def test_what_is_repaired_is_described_under_its_own_name(workspace: Workspace, lost: str) -> None:
    """Two jobs with one request have one render, and each a file and a sidecar."""
    (workspace.folder / "workspace.yaml").write_text(MANIFEST.replace("the second", "the first"))
    workspace.run()
    folder = workspace.folder / "outputs/workspace/text-to-image"
    for path in folder.glob(lost):
        path.unlink()

    workspace.invoke("verify", "--repair", "--emulator-url", workspace.url)

    for name in ("one", "two"):
        assert json.loads((folder / f"{name}.png.json").read_text())["job"] == name
    assert len(workspace.world.books.charges()) == 1


@pytest.mark.acceptance
def test_verify_beside_a_run_finds_nothing_that_is_not_there(workspace: Workspace) -> None:
    workspace.put(ONE + "".join(f"  - {{id: j{n}, prompt: p{n}}}\n" for n in range(80)))
    found = []
    words = ("--rate", "40/s", "--concurrency", "80", "-q", "--emulator-url", workspace.url)
    with start("run", "workspace.yaml", *words, cwd=workspace.folder) as process:
        ledger = workspace.folder / "outputs/ledger.db"
        while not ledger.exists():
            time.sleep(0.05)
        time.sleep(0.3)
        while process.poll() is None:
            with Reader.open(ledger) as reader:
                found += verify_ledger(reader, OutputStore({}, ledger.parent)).findings
        process.communicate()
    assert not found


def test_a_sidecar_is_written_again_without_a_key(tmp_path: Path) -> None:
    with tls_stand_in(tmp_path, "--profile", "instant") as env:
        (tmp_path / "m.yaml").write_text(ONE)
        run_command("run", "m.yaml", "--yes", cwd=tmp_path, env=env)
    (sidecar,) = (tmp_path / "outputs").rglob("*.png.json")
    sidecar.unlink()
    assert run_command("verify", "--repair", cwd=tmp_path, env=environment()).returncode == 0
