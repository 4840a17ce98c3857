"""Processor time of one look at a request, by HTTP client; each client in a process of its own.

    python -m benchmarks.clients CLIENT CONNECTIONS REQUESTS

Reaches the stand-in by HTTPS_PROXY and SSL_CERT_FILE, and prints milliseconds a request. The first
request of each connection, with its handshake, is not counted.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

ENDPOINT = "fal-ai/kling-video/o3/standard/text-to-video"

#: Makes one request.
Look = Callable[[], Awaitable[object]]


def submitted() -> tuple[str, str]:
    """Id and status URL of a request to look at."""
    headers = {"Authorization": f"Key {os.environ['FAL_KEY']}"}
    url = f"https://queue.fal.run/{ENDPOINT}"
    answer = httpx.post(url, json={"prompt": "x"}, headers=headers).raise_for_status().json()
    return answer["request_id"], answer["status_url"]


@asynccontextmanager
async def with_httpx() -> AsyncIterator[Look]:
    """httpx, on connections of its own."""
    _, url = submitted()
    headers = {"Authorization": f"Key {os.environ['FAL_KEY']}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60) as client:
        yield lambda: client.get(url)


@asynccontextmanager
async def with_aiohttp() -> AsyncIterator[Look]:
    """aiohttp."""
    aiohttp: Any = importlib.import_module("aiohttp")

    _, url = submitted()
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    headers = {"Authorization": f"Key {os.environ['FAL_KEY']}"}
    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    # Told to it, because with `trust_env` it searches the environment at each request.
    proxy = os.environ["HTTPS_PROXY"]
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def look() -> object:
            async with session.get(url, proxy=proxy) as answer:
                return await answer.read()

        yield look


@asynccontextmanager
async def with_kling_batch() -> AsyncIterator[Look]:
    """The program's own way, from its queue down to the socket."""
    from kling_batch.fal.client import connect

    request_id, _ = submitted()
    async with connect(None) as fal:
        handle = fal.queue.handle(ENDPOINT, request_id)
        yield lambda: fal.queue.status(handle)


CLIENTS = {"httpx": with_httpx, "aiohttp": with_aiohttp, "kling-batch": with_kling_batch}


def installed() -> list[str]:
    """The clients that can be measured here."""
    return [name for name in CLIENTS if name != "aiohttp" or importlib.util.find_spec(name)]


async def measure(name: str, connections: int, requests: int) -> float:
    """Milliseconds of processor time a request."""
    each = max(1, requests // connections)
    async with CLIENTS[name]() as look:
        await asyncio.gather(*(look() for _ in range(connections)))

        async def several() -> None:
            for _ in range(each):
                await look()

        start = time.process_time()
        await asyncio.gather(*(several() for _ in range(connections)))
        return 1000 * (time.process_time() - start) / (each * connections)


if __name__ == "__main__":
    print(asyncio.run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
