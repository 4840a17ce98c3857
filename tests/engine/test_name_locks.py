"""One name at a time: two renders for one name are both kept, however long the disk takes."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import anyio
import trio
import trio.testing
from support.books import paid_once
from support.engine import Rig, SlowDisk, account, make_jobs

from kling_batch.core.lifecycle import State
from kling_batch.engine.name_locks import NameLocks
from kling_batch.operations.verify import verify_ledger


def test_two_renders_of_one_name_are_both_in_the_ledger(tmp_path: Path) -> None:
    """The second one waits until the first is recorded, and keeps it beside."""
    rig = Rig(tmp_path, account(), worker=SlowDisk())
    jobs = [job._replace(path="test/clip{output}{ext}") for job in make_jobs(3)]

    rig.run(jobs)

    paid_once(rig, 3)
    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    with rig.ledger() as ledger:
        files = [file for known in ledger.files().values() for file in known]
        assert verify_ledger(ledger, rig.store()).findings == ()
    found = {sha256((tmp_path / file.path).read_bytes()).hexdigest() for file in files}
    assert len(found) == len({file.attempt_id for file in files}) == 3


def test_names_are_held_one_after_the_other_and_forgotten(tmp_path: Path) -> None:
    locks = NameLocks()
    log: list[str] = []
    one, two = tmp_path / "one", tmp_path / "two"

    async def hold(word: str, *names: Path) -> None:
        async with locks.held(*names):
            log.append(f"{word} begins")
            await anyio.sleep(1)
            log.append(f"{word} ends")

    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold, "a", one, two)
            await anyio.sleep(0.1)
            tasks.start_soon(hold, "b", two, one)
            tasks.start_soon(hold, "c", tmp_path / "three")

    trio.run(work, clock=trio.testing.MockClock(autojump_threshold=0))

    assert log == ["a begins", "c begins", "a ends", "b begins", "c ends", "b ends"]
    assert locks._lines == {}


def test_who_is_cancelled_while_it_waits_leaves_the_line(tmp_path: Path) -> None:
    locks = NameLocks()
    log: list[str] = []
    one, two = tmp_path / "one", tmp_path / "two"

    async def hold(word: str, seconds: float, *names: Path) -> None:
        with anyio.move_on_after(seconds):
            async with locks.held(*names):
                log.append(word)
                await anyio.sleep(1)

    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold, "a", 2, two)
            await anyio.sleep(0.1)
            tasks.start_soon(hold, "b", 0.2, one, two)
            await anyio.sleep(0.1)
            tasks.start_soon(hold, "c", 2, two)
            tasks.start_soon(hold, "d", 2, one)

    trio.run(work, clock=trio.testing.MockClock(autojump_threshold=0))

    assert log == ["a", "d", "c"]
    assert locks._lines == {}
