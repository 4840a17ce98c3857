"""Time of the running event loop, as anyio has it, for those who ask for every request.

`anyio.current_time` searches for the loop each time, through nine calls; a job asks twenty times.
Must not be used for dates: it counts seconds from anywhere.
"""

from __future__ import annotations

import asyncio

import anyio


def loop_time() -> float:
    """The seconds of the loop's clock, which deadlines are on."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # the loop is not asyncio's
        return anyio.current_time()
