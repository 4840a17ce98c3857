"""Workers as their coordinators know them: the protocol of a cluster, and what becomes of a task.

Must not know any library: `dask.py` implements it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from kling_batch.workers.rendering import RenderOrder
from kling_batch.workers.tasks import Answer, FetchOrder, PutOrder


class LostTask(Exception):  # noqa: N818 - an outcome, not an error of the run
    """A task has no answer; `gone`: nor will any other have one."""

    def __init__(self, reason: str, *, worker: str = "", gone: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.worker, self.gone = reason, worker, gone


@dataclass(frozen=True, slots=True)
class Done:
    """An answer, and the worker whose it is."""

    worker: str
    answer: Answer


class Cluster(Protocol):
    """Workers that take tasks."""

    @property
    def places(self) -> int:
        """Tasks that run at once, now."""

    @property
    def workers(self) -> Collection[str]:
        """Addresses of the workers that are there, now."""

    async def fetch(self, order: FetchOrder, *, host: str, avoid: frozenset[str]) -> Done:
        """Let a worker fetch a file, within the limit of its host; raises `LostTask`."""

    async def put(self, order: PutOrder, *, worker: str, avoid: frozenset[str]) -> Done:
        """Let a worker put a file, if possible this one; raises `LostTask`."""

    async def render(self, order: RenderOrder, *, worker: str, avoid: frozenset[str]) -> Done:
        """Let a worker make renditions, if possible this one; raises `LostTask`."""
