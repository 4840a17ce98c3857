"""Who comes when in a run: twins behind their first, children behind their parents. Pure.

Knows the plan and what has settled so far; must not know time, money or the outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kling_batch.core.jobs import Job, JobKey, parents
from kling_batch.planning.plan import Action, Plan, PlannedJob

#: What a run has to do something about.
_MOVING = frozenset(Action) - {Action.KEEP, Action.SETTLED, Action.BLOCKED}


class JobQueue:
    """The jobs of a plan in the order in which they may go."""

    def __init__(self, plan: Plan) -> None:
        """Parents come before their children in a plan."""
        #: Jobs to buy whose parents are here.
        self.ready: deque[PlannedJob] = deque()
        #: What an earlier run left: it goes on at once.
        self.resumed: list[PlannedJob] = []
        #: Further names of the same paid thing.
        self.duplicates: dict[JobKey, list[Job]] = {}
        self._waiting: dict[JobKey, set[JobKey]] = {}
        self._children: dict[JobKey, list[PlannedJob]] = {}
        moving = [item for item in plan.items if item.action in _MOVING]
        active = {item.job.key for item in moving}
        led: set[JobKey] = set()
        for item in moving:
            key = item.job.key
            if key in led:
                self.duplicates.setdefault(key, []).append(item.job)
                continue
            led.add(key)
            if item.action is Action.SUBMIT:
                self._line_up(item, {p.key for p in parents(item.job.arguments)} & active)
            else:
                self.resumed.append(item)

    def _line_up(self, item: PlannedJob, needs: set[JobKey]) -> None:
        if not needs:
            self.ready.append(item)
            return
        self._waiting[item.job.key] = needs
        for key in needs:
            self._children.setdefault(key, []).append(item)

    @property
    def left(self) -> bool:
        """Whether any job is still to be bought, now or later."""
        return bool(self.ready or self._waiting)

    def settle(
        self, key: JobKey, *, succeeded: bool, blocked: Callable[[PlannedJob], None]
    ) -> None:
        """A job has come to its end: its children go, or none of their line ever does."""
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
