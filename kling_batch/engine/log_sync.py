"""Sync of the ledger's log: one call in a worker thread for all jobs that wait for it.

Commits that the next step of a job depends on are written at once and synced here, while the loop
goes on (`ledger/durability.py`). The intent of a payment is none of them: its commit is synced
before it returns, because nothing may be awaited between it and the POST.
"""

from __future__ import annotations

import anyio

from kling_batch.ledger.ledger import Ledger
from kling_batch.output.worker import FileWorker


class LogSync:
    """Waits until commits are on the disk; one a run."""

    def __init__(self, ledger: Ledger, worker: FileWorker) -> None:
        """From now on, the ledger leaves its syncs to this."""
        self._log = ledger.log
        self._worker = worker
        # Fair, and without a pause for whoever finds it free.
        self._one_at_a_time = anyio.Lock(fast_acquire=True)
        ledger.leave_syncs()

    async def done(self) -> None:
        """Return once everything that is committed now is on the disk.

        Raises:
            LedgerError: the disk cannot keep it.
        """
        wanted = self._log.committed
        while self._log.synced < wanted:
            async with self._one_at_a_time:
                # What waited for the lock may be on the disk by now, with the sync of another.
                if self._log.synced < wanted:
                    await self._worker.run(self._log.sync)
