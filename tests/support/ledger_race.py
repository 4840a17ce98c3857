"""A process of its own at one ledger: races for attempts, holds the lock, or dies holding it.

python racer.py race LEDGER COUNT CAP   intend COUNT jobs in random order, without the run lock
python racer.py hold LEDGER             take the lock, write an intent, wait for standard input
"""

from __future__ import annotations

import os
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from kling_batch.core.jobs import Batch
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.errors import LedgerError
from kling_batch.ledger.database import FileIdentity, connect
from kling_batch.ledger.durability import Log
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader
from support.engine import make_job


def now() -> datetime:
    return datetime.now(UTC)


class Unlocked(Ledger):
    """A writer that ignores the run lock: what is left to protect the money is the database."""

    def __init__(self, path: Path) -> None:
        Reader.__init__(self, path, connect(path, writable=True))
        self._now = now
        self.run_id = 1
        self._file = FileIdentity(path)
        self.synced_apart, self._syncs = False, True
        self.log = Log(path)

    def close(self) -> None:
        Reader.close(self)


def race(path: Path, count: int, limit: int) -> None:
    jobs = [make_job(f"job-{n}") for n in range(count)]
    random.shuffle(jobs)
    caps = [Cap(limit=MicroUSD(limit))] if limit else []
    with Unlocked(path) as ledger:
        print("ready", flush=True)
        sys.stdin.readline()
        for job in jobs:
            try:
                got = ledger.intend(job, dict(job.arguments), tries=1, caps=caps)
            except LedgerError as error:
                print("refused" if "refusing to pay again" in str(error) else error)
            else:
                print("paid" if isinstance(got, int) else "over")


def hold(path: Path) -> None:
    with Ledger(path, service="emulator", now=now) as ledger:
        ledger.begin_run(command="hold", batches=["test"], pid=os.getpid(), version="0", cap=None)
        job = make_job("held")
        ledger.register(Batch(name="test", source="t", jobs=(job,)))
        ledger.intend(job, dict(job.arguments), tries=1)
        print("ready", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "race":
        race(Path(where), *map(int, rest))
    else:
        hold(Path(where))
