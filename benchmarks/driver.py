"""kling-batch with instruments, in a process of its own: how long its event loop is held.

    python -m benchmarks.driver RECORD.json [--no-sync] -- run m.yaml …

Instruments are put into asyncio and the standard library; the program runs as it is installed.
With `--no-sync` nothing is synced to the disk, which shows what syncing costs.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

#: Seconds; shorter holds are only counted.
NOTED = 0.005


class Holds:
    """Durations of everything that the event loop calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.held = 0.0
        #: Moment by the wall clock, seconds, of these on the processor, and what was called.
        self.noted: list[tuple[float, float, float, str]] = []

    def install(self) -> None:
        """Measure every callback of every loop."""
        run = asyncio.Handle._run
        clock, processor = time.perf_counter, time.thread_time

        def measured(handle: asyncio.Handle) -> None:
            start, busy = clock(), processor()
            run(handle)
            took = clock() - start
            self.calls += 1
            self.held += took
            if took >= NOTED:
                name = _name_of(handle)
                self.noted.append((time.time(), took, processor() - busy, name))

        patched: Any = asyncio.Handle
        patched._run = measured


def _name_of(handle: asyncio.Handle) -> str:
    """Where the task of a callback stands now, as far as it can be seen."""
    callback: Any = handle._callback  # type: ignore[attr-defined]
    owner = getattr(callback, "__self__", None)
    if not isinstance(owner, asyncio.Task):
        return getattr(callback, "__qualname__", repr(callback))[:100]
    names: list[str] = []
    at: Any = owner.get_coro()
    while at is not None:
        names.append(getattr(at, "__qualname__", type(at).__name__))
        at = getattr(at, "cr_await", None)
    return " > ".join(names[:8])[:300]


class Syncs:
    """Counts of what is made durable, and of what would be."""

    def __init__(self, *, off: bool) -> None:
        self.off = off
        self.files = 0
        self.commits = 0

    def install(self) -> None:
        """Count, and with `off` leave out, every sync of a file and of SQLite."""
        sync, syncs = os.fsync, self

        def counted(descriptor: Any) -> None:
            self.files += 1
            if not self.off:
                sync(descriptor)

        system: Any = os
        system.fsync = system.fdatasync = counted

        class Counting(sqlite3.Connection):
            def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
                word = sql.strip().lower()
                syncs.commits += word == "commit"
                if syncs.off and word.startswith("pragma synchronous ="):
                    sql = "pragma synchronous = off"
                return super().execute(sql, *rest)

        connect = sqlite3.connect

        def counting(*words: Any, **named: Any) -> sqlite3.Connection:
            opened: sqlite3.Connection = connect(*words, **{"factory": Counting, **named})
            return opened

        driver: Any = sqlite3
        driver.connect = counting


def main() -> int:
    """Run the program, then write what was seen."""
    at = sys.argv.index("--")
    own, words = sys.argv[1:at], sys.argv[at + 1 :]
    record = Path(own[0])
    holds, syncs = Holds(), Syncs(off="--no-sync" in own)
    holds.install()
    syncs.install()
    from kling_batch.cli.main import main as program

    sys.argv = ["kling-batch", *words]
    code = 0
    try:
        program()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    seen = {
        "calls": holds.calls,
        "held": holds.held,
        "noted": holds.noted,
        "file_syncs": syncs.files,
        "commits": syncs.commits,
    }
    record.write_text(json.dumps(seen))
    return code


if __name__ == "__main__":
    sys.exit(main())
