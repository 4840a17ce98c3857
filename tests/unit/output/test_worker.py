"""File work in threads: the loop goes on, and what only the loop may do is done there."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest
import trio

from kling_batch.output.worker import FileWorker, InLoop, RunThreads, Threads

Made: TypeAlias = Callable[[], AbstractContextManager[FileWorker]]


@contextmanager
def threads(most: int) -> Iterator[FileWorker]:
    yield Threads(most)


@contextmanager
def in_loop() -> Iterator[FileWorker]:
    yield InLoop()


def threaded(most: int) -> list[Made]:
    return [partial(threads, most), partial(RunThreads, most)]


def workers() -> list[Made]:
    return [*threaded(2), in_loop]


@pytest.mark.parametrize("make", threaded(1))
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_loop_goes_on_while_a_thread_works(make: Made, backend: str) -> None:
    gate = threading.Event()

    async def work() -> bool:
        with make() as worker:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.run, gate.wait, 60)
                await anyio.sleep(0.01)
                gate.set()  # only a loop that is free comes here
        return gate.is_set()

    assert anyio.run(work, backend=backend)


@pytest.mark.parametrize("make", threaded(2))
def test_so_many_work_at_a_time_and_the_others_wait(make: Made) -> None:
    begun: list[int] = []
    two, gate = threading.Barrier(2), threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number < 2:
            two.wait(60)  # a third one at once would be among the two
            gate.wait(60)

    async def main() -> list[int]:
        with make() as worker:
            async with anyio.create_task_group() as tasks:
                for number in range(4):
                    tasks.start_soon(worker.run, work, number)
                with anyio.fail_after(60):
                    while len(begun) < 2:  # noqa: ASYNC110 - threads set no event here
                        await anyio.sleep(0.001)
                await anyio.sleep(0.01)  # in which no third one begins
                before = sorted(begun)
                gate.set()
        return before

    assert anyio.run(main) == [0, 1]
    assert sorted(begun) == [0, 1, 2, 3]


def test_threads_end_with_their_run() -> None:
    async def main() -> None:
        with RunThreads(2) as worker:
            await worker.run(len, "")

    before = threading.active_count()
    anyio.run(main)
    for thread in threading.enumerate():
        if thread.name == "file worker":
            thread.join(60)

    assert threading.active_count() <= before


@pytest.mark.parametrize("make", workers())
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_only_the_loop_may_do_is_done_there(make: Made, backend: str) -> None:
    threads: list[int] = []

    def in_loop(number: int) -> int:
        threads.append(threading.get_ident())
        return number + 1

    async def work() -> int:
        with make() as worker:
            return await worker.run(lambda: worker.in_loop(in_loop, 41))

    assert anyio.run(work, backend=backend) == 42
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize("make", workers())
def test_an_error_of_the_work_is_raised_where_it_was_asked_for(make: Made, tmp_path: Path) -> None:
    async def work() -> None:
        with make() as worker:
            await worker.run(os.unlink, tmp_path / "nothing")

    with pytest.raises(FileNotFoundError):
        anyio.run(work)


@pytest.mark.parametrize("make", threaded(1))
def test_what_has_begun_ends_although_it_is_cancelled(make: Made, tmp_path: Path) -> None:
    gate = threading.Event()

    async def cancel(begun: anyio.Event, scope: anyio.CancelScope) -> None:
        await begun.wait()
        scope.cancel()
        gate.set()

    async def work() -> None:
        begun = anyio.Event()

        def slowly() -> None:
            worker.in_loop(begun.set)
            gate.wait(60)
            (tmp_path / "done").touch()

        with make() as worker:
            async with anyio.create_task_group() as tasks:
                with anyio.CancelScope() as scope:
                    tasks.start_soon(cancel, begun, scope)
                    await worker.run(slowly)

    anyio.run(work)

    assert (tmp_path / "done").exists()


def test_threads_answer_the_loop_that_asked_them_inside_another_one() -> None:
    async def inner() -> int:
        with RunThreads(1) as worker:
            return await worker.run(lambda: 5)

    async def outer() -> int:
        return trio.run(inner)

    assert asyncio.run(outer()) == 5
