"""The script that people write without kling-batch: subscribe under a semaphore, then download.

    python -m benchmarks.script JOBS SLOTS INTERVAL FOLDER

It keeps no record, so whatever ends it loses what is paid for. INTERVAL is the pause between two
looks at a request; fal-client's own is 0.1 s.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
from fal_client import AsyncClient

ENDPOINT = "fal-ai/kling-video/o3/standard/text-to-video"


async def render(
    number: int, interval: float, folder: Path, fal: AsyncClient, http: httpx.AsyncClient
) -> None:
    """One clip, from its prompt to its file."""
    arguments = {"prompt": f"Clip number {number} of a lamp", "duration": "5"}
    result = await fal.subscribe(ENDPOINT, arguments, interval=interval)
    async with http.stream("GET", result["video"]["url"]) as answer:
        answer.raise_for_status()
        with (folder / f"{number}.mp4").open("wb") as file:
            async for chunk in answer.aiter_bytes():
                file.write(chunk)


async def main(jobs: int, slots: int, interval: float, folder: Path) -> None:
    """All clips, at most `slots` at once."""
    at_once = asyncio.Semaphore(slots)
    fal = AsyncClient()

    async def one(number: int, http: httpx.AsyncClient) -> None:
        async with at_once:
            await render(number, interval, folder, fal, http)

    async with httpx.AsyncClient(timeout=60) as http, asyncio.TaskGroup() as tasks:
        for number in range(jobs):
            tasks.create_task(one(number, http))


if __name__ == "__main__":
    words = sys.argv[1:]
    asyncio.run(main(int(words[0]), int(words[1]), float(words[2]), Path(words[3])))
