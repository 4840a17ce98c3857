"""Files that options name to be written: none replaces the ledger, an input or a paid file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.books import paid_once
from support.cli import Workspace, run_command
from support.process import environment

RENDERS = "outputs/workspace/text-to-image"
TABLE = "version: 1\ndefaults: {mode: text-to-image}\njobs: [{from: rows.csv}]\n"


def whole(ledger: Path) -> bool:
    with closing(sqlite3.connect(ledger)) as db:
        return bool(db.execute("pragma integrity_check").fetchone() == ("ok",))


def refused(workspace: Workspace, words: tuple[str, ...], why: str) -> None:
    """The command names the file and what it is, sends nothing and changes no file."""
    before = {p: p.read_bytes() for p in workspace.folder.rglob("*") if p.is_file()}
    posts = len(workspace.world.books.posts)
    told = workspace.invoke(*words, code=2)

    assert why in told
    assert "would be overwritten; nothing was sent or written" in told
    assert len(workspace.world.books.posts) == posts
    after = {p: p.read_bytes() for p in workspace.folder.rglob("*") if p.is_file()}
    changed = {path.name for path in before.keys() ^ after.keys()}
    assert changed <= {"ledger.db-shm", "ledger.db-wal"}  # of whoever has read the ledger
    assert all(after[path] == data for path, data in before.items() if path in after)


@pytest.mark.parametrize("option", ["--junit", "--summary", "--log-file"])
def test_a_run_does_not_write_over_what_it_needs(workspace: Workspace, option: str) -> None:
    workspace.run("--limit", "1", "--only", "one")
    ledger = workspace.folder / "outputs/ledger.db"
    (workspace.folder / "link.png").symlink_to(workspace.folder / RENDERS / "one.png")
    (workspace.folder / "copy").write_bytes(ledger.read_bytes())

    for file, why in (
        ("outputs/ledger.db", "is the ledger"),
        ("outputs/../outputs/ledger.db.lock", "is the ledger, or a part of it"),
        ("workspace.yaml", "is read by this command"),
        (f"{RENDERS}/one.png", "is a file that was paid for"),
        (f"{RENDERS}/one.png.json", "is the record of one.png, which was paid for"),
        ("link.png", "is a file that was paid for"),
        ("copy", "is a database, perhaps the ledger.db of another run"),
    ):
        words = ("run", workspace.file, "--emulator-url", workspace.url, option, file)
        refused(workspace, words, f"{option} ")
        refused(workspace, words, why)

    assert whole(ledger)
    workspace.run("--junit", "fine.xml")
    paid_once(workspace, 2)


def test_the_first_run_does_not_write_over_its_ledger_or_table(workspace: Workspace) -> None:
    workspace.put(TABLE)
    (workspace.folder / "rows.csv").write_text("id,prompt\none,the first\n")

    words = ("run", workspace.file, "--emulator-url", workspace.url, "--junit")
    refused(workspace, (*words, "outputs/ledger.db"), "is the ledger")
    refused(workspace, (*words, "rows.csv"), "is read by this command")
    refused(workspace, ("plan", workspace.file, "--save", "rows.csv"), "is read by this command")
    assert workspace.charges() == []


def test_a_saved_plan_and_an_input_stay_too(workspace: Workspace) -> None:
    words = (workspace.file, "--emulator-url", workspace.url)
    workspace.invoke("plan", *words, "--save", "plan.json")
    refused(
        workspace,
        ("run", *words, "--plan", "plan.json", "--summary", "plan.json"),
        "is read by this command",
    )
    told = workspace.run("--junit", "x", "--summary", "./x", code=2)
    assert "--junit and --summary are the same file, x" in told
    workspace.run("--junit", "/dev/null", "--summary", "/dev/null")
    paid_once(workspace, 2)

    workspace.put(
        "version: 1\njobs:\n  - {id: clip, mode: image-to-video, prompt: x,"
        f" image_url: {RENDERS}/one.png}}\n"
    )
    words = ("plan", workspace.file, "--ledger", "other.db", "--save", f"{RENDERS}/one.png")
    refused(workspace, words, "is read by this command")


def test_plan_and_export_do_not_write_over_a_ledger_or_a_paid_file(workspace: Workspace) -> None:
    workspace.run()
    workspace.invoke("verdict", "one", "pick")
    ledger, picture = "outputs/ledger.db", f"{RENDERS}/one.png"

    for command in (
        ("plan", workspace.file, "--save"),
        ("export", "--picked", "cut", "--csv"),
        ("generate", "-p", "x", "--emulator-url", workspace.url, "--log-file"),
    ):
        refused(workspace, (*command, ledger), "is the ledger")
        refused(workspace, (*command, picture), "is a file that was paid for")
    assert not (workspace.folder / "cut").exists()
    refused(workspace, ("export", "--picked", RENDERS, "--csv", picture), "was paid for")
    told = workspace.invoke("export", "--picked", "cut", "--csv", "cut/one.png", code=2)
    assert "where this command puts one; nothing was written" in told
    assert not (workspace.folder / "cut").exists()


def test_a_file_that_the_run_itself_saves_is_not_replaced_after_it(workspace: Workspace) -> None:
    told = workspace.run("--junit", f"{RENDERS}/one.png")

    assert f"warning: {RENDERS}/one.png is a file that was paid for" in told
    assert (workspace.folder / RENDERS / "one.png").read_bytes().startswith(b"\x89PNG")
    paid_once(workspace, 2)


def test_an_emulator_of_the_built_in_kind_keeps_its_ledger_too(workspace: Workspace) -> None:
    done = run_command(
        *("run", workspace.file, "--emulator", "--junit", "outputs-emulator/ledger.db"),
        cwd=workspace.folder,
    )

    assert done.returncode == 2
    assert "is the ledger" in done.stderr


def test_an_emulator_does_not_keep_its_books_in_a_ledger(workspace: Workspace) -> None:
    workspace.run()
    told = workspace.invoke("emulator", "--state", "outputs/ledger.db", code=2)

    assert "--state outputs/ledger.db: is a ledger; name another file" in told
    with closing(sqlite3.connect(workspace.folder / "outputs/ledger.db")) as db:
        tables = {name for (name,) in db.execute("select name from sqlite_master")}
    assert not tables & {"requests", "notes", "facts"}


def test_a_file_that_the_environment_names_is_told_by_its_variable(workspace: Workspace) -> None:
    done = run_command(
        *("run", workspace.file, "--emulator-url", workspace.url),
        cwd=workspace.folder,
        env=environment(KLING_BATCH_LOG_FILE=workspace.file),
    )

    assert done.returncode == 2
    named = f"--log-file (from KLING_BATCH_LOG_FILE) {workspace.file}: is read by this command"
    assert named in done.stderr
    assert workspace.charges() == []
