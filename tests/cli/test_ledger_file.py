"""The ledger's file under a running program: moved, replaced or deleted; and copied alone."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.books import paid_once
from support.cli import MANIFEST, Workspace
from support.process import run as run_program
from support.process import start

from kling_batch import ExitCode, Options, RunReport, load, run
from kling_batch.core.events import RunEvent

SIX = MANIFEST + "".join(f"  - {{id: j{n}, prompt: number {n}}}\n" for n in range(4))


def delete(ledger: Path) -> None:
    for path in ledger.parent.glob("ledger.db*"):
        path.unlink()


def rename(ledger: Path) -> None:
    ledger.rename(ledger.with_name("moved.db"))


def rename_the_folder(ledger: Path) -> None:
    ledger.parent.rename(ledger.parent.with_name("moved"))


def replace(ledger: Path) -> None:
    copy = ledger.with_name("copy.db")
    shutil.copy(ledger, copy)
    copy.replace(ledger)


def interrupted(workspace: Workspace, change: Callable[[Path], None], when: str) -> RunReport:
    """A run during which somebody changes the ledger's file, at the first event of a kind."""
    pending = [change]

    def look(event: RunEvent) -> None:
        if event.kind == when and pending:
            pending.pop()(workspace.folder / "outputs/ledger.db")

    options = Options(concurrency=1, emulator=workspace.url)
    return run(load("workspace.yaml"), options, on_event=look)


@pytest.mark.parametrize("change", [delete, rename, rename_the_folder, replace])
def test_nothing_more_is_bought_once_the_ledger_is_gone(
    workspace: Workspace, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.folder)
    workspace.put(SIX)

    report = interrupted(workspace, change, "submitted")

    assert report.exit_code is ExitCode.LEDGER
    assert "renamed, replaced or deleted" in report.reasons[0]
    paid_once(workspace, 1)

    workspace.run()
    paid_once(workspace, 6)


def test_a_ledger_that_goes_after_the_last_payment_is_no_success(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.folder)
    workspace.put(MANIFEST.partition("  - {id: two")[0])

    report = interrupted(workspace, delete, "saved")

    assert report.exit_code is ExitCode.LEDGER
    workspace.run()
    paid_once(workspace, 1)


def test_a_copy_of_the_ledger_alone_has_what_was_accepted(workspace: Workspace) -> None:
    """Killed in the middle, and only `ledger.db` was saved, without its log."""
    workspace.put(SIX)
    workspace.world.settings.service_times = {"image": 3600.0}
    workspace.world.settings.concurrency = 1
    words = ("run", "workspace.yaml", "--emulator-url", workspace.url)
    process = start(*words, cwd=workspace.folder)
    try:
        await_copy(workspace.folder / "outputs/ledger.db", requests=6)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    copy = workspace.folder / "saved"
    copy.mkdir()
    shutil.copy(workspace.folder / "outputs/ledger.db", copy)
    shutil.rmtree(workspace.folder / "outputs")
    copy.rename(workspace.folder / "outputs")
    workspace.finish()

    done = run_program(*words, cwd=workspace.folder)

    assert done.returncode == 0, done.stderr
    paid_once(workspace, 6)
    assert len(workspace.pictures()) == 6


def await_copy(ledger: Path, *, requests: int) -> None:
    """Wait until a copy of the file without its log has so many requests."""
    copy = ledger.parent.parent / "copy.db"
    for _ in range(1200):
        if ledger.exists():
            shutil.copy(ledger, copy)
            if accepted(copy) == requests:
                return
        time.sleep(0.05)
    raise AssertionError(f"the file alone has {accepted(copy)} requests")


def accepted(ledger: Path) -> int:
    sql = "select count(*) from attempts where request_id is not null"
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
        try:
            return int(db.execute(sql).fetchone()[0])
        except sqlite3.Error:
            return 0


def test_two_machines_that_share_nothing_but_the_account_pay_once(workspace: Workspace) -> None:
    """Two runners: each has the manifest, and neither the other's folder."""
    workspace.run()
    second = workspace.folder / "second"
    second.mkdir()
    shutil.copy(workspace.folder / "workspace.yaml", second)

    done = run_program("run", "workspace.yaml", "--emulator-url", workspace.url, cwd=second)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("recovered: ") == 2
    paid_once(workspace, 2)
