"""Consequences of a verdict for money, as messages: what the next run pays for now, and what not.

Says what the plan decides (`planning/prospects`) before and after the verdict. Must not decide
anything itself, and must not write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from kling_batch.core.jobs import JobKey, final_id, is_draft_id, job_label
from kling_batch.core.lifecycle import State
from kling_batch.core.text import full_name
from kling_batch.core.verdicts import Verdict
from kling_batch.errors import UsageError
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.names import find
from kling_batch.ledger.reader import Reader
from kling_batch.planning.plan import Action
from kling_batch.planning.prospects import Name, Prospect

#: The final will be rendered and paid, or is in doubt; a verdict comes too late for it.
_SUBMITTED = frozenset(Action) - {
    Action.SUBMIT,
    Action.SETTLED,
    Action.BLOCKED,
    Action.HOLD,
    Action.DECLINED,
}


class Judged(NamedTuple):
    """A take under its current name."""

    batch: str
    id: str
    take: int
    key: JobKey

    @property
    def label(self) -> str:
        """As `Job.label`."""
        return job_label(self.id, self.take)

    @property
    def final(self) -> Name:
        """The name of the final, of a draft."""
        return self.batch, final_id(self.id), self.take


class Consequences:
    """What one command with verdicts has changed about the next run."""

    def __init__(
        self,
        reader: Reader,
        before: Mapping[Name, Prospect],
        after: Mapping[Name, Prospect],
    ) -> None:
        """`before` and `after` the verdicts; the ledger as it is after them."""
        self._reader = reader
        self._before = before
        self._after = after
        self._several = len({batch for batch, *_ in after}) > 1

    def of(self, take: Judged, verdict: Verdict) -> str:
        """What becomes of the take's final, to be added to the message about the take."""
        coming = self._after.get(take.final) if is_draft_id(take.id) else None
        if coming is None:
            return ""
        label, action = job_label(*take.final[1:]), coming.planned.action
        if action in _SUBMITTED:
            return f"; its final {label} is submitted already, which this does not change"
        if action is Action.SUBMIT:
            return f"; the next run pays for {label}{self._unless(coming)}"
        why = self._because(take.final, coming) if verdict.approves else ""
        return f"; the next run does not pay for {label}{why}"

    def for_others(self, takes: Iterable[Judged]) -> Iterator[str]:
        """A message for each kind of change to jobs other than the finals of these takes."""
        told = {take.final for take in takes if is_draft_id(take.id)}
        paid: list[str] = []
        unpaid: dict[str, list[str]] = {}
        for name, coming in self._after.items():
            if name in told or coming.planned.duplicate or not self._differs(name, coming):
                continue
            batch, job_id, take = name
            label = full_name(batch, job_label(job_id, take), several=self._several)
            if coming.planned.action is Action.SUBMIT:
                paid.append(f"{label}{self._unless(coming)}")
            else:
                unpaid.setdefault(self._because(name, coming), []).append(label)
        if paid:
            yield f"with that the next run pays for {', '.join(paid)}, too"
        for why, labels in unpaid.items():
            yield f"with that the next run does not pay for {', '.join(labels)}{why}"

    def _differs(self, name: Name, coming: Prospect) -> bool:
        was = self._before.get(name)
        # What was submitted meanwhile is the work of a run, not of the verdict.
        return coming.planned.action not in _SUBMITTED and (
            was is None or was.planned.action is not coming.planned.action
        )

    def _unless(self, coming: Prospect) -> str:
        return ", unless the manifest's `retry` allows fewer attempts" if coming.by_limit else ""

    def _because(self, name: Name, coming: Prospect) -> str:
        """Why a job is not paid for, and what to type where something more than a verdict helps."""
        planned = coming.planned
        if planned.action is not Action.SETTLED:
            return f": {planned.reason}"
        unless = ", unless the manifest's `retry` allows more attempts" if coming.by_limit else ""
        retry = command_on(self._reader.path, "retry", self._typed(name))
        return f"{unless}: it {_ended(self._reader, planned.job.key)}, and needs `{retry}` first"

    def _typed(self, name: Name) -> str:
        """The name as commands find it."""
        batch, job_id, take = name
        label = job_label(job_id, take)
        try:
            find(self._reader, label)
        except UsageError:
            return f"{batch}/{label}"
        return label


def _ended(reader: Reader, key: JobKey) -> str:
    last = reader.attempts_of(key)[-1]
    return "was cancelled" if last.state is State.CANCELLED else "has failed"
