"""Rows of the benchmarks: each measures one promise about speed or memory."""

from __future__ import annotations

from benchmarks.rows import (
    clients,
    files,
    gallery,
    growth,
    idle,
    loop,
    makespan,
    open_requests,
    planning,
    promises,
    startup,
    workers,
)
from benchmarks.rows.base import Row

#: In the order in which they run: short ones first.
ROWS: tuple[Row, ...] = (
    *startup.ROWS,
    *idle.ROWS,
    *planning.ROWS,
    *makespan.ROWS,
    *files.ROWS,
    *loop.ROWS,
    *clients.ROWS,
    *promises.ROWS,
    *open_requests.ROWS,
    *gallery.ROWS,
    *growth.ROWS,
    *workers.ROWS,
)
