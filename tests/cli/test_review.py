"""`review` serves the page on loopback until it is interrupted, and says so where it cannot."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx
import pytest
from support.browser import reviewing
from support.cli import Workspace, run_command

from kling_batch.review.server import open_browser


def test_a_review_prints_its_address_and_ends_cleanly(workspace: Workspace) -> None:
    workspace.run()

    with reviewing(workspace.folder) as address:
        page = httpx.get(address)
        refused = httpx.get(address + "x")

    assert page.status_code == 200
    assert "the first" in page.text
    assert refused.status_code == 403


def test_without_a_ledger_there_is_nothing_to_review(tmp_path: Path) -> None:
    done = run_command("review", "--no-browser", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (7, "")
    assert "there is no ledger here yet" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_ledger_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database" * 100)

    done = run_command("review", "--no-browser", "--ledger", "ledger.db", cwd=tmp_path)
    assert done.returncode == 7
    assert "ledger.db: " in done.stderr


def test_a_port_in_use_is_a_message(workspace: Workspace) -> None:
    workspace.run()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        told = workspace.invoke("review", "--no-browser", "--port", port, code=2)
    assert f"cannot listen on 127.0.0.1:{port}" in told
    assert "leave --port out" in told


def test_no_browser_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    assert not open_browser("http://127.0.0.1:1/")


def test_tags_are_those_of_the_last_run_or_of_a_given_manifest(workspace: Workspace) -> None:
    workspace.put(
        desk_manifest := (workspace.folder / "workspace.yaml")
        .read_text()
        .replace("prompt: the first", "prompt: the first, tags: [hero]")
    )
    assert "hero" in desk_manifest
    workspace.run()

    def tags(*words: str) -> list[str]:
        workspace.invoke("gallery", *words)
        page = (workspace.folder / "outputs/gallery.html").read_text()
        return re.findall(r'"tags":(\[.*?\])', page)

    assert tags() == ['["hero"]']
    workspace.put(desk_manifest.replace("tags: [hero]", "tags: [web]"))
    assert tags("workspace.yaml") == ['["web"]']
    assert tags() == ['["hero"]']
