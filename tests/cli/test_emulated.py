"""A trial on the emulator stays apart from the real run, and is never reported as paid."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch

import pytest
from support.books import books
from support.cli import MANIFEST, Workspace, run_command
from support.process import environment, tls_stand_in

from kling_batch.operations import emulator_check
from kling_batch.operations.emulator_check import why_no_emulator


def test_the_real_run_follows_the_trial_in_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    trial = run_command("run", "m.yaml", "--emulator", cwd=tmp_path)
    assert trial.returncode == 0, trial.stderr
    assert len(list((tmp_path / "outputs-emulator").rglob("*.png"))) == 2
    assert not (tmp_path / "outputs").exists()

    with tls_stand_in(tmp_path, "--profile", "instant") as env:
        real = run_command("run", "m.yaml", "--max-cost", "1", cwd=tmp_path, env=env)
        paid = books(env)

    assert real.returncode == 0, real.stderr
    assert sum(paid["charges"].values()) == 2
    assert len(list((tmp_path / "outputs").rglob("*.png"))) == 2
    again = run_command("run", "m.yaml", "--emulator", cwd=tmp_path)
    assert "nothing to do" in again.stderr


def test_one_manifest_with_an_output_of_its_own_is_tried_apart(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST + "output: renders\n")

    run_command("run", "m.yaml", "--emulator", cwd=tmp_path)

    assert (tmp_path / "outputs-emulator/ledger.db").exists()
    assert not (tmp_path / "renders").exists()


def test_an_output_that_is_given_is_used(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)

    run_command("run", "m.yaml", "--emulator", "-o", "here", cwd=tmp_path)

    assert (tmp_path / "here/ledger.db").exists()
    assert not (tmp_path / "outputs-emulator").exists()


def test_after_a_trial_alone_every_command_finds_its_ledger(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    run_command("run", "m.yaml", "--emulator", cwd=tmp_path)

    for words in (
        ["status"],
        ["status", "m.yaml"],
        ["list"],
        ["show", "one"],
        ["why", "one"],
        ["report"],
        ["verify"],
        ["gallery"],
    ):
        done = run_command(*words, cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr)


def test_no_face_calls_emulated_money_charged(workspace: Workspace) -> None:
    workspace.invoke("run", "workspace.yaml", "--emulator-url", workspace.url, "--summary", "s.md")
    told = {
        words: workspace.invoke(*words.split())
        for words in ("status", "report", "list", "show one", "why one")
    }
    told["run"] = workspace.run()
    told["gallery"] = (
        workspace.invoke("gallery") and (workspace.folder / "outputs/gallery.html").read_text()
    )
    told["summary"] = (workspace.folder / "s.md").read_text()

    assert {name for name, text in told.items() if "charged" in text} == set()
    for name in ("status", "report", "list", "show one", "gallery"):
        assert "would have cost" in told[name], name
    assert "would have cost $0.06 on fal" in told["status"]
    assert "would have cost USD 0.06 on fal" in told["summary"]
    assert workspace.charges() == [1, 1]


def test_machines_are_reported_that_it_is_emulated(workspace: Workspace) -> None:
    workspace.run()

    for words in ("status --json", "report --json", "show one --json"):
        assert json.loads(workspace.invoke(*words.split()))["emulated"] is True, words
    rows = [json.loads(line) for line in workspace.invoke("list", "--json").splitlines()]
    assert [row["emulated"] for row in rows] == [True, True]


def test_a_real_plan_learns_no_time_from_the_emulator(workspace: Workspace) -> None:
    workspace.run()
    workspace.put(MANIFEST + "  - {id: three, prompt: the third}\n")

    assert "from fal's model pages" in workspace.invoke("plan", "workspace.yaml")
    assert "from earlier renders" in workspace.invoke(
        "plan", "workspace.yaml", "--emulator-url", workspace.url
    )


def test_amounts_have_two_decimals_and_say_where_they_are_rounded(workspace: Workspace) -> None:
    told = workspace.invoke("plan", "workspace.yaml")

    assert "$0.03  one" in told
    assert "up to $0.06" in told
    assert "each amount is rounded up to the cent" in told
    assert json.loads(workspace.invoke("plan", "workspace.yaml", "--json"))["cost_usd"] == 0.056
    workspace.videos("id: a, prompt: x, duration: 5")
    assert "rounded" not in workspace.invoke("plan", "trial.yaml")


def test_the_output_folder_is_one_option_everywhere_and_a_plan_is_saved(
    workspace: Workspace,
) -> None:
    workspace.plan("-o", "renders", "--save", "plan.json")
    done = workspace.run("-o", "renders", "--plan", "plan.json")

    assert "2 of 2 jobs done" in done
    assert len(list((workspace.folder / "renders").rglob("*.png"))) == 2
    assert workspace.charges() == [1, 1]
    workspace.invoke("plan", "workspace.yaml", "--out", "old.json")
    assert (workspace.folder / "old.json").exists()
    assert "--out " not in workspace.invoke("plan", "--help")


def test_a_plan_that_was_saved_of_a_trial_is_for_no_real_run(workspace: Workspace) -> None:
    workspace.invoke("plan", "workspace.yaml", "--emulator", "--save", "plan.json")

    told = workspace.invoke("run", "workspace.yaml", "--yes", "--plan", "plan.json", code=8)

    assert "plan.json: this plan was made on the emulator; nothing was sent" in told
    assert not list(workspace.folder.rglob("ledger.db"))


def test_a_plan_of_a_real_run_may_be_tried_first(workspace: Workspace) -> None:
    workspace.invoke("plan", "workspace.yaml", "--save", "plan.json")

    assert "2 of 2 jobs done" in workspace.run("--plan", "plan.json")


# -- which emulator ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:8765",
        "localhost:8765",
        "foo",
        "http:/x",
        "ftp://a",
        "http://a:99999",
        "http://a b",
    ],
)
def test_an_address_that_is_none_fails_no_job(tmp_path: Path, address: str) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)

    done = run_command("run", "m.yaml", "--emulator-url", address, cwd=tmp_path)

    assert done.returncode == 2
    assert f"`{address}` is not the address of an emulator" in done.stderr
    assert not (tmp_path / "outputs").exists()


@contextmanager
def web_server(body: bytes) -> Iterator[tuple[str, list[str]]]:
    """Some server that answers everything with 200; its address, and what it was sent."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            self.rfile.read(int(self.headers.get("content-length") or 0))
            asked.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("body", [b"<h1>It works!</h1>", b"[]", b"[" * 90_000])
@pytest.mark.parametrize("words", [("run", "m.yaml"), ("generate", "-p", "x", "-q")])
def test_what_is_no_emulator_is_sent_nothing(
    tmp_path: Path, body: bytes, words: tuple[str, ...]
) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)

    with web_server(body) as (url, asked):
        done = run_command(*words, "--emulator-url", url, cwd=tmp_path)

    assert done.returncode == 2
    assert f"{url}: this is no emulator (it answers with something else)" in done.stderr
    assert "start one with `kling-batch emulator`" in done.stderr
    assert asked == ["GET /_emulator/"]
    assert not (tmp_path / "outputs/ledger.db").exists()


def test_where_nothing_listens_nothing_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)

    done = run_command("run", "m.yaml", "--emulator-url", "http://u:pw@127.0.0.1:1", cwd=tmp_path)

    assert done.returncode == 2
    assert "http://127.0.0.1:1: this is no emulator (" in done.stderr
    assert not (tmp_path / "outputs/ledger.db").exists()


def test_an_emulator_is_asked_once_and_by_no_idle_run(workspace: Workspace) -> None:
    with patch.object(emulator_check, "why_no_emulator", wraps=why_no_emulator) as check:
        workspace.run()
        assert check.call_count == 1
        workspace.run()
        assert check.call_count == 1
        run_command("run", workspace.file, "--emulator", cwd=workspace.folder)

    assert check.call_count == 1


def test_an_address_from_the_environment_gives_way_to_what_is_typed(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    elsewhere = environment(KLING_BATCH_EMULATOR_URL="http://127.0.0.1:1")

    done = run_command("run", "m.yaml", "--emulator", cwd=tmp_path, env=elsewhere)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs-emulator/ledger.db").exists()
    assert not (tmp_path / "outputs").exists()
    for words in (["--emulator", "--emulator-url"], ["--emulator-url"]):
        both = [*words, "http://127.0.0.1:1", *(["--emulator"] if len(words) == 1 else [])]
        assert run_command("run", "m.yaml", *both, cwd=tmp_path).returncode == 2
