"""Job queue of a run: a duplicate waits for the first of its kind, a child for its parents. Pure.

Knows the plan and what has settled so far; must not know time, money or the outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kling_batch.core.jobs import Job, JobKey, parents
from kling_batch.planning.plan import RESTING, Action, Plan, PlannedJob

#: Actions that need work in a run.
_NEEDS_WORK = frozenset(Action) - RESTING


class JobQueue:
    """The jobs of a plan, in the order in which they may start."""

    def __init__(self) -> None:
        """Empty until `load`."""
        #: Jobs to submit whose parents have succeeded.
        self.ready: deque[PlannedJob] = deque()
        #: Jobs that an earlier run left open; they go on at once.
        self.resumed: list[PlannedJob] = []
        #: Duplicates: further names of the same paid job.
        self.duplicates: dict[JobKey, list[Job]] = {}
        self._waiting: dict[JobKey, set[JobKey]] = {}
        self._children: dict[JobKey, list[PlannedJob]] = {}

    def load(self, plan: Plan) -> None:
        """Queue a plan, in which parents come before their children."""
        items = [item for item in plan.items if item.action in _NEEDS_WORK]
        active = {item.job.key for item in items}
        seen: set[JobKey] = set()
        for item in items:
            key = item.job.key
            if key in seen:
                self.duplicates.setdefault(key, []).append(item.job)
                continue
            seen.add(key)
            if item.action is Action.SUBMIT:
                self._enqueue(item, {p.key for p in parents(item.job.arguments)} & active)
            else:
                self.resumed.append(item)

    def _enqueue(self, item: PlannedJob, needs: set[JobKey]) -> None:
        if not needs:
            self.ready.append(item)
            return
        self._waiting[item.job.key] = needs
        for key in needs:
            self._children.setdefault(key, []).append(item)

    @property
    def left(self) -> bool:
        """Whether any job is still to be submitted, now or later."""
        return bool(self.ready or self._waiting)

    def settle(
        self, key: JobKey, *, succeeded: bool, blocked: Callable[[PlannedJob], None]
    ) -> None:
        """A job has ended in this run: release its children, or block all its descendants."""
        for child in self._children.pop(key, []):
            needs = self._waiting.get(child.job.key)
            if needs is None:
                continue  # blocked by another parent before
            needs.discard(key)
            if not succeeded:
                del self._waiting[child.job.key]
                blocked(child)
                self.settle(child.job.key, succeeded=False, blocked=blocked)
            elif not needs:
                del self._waiting[child.job.key]
                self.ready.append(child)
