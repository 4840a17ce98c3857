"""Trust in workers: which of them get tasks, and what is told of their faults, each thing once.

Shared by the coordinators of one run. Must not give out tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from kling_batch.workers.cluster import LostTask
from kling_batch.workers.tasks import Answer

#: Failures of its own after which a worker gets nothing more.
FAILURES = 3
#: Seconds in which a file that a worker wrote becomes visible here: network folders keep listings.
VISIBLE_SECONDS = 5.0


@dataclass(slots=True)
class Trust:
    """What is known of a run's workers."""

    tell: Callable[[str], None]
    #: Whether the scheduler is gone: everything else is done here.
    gone: bool = False
    #: Workers that get nothing more in this run.
    _avoid: set[str] = field(default_factory=set)
    _failures: dict[str, int] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    @property
    def avoided(self) -> frozenset[str]:
        """Workers that get nothing more in this run."""
        return frozenset(self._avoid)

    def lost(self, lost: LostTask, *, rest: str) -> None:
        """A task has no answer; `rest`: what becomes of all others where the scheduler is gone."""
        if not lost.gone:
            self.say(f"{lost.reason}; done on this machine")
        elif not self.gone:
            self.gone = True
            self.say(f"{lost.reason}; {rest}")

    def failed(self, worker: str, answer: Answer) -> None:
        """A worker has not done a task, which is done here."""
        if reason := answer.get("refused"):
            self.refuse(worker, f"gets no files: {reason}; install the same on both")
            return
        if folder := answer.get("absent"):
            self.refuse(worker, f"does not see {folder}: mount the output there, at this path")
            return
        reason = answer.get("error") or answer.get("unfetched") or answer.get("gone")
        self._failures[worker] = self._failures.get(worker, 0) + 1
        if self._failures[worker] < FAILURES:
            self.say(f"the worker {worker} failed ({reason}); done on this machine")
        else:
            self.refuse(worker, f"failed {FAILURES} times ({reason})")

    def refuse(self, worker: str, reason: str) -> None:
        """Give a worker nothing more."""
        if worker not in self._avoid:
            self._avoid.add(worker)
            self.say(f"the worker {worker} {reason}; it gets nothing more in this run")

    def say(self, sentence: str) -> None:
        """Tell a sentence, unless it was told before."""
        if sentence not in self._told:
            self._told.add(sentence)
            self.tell(sentence)


async def visible(path: Path, size: int) -> bool:
    """Whether a file is there with this size, or will be in a few seconds."""
    with anyio.move_on_after(VISIBLE_SECONDS):
        while True:
            with suppress(OSError):
                if path.stat().st_size == size:
                    return True
            await anyio.sleep(0.2)
    return False
