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
from support.cli import MANIFEST, Desk
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


def interrupted(desk: Desk, change: Callable[[Path], None], when: str) -> RunReport:
    """A run during which somebody changes the ledger's file, at the first event of a kind."""
    pending = [change]

    def look(event: RunEvent) -> None:
        if event.kind == when and pending:
            pending.pop()(desk.folder / "outputs/ledger.db")

    options = Options(concurrency=1, emulator=desk.url)
    return run(load("desk.yaml"), options, on_event=look)


@pytest.mark.parametrize("change", [delete, rename, rename_the_folder, replace])
def test_nothing_more_is_bought_once_the_ledger_is_gone(
    desk: Desk, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    desk.put(SIX)

    report = interrupted(desk, change, "submitted")

    assert report.exit_code is ExitCode.LEDGER
    assert "renamed, replaced or deleted" in report.reasons[0]
    paid_once(desk, 1)

    desk.run()
    paid_once(desk, 6)


def test_a_ledger_that_goes_after_the_last_payment_is_no_success(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    desk.put(MANIFEST.partition("  - {id: two")[0])

    report = interrupted(desk, delete, "saved")

    assert report.exit_code is ExitCode.LEDGER
    desk.run()
    paid_once(desk, 1)


def test_a_copy_of_the_ledger_alone_has_what_was_accepted(desk: Desk) -> None:
    """Killed in the middle, and only `ledger.db` was saved, without its log."""
    desk.put(SIX)
    desk.world.settings.service_times = {"image": 3600.0}
    desk.world.settings.concurrency = 1
    words = ("run", "desk.yaml", "--emulator-url", desk.url)
    process = start(*words, cwd=desk.folder)
    try:
        await_copy(desk.folder / "outputs/ledger.db", requests=6)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    copy = desk.folder / "saved"
    copy.mkdir()
    shutil.copy(desk.folder / "outputs/ledger.db", copy)
    shutil.rmtree(desk.folder / "outputs")
    copy.rename(desk.folder / "outputs")
    desk.finish()

    done = run_program(*words, cwd=desk.folder)

    assert done.returncode == 0, done.stderr
    paid_once(desk, 6)
    assert len(desk.pictures()) == 6


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


def test_two_machines_that_share_nothing_but_the_account_pay_once(desk: Desk) -> None:
    """Two runners: each has the manifest, and neither the other's folder."""
    desk.run()
    second = desk.folder / "second"
    second.mkdir()
    shutil.copy(desk.folder / "desk.yaml", second)

    done = run_program("run", "desk.yaml", "--emulator-url", desk.url, cwd=second)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("recovered: ") == 2
    paid_once(desk, 2)
