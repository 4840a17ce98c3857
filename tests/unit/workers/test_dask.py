"""Workers of a Dask scheduler in this process: turns, limits, and what becomes of lost tasks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from kling_batch import __version__
from kling_batch.core.outcomes import RemoteFile
from kling_batch.errors import UsageError
from kling_batch.workers import dask, tasks
from kling_batch.workers.cluster import Done, LostTask
from kling_batch.workers.dask import DaskCluster
from kling_batch.workers.tasks import FetchOrder

ORDER = FetchOrder(
    version=__version__,
    file=RemoteFile(url="https://v3b.fal.media/files/out.mp4?sig=secret"),
    temporary="/nowhere/.0123456789ab-0.part",
    gateway=None,
    seconds=20,
)


def on_cluster(test: Callable[[DaskCluster], Awaitable[None]]) -> list[str]:
    """Run a test on a cluster in this process; what was told."""
    told: list[str] = []

    async def main() -> None:
        async with dask.connected("local", told.append) as cluster:
            assert cluster is not None
            await test(cluster)

    anyio.run(main)
    return told


async def fetch(cluster: DaskCluster, order: FetchOrder = ORDER) -> Done:
    return await cluster.fetch(order, host="v3b.fal.media", avoid=frozenset())


def test_an_answer_comes_with_its_worker() -> None:
    async def test(cluster: DaskCluster) -> None:
        assert cluster.places == dask.LOCAL_THREADS
        done = await fetch(cluster)
        assert done.answer == {"absent": "/nowhere"}
        with pytest.raises(LostTask, match="has no worker that can take files"):
            await cluster.fetch(ORDER, host="x", avoid=frozenset({done.worker}))

    assert on_cluster(test) == []


def test_downloads_from_one_host_are_limited_over_all_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dask, "DOWNLOADS_PER_HOST", 2)
    running: list[int] = [0]
    most: list[int] = []

    def slow(order: FetchOrder, **_: Any) -> tasks.Answer:
        running[0] += 1
        most.append(running[0])
        time.sleep(0.05)
        running[0] -= 1
        return {"gone": "told"}

    monkeypatch.setattr(tasks, "fetch", slow)

    async def test(cluster: DaskCluster) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(fetch, cluster)

    on_cluster(test)

    assert len(most) == 6
    assert max(most) == 2


def slow_fetches(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[bool]:
    """Fetches that take so long unless they are stopped; gets an entry for each that was."""
    stopped: list[bool] = []

    def slow(order: FetchOrder, *, stop: tasks.Stop, **_: Any) -> tasks.Answer:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.02)
            if stop():
                stopped.append(True)
                break
        return {"gone": "told"}

    monkeypatch.setattr(tasks, "fetch", slow)
    return stopped


def test_a_slow_worker_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "GRACE_SECONDS", 0.0)
    stopped = slow_fetches(monkeypatch, 2)
    order = FetchOrder(
        version=__version__, file=ORDER.file, temporary=None, gateway=None, seconds=0.1
    )

    async def test(cluster: DaskCluster) -> None:
        with pytest.raises(LostTask, match="a worker did not answer in 0 s"):
            await fetch(cluster, order)
        with anyio.fail_after(1):
            while not stopped:  # noqa: ASYNC110 - a thread is waited for
                await anyio.sleep(0.01)

    on_cluster(test)

    assert stopped == [True]


def test_a_cancelled_fetch_ends_at_once_and_its_worker_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped = slow_fetches(monkeypatch, 4)
    began = time.monotonic()

    async def test(cluster: DaskCluster) -> None:
        with anyio.move_on_after(0.1) as scope:
            await fetch(cluster)
        assert scope.cancelled_caught

    on_cluster(test)

    assert stopped == [True]
    assert time.monotonic() - began < 2


def test_a_task_that_cannot_run_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(*_: Any, **__: Any) -> tasks.Answer:
        raise AttributeError("no such function")

    monkeypatch.setattr(tasks, "fetch", old)

    async def test(cluster: DaskCluster) -> None:
        with pytest.raises(LostTask) as raised:
            await fetch(cluster)
        assert "cannot run kling-batch (AttributeError); install" in raised.value.reason
        assert not raised.value.gone

    on_cluster(test)


def test_a_scheduler_that_does_not_answer_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "CONNECT_SECONDS", 0.2)
    told: list[str] = []

    async def main() -> None:
        async with dask.connected("tcp://127.0.0.1:1", told.append) as cluster:
            assert cluster is None

    anyio.run(main)

    (sentence,) = told
    assert "the scheduler tcp://127.0.0.1:1 cannot be reached" in sentence
    assert "fetched on this machine" in sentence


def test_a_connection_that_is_closed_is_a_scheduler_that_is_gone() -> None:
    async def test(cluster: DaskCluster) -> None:
        await cluster._client.close()
        with pytest.raises(LostTask) as raised:
            await fetch(cluster)
        assert raised.value.gone
        with pytest.raises(LostTask, match="is gone"):
            await fetch(cluster)

    on_cluster(test)


def test_other_versions_of_dask_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"warning": "distributed 1 and 2", "error": None}
    monkeypatch.setattr("distributed.versions.error_message", lambda *_, **__: said)

    async def test(cluster: DaskCluster) -> None:
        assert cluster.places == dask.LOCAL_THREADS

    (sentence,) = on_cluster(test)

    assert sentence.startswith("versions differ between this machine and those of local; install")


def test_a_worker_that_leaves_is_reported_and_its_tasks_are_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "fetch", lambda *_, **__: time.sleep(0.5) or {"gone": "told"})

    async def test(cluster: DaskCluster) -> None:
        async def leave() -> None:
            await anyio.sleep(0.05)
            cluster._seen({})

        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            began = time.monotonic()
            with pytest.raises(LostTask, match="has lost the workers of a task"):
                await fetch(cluster)
            assert time.monotonic() - began < 0.4
        assert cluster.places == 0

    (sentence,) = on_cluster(test)

    assert "has left; what it had begun is done again" in sentence


def test_without_the_extra_the_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Any:
        raise ImportError("No module named 'distributed'")

    monkeypatch.setattr(dask, "_distributed", absent)

    with pytest.raises(UsageError, match=r"pip install 'kling-batch\[dask\]'"):
        dask.require()


def test_what_dask_logs_does_not_go_through_the_display() -> None:
    """A scheduler that goes leaves tracebacks of leases that cannot be renewed."""
    code = (
        "import logging; from kling_batch.workers import dask; dask.require()\n"
        "for name in ('distributed', 'distributed.core', 'tornado', 'tornado.application'):\n"
        "    logging.getLogger(name).critical('lost')\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert (done.stdout, done.stderr) == (b"", b"")


def test_nothing_is_left_of_a_scheduler_in_this_process(tmp_path: Path) -> None:
    async def test(cluster: DaskCluster) -> None:
        await fetch(cluster)

    on_cluster(test)
    on_cluster(test)
