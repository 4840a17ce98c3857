"""`verify` and `verify --repair`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.books import paid_once
from support.cli import MANIFEST, ONE, Desk, invoke
from support.process import environment, start, tls_stand_in

from kling_batch.emulator import Fault
from kling_batch.engine import pacing
from kling_batch.ledger.reader import Reader
from kling_batch.operations.verify import verify_ledger
from kling_batch.output.store import OutputStore


def test_verify_finds_a_lost_file_and_repair_fetches_it_for_nothing(desk: Desk) -> None:
    desk.run()
    lost = desk.folder / "outputs/desk/text-to-image/one.png"
    content = lost.read_bytes()
    lost.write_bytes(content[:-9] + b"tampered!")

    assert "content has changed" in desk.say("verify", code=1)
    desk.say("verify", "--repair", "--emulator-url", desk.url)

    assert lost.read_bytes() == content
    paid_once(desk, 2)


def test_verify_misses_a_sidecar_and_repair_writes_it_again(desk: Desk) -> None:
    desk.run()
    (beside,) = (desk.folder / "outputs").rglob("one.png.json")
    told = json.loads(beside.read_text())
    beside.unlink()

    assert "the sidecar beside it is missing" in desk.say("verify", code=1)
    desk.say("verify", "--repair", "--emulator-url", desk.url)

    again = json.loads(beside.read_text())
    assert {**again, "saved_at": ""} == {**told, "saved_at": ""}
    assert "everything fits" in desk.say("verify")


def test_repair_puts_a_file_back_where_it_was_whatever_has_become_of_its_job(desk: Desk) -> None:
    """The job left its manifest, and the ledger lies elsewhere: neither moves a file."""
    places = ("--output", "renders", "--ledger", "books/l.db")
    desk.run(*places)
    (desk.folder / "desk.yaml").write_text(MANIFEST.partition("  - {id: two")[0])
    desk.run(*places)
    two = desk.folder / "renders/desk/text-to-image/two.png"
    content = two.read_bytes()
    two.unlink()

    desk.say("verify", "--ledger", "books/l.db", "--repair", "--emulator-url", desk.url)

    assert two.read_bytes() == content
    assert len(list(desk.folder.rglob("two*.png"))) == 1
    assert "everything fits" in desk.say("verify", "--ledger", "books/l.db")
    paid_once(desk, 2)


@pytest.mark.parametrize("intact", [True, False])
def test_repair_of_one_of_two_names_condemns_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, intact: bool
) -> None:
    """From the other name, where fal has the file no longer; and without one it stays a finding."""
    monkeypatch.setattr(pacing, "DOWNLOAD", pacing.Backoff(first=0.02))  # instead of a minute
    (desk.folder / "desk.yaml").write_text(MANIFEST.replace("the second", "the first"))
    desk.run()
    folder = desk.folder / "outputs/desk/text-to-image"
    (folder / "one.png").unlink()
    if not intact:
        (folder / "two.png").unlink()
    desk.world.faults.add(Fault(stage="download", what="html"))

    told = desk.say("verify", "--repair", "--emulator-url", desk.url, code=0 if intact else 1)

    assert (folder / "one.png").is_file() is intact
    assert ("still: " in told) is not intact
    desk.world.faults.clear()
    desk.run()
    assert desk.pictures() == ["one.png", "two.png"]
    assert len(desk.world.books.charges()) == 1


def test_verify_beside_a_run_finds_nothing_that_is_not_there(desk: Desk) -> None:
    desk.put(ONE + "".join(f"  - {{id: j{n}, prompt: p{n}}}\n" for n in range(80)))
    found = []
    words = ("--rate", "40/s", "--concurrency", "80", "-q", "--emulator-url", desk.url)
    with start("run", "desk.yaml", *words, cwd=desk.folder) as process:
        ledger = desk.folder / "outputs/ledger.db"
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
        invoke("run", "m.yaml", "--yes", cwd=tmp_path, env=env)
    (sidecar,) = (tmp_path / "outputs").rglob("*.png.json")
    sidecar.unlink()
    assert invoke("verify", "--repair", cwd=tmp_path, env=environment()).returncode == 0
