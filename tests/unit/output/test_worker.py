"""File work in threads: the loop goes on, and what only the loop may do is done there."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path

import anyio
import pytest

from kling_batch.output.worker import FileWorker, InLoop, Threads


def workers() -> list[partial[FileWorker]]:
    return [partial(Threads, 2), partial(InLoop)]


def test_the_loop_goes_on_while_a_thread_works() -> None:
    gate = threading.Event()

    async def work() -> bool:
        worker = Threads(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run, gate.wait, 60)
            await anyio.sleep(0.01)
            gate.set()  # only a loop that is free comes here
        return gate.is_set()

    assert anyio.run(work)


@pytest.mark.parametrize("make", workers())
def test_what_only_the_loop_may_do_is_done_there(make: partial[FileWorker]) -> None:
    threads: list[int] = []

    def in_loop(number: int) -> int:
        threads.append(threading.get_ident())
        return number + 1

    async def work() -> int:
        worker = make()
        return await worker.run(lambda: worker.in_loop(in_loop, 41))

    assert anyio.run(work) == 42
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize("make", workers())
def test_an_error_of_the_work_is_raised_where_it_was_asked_for(
    make: partial[FileWorker], tmp_path: Path
) -> None:
    async def work() -> None:
        await make().run(os.unlink, tmp_path / "nothing")

    with pytest.raises(FileNotFoundError):
        anyio.run(work)


def test_what_has_begun_ends_although_it_is_cancelled(tmp_path: Path) -> None:
    gate = threading.Event()

    async def cancel(begun: anyio.Event, scope: anyio.CancelScope) -> None:
        await begun.wait()
        scope.cancel()
        gate.set()

    async def work() -> None:
        worker, begun = Threads(1), anyio.Event()

        def slowly() -> None:
            worker.in_loop(begun.set)
            gate.wait(60)
            (tmp_path / "done").touch()

        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                tasks.start_soon(cancel, begun, scope)
                await worker.run(slowly)

    anyio.run(work)

    assert (tmp_path / "done").exists()
