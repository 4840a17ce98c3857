"""Syncs of the log apart from commits: one for all that wait, and nobody goes on before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from support.engine import SlowDisk, make_jobs
from support.ledger import handle, intend, opened

from kling_batch.core.lifecycle import Event
from kling_batch.engine.log_sync import LogSync
from kling_batch.errors import LedgerError
from kling_batch.ledger.ledger import Ledger


def on_virtual_time(work: Callable[[], Any]) -> Any:
    return trio.run(work, clock=trio.testing.MockClock(autojump_threshold=0))


def answer(ledger: Ledger, attempt: int) -> None:
    ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle(f"r-{attempt}"))


def test_many_answers_share_two_syncs(tmp_path: Path) -> None:
    disk = SlowDisk()
    ends: list[float] = []

    async def wait(log_sync: LogSync, ledger: Ledger, attempt: int, after: float) -> None:
        await anyio.sleep(after)
        answer(ledger, attempt)
        await log_sync.done()
        ends.append(anyio.current_time())

    async def work(ledger: Ledger) -> None:
        log_sync = LogSync(ledger, disk)
        attempts = [intend(ledger, job) for job in make_jobs(40)]
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for n, attempt in enumerate(attempts):
                # The first one alone; all others while its sync is under way.
                tasks.start_soon(wait, log_sync, ledger, attempt, 0.5 if n else 0)
        assert [round(end - start, 3) for end in ends] == [1.0] + [2.0] * 39

    with opened(tmp_path / "ledger.db", jobs=make_jobs(40)) as ledger:
        on_virtual_time(lambda: work(ledger))
        assert ledger.log.synced == ledger.log.committed
    assert disk.calls == 2


def test_nothing_to_sync_is_no_wait(tmp_path: Path) -> None:
    disk = SlowDisk()

    async def work(ledger: Ledger) -> None:
        await LogSync(ledger, disk).done()

    with opened(tmp_path / "ledger.db") as ledger:
        on_virtual_time(lambda: work(ledger))
    assert disk.calls == 0


def test_a_disk_that_cannot_keep_it_stops_everybody_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []

    async def wait(log_sync: LogSync) -> None:
        try:
            await log_sync.done()
        except LedgerError as error:
            failures.append(str(error))

    async def work(ledger: Ledger) -> None:
        log_sync = LogSync(ledger, SlowDisk())
        answer(ledger, intend(ledger, make_jobs(1)[0]))
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait, log_sync)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("kling_batch.ledger.durability._sync", broken)
    with opened(tmp_path / "ledger.db") as ledger:
        on_virtual_time(lambda: work(ledger))

    assert len(failures) == 3
    assert all("Input/output error" in told for told in failures)
