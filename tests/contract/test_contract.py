"""One contract, three subjects: the emulator in one process, on a port, and, opt-in, fal itself.

LIVE_FAL_KEY=… pytest -m live tests/contract/test_contract.py        pays for one image, $0.028
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.wires import in_process

from kling_batch.core.outcomes import (
    Accepted,
    CancelAnswer,
    Fetched,
    Finished,
    Handle,
    ListForbidden,
    Listing,
    Rendered,
    Unread,
)
from kling_batch.core.quantities import format_time
from kling_batch.emulator import Settings, World
from kling_batch.emulator.inprocess import InProcessTransport
from kling_batch.emulator.server import running
from kling_batch.engine.context import Queue
from kling_batch.fal.client import FalQueue
from kling_batch.fal.transport import connections
from kling_batch.output.download import Downloader

ENDPOINT = "fal-ai/kling-image/o3/text-to-image"
PAYLOAD = {"prompt": "A grey pebble on white", "aspect_ratio": "1:1", "resolution": "1K"}
LIVE_KEY = os.environ.get("LIVE_FAL_KEY", "")


class Subject:
    """Something that speaks fal's protocol, and the key it takes."""

    def __init__(self, key: str, **how: Any) -> None:
        self._key, self._how = key, how

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Queue, Downloader]]:
        async with connections(f"Key {self._key}", **self._how) as (api, files):
            yield FalQueue(api), Downloader(files)


@pytest.fixture(
    params=["in process", "on a port", pytest.param("fal", marks=pytest.mark.live)],
)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    world = World(Settings(profile="instant", concurrency=4))
    if request.param == "fal":
        if not LIVE_KEY:
            pytest.skip("LIVE_FAL_KEY is not set")
        yield Subject(LIVE_KEY)
    elif request.param == "on a port":
        with running(world) as url:
            yield Subject("any", gateway=url)
    else:
        yield Subject("any", wire=in_process(InProcessTransport(world)))


async def finish(queue: Queue, handle: Handle) -> Finished:
    with anyio.fail_after(300):
        while True:
            outcome = await queue.status(handle)
            if isinstance(outcome, Finished):
                return outcome
            await anyio.sleep(0.2)
    raise AssertionError("fail_after raises")


def test_a_paid_image_from_submission_to_verified_file(subject: Subject, tmp_path: Path) -> None:
    async def whole() -> None:
        since = format_time(datetime.now(UTC) - timedelta(minutes=5))
        async with subject.open() as (queue, downloader):
            accepted = await queue.submit(ENDPOINT, PAYLOAD)
            assert isinstance(accepted, Accepted)
            handle = accepted.handle
            assert handle == queue.handle(ENDPOINT, handle.request_id)

            finished = await finish(queue, handle)
            assert not finished.error
            rendered = await queue.result(handle, finished, media=True)
            assert isinstance(rendered, Rendered)
            (file,) = rendered.files

            fetched = await downloader.fetch(file, tmp_path / "image.part")
            assert isinstance(fetched, Fetched)
            assert fetched.ext == ".png"
            assert fetched.size == (tmp_path / "image.part").stat().st_size

            assert await queue.cancel(handle) is CancelAnswer.ALREADY_COMPLETED
            listed = await queue.listing(ENDPOINT, since=since)
            assert isinstance(listed, Listing | ListForbidden)
            if isinstance(listed, Listing):
                (mine,) = [i for i in listed.items if i.request_id == handle.request_id]
                assert mine.payload["prompt"] == PAYLOAD["prompt"]

    anyio.run(whole)


def test_an_unknown_request_is_not_found_and_no_verdict(subject: Subject) -> None:
    async def whole() -> None:
        async with subject.open() as (queue, _):
            handle = queue.handle(ENDPOINT, "019e0000-0000-7000-8000-000000000000")
            status = await queue.status(handle)
            assert isinstance(status, Unread)
            assert status.not_found
            assert await queue.cancel(handle) is CancelAnswer.NOT_FOUND

    anyio.run(whole)


def test_prices_have_an_amount_and_a_unit(subject: Subject) -> None:
    async def whole() -> None:
        async with subject.open() as (queue, _):
            assert isinstance(queue, FalQueue)
            prices = await queue.prices([ENDPOINT])
            assert not isinstance(prices, Unread)
            amount, unit = prices[ENDPOINT]
            assert amount > 0
            assert unit

    anyio.run(whole)
