"""What verdicts mean for a plan: which finals may be paid for, and which take is the picked one.

Pure: from jobs and the verdicts that count. Must not read the ledger; a run asks again before
each final, because an approval may be taken back meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from kling_batch.core.command_line import Command
from kling_batch.core.jobs import (
    JSON,
    Batch,
    Job,
    JobKey,
    OutputOf,
    Render,
    draft_id,
    is_unpicked,
    job_key,
    job_label,
    leaves,
    parents,
    unpicked_key,
)
from kling_batch.core.verdicts import Verdict, VerdictRow

#: What to type to judge.
REVIEW = Command(("kling-batch", "review"))

_Name = tuple[str, str]
"""Batch and job id."""


class Held(NamedTuple):
    """Why a job is not paid for as long as the verdicts are what they are."""

    reason: str
    #: Whether a verdict is still to come; else a person has decided against the job.
    undecided: bool = True
    #: The draft that is to be judged, where it is known.
    draft: JobKey | None = None


class Review:
    """The verdicts on the jobs of some batches."""

    def __init__(
        self,
        jobs: Collection[Job],
        verdicts: Mapping[JobKey, VerdictRow],
        judge: Command = REVIEW,
    ) -> None:
        """What people have decided.

        Args:
            jobs: every take of whatever is asked about, drafts included.
            verdicts: those that count.
            judge: what to type to judge in this ledger.
        """
        self._jobs = jobs
        self._judge = judge
        self._verdicts = verdicts

    @cached_property
    def _takes(self) -> dict[_Name, dict[int, Job]]:
        """By name and number; made when first needed, since most batches have no review."""
        takes: dict[_Name, dict[int, Job]] = {}
        for job in self._jobs:
            takes.setdefault((job.batch, job.id), {})[job.take] = job
        return takes

    @cached_property
    def _picks(self) -> dict[str, _Name]:
        """By what stands for the key of a take that is yet to be picked."""
        return {unpicked_key(*name): name for name in self._takes}

    def add(self, job: Job) -> None:
        """Learn of the key that a take has now."""
        self._takes[job.batch, job.id][job.take] = job

    def held(self, job: Job) -> Held | None:
        """Why this final may not be paid for; None where it may, or is no final."""
        if not job.draft:
            return None
        drafts = self._takes.get((job.batch, job.draft), {})
        label = job_label(job.draft, job.take)
        draft = drafts.get(job.take)
        if draft is None:
            return Held(f"final waits for a verdict on {label}, which is not part of this run")
        verdict = self._verdict(draft)
        if verdict is Verdict.REJECTED:
            return Held(f"its draft {label} is rejected", undecided=False)
        picked = self._picked((job.batch, job.draft))
        if picked not in (None, job.take):
            reason = f"{job_label(job.draft, picked or 1)} is picked, not {label}"
            return Held(reason, undecided=False)
        if verdict.approves:
            return None
        return Held(f"final waits for a verdict on {label}: {self._judge}", draft=draft.key)

    def pick_awaited(self, need: OutputOf) -> str:
        """What a reference to a picked take waits for, as long as nobody has picked."""
        name = self._picks.get(need.key)
        takes = len(self._takes[name]) if name else 0
        job_id = name[1] if name else need.job_id.rpartition("/")[2]
        if name and (name[0], draft_id(job_id)) in self._takes:
            job_id = draft_id(job_id)
        among = f"{job_id}#1..#{takes}" if takes > 1 else job_id
        return f"waits for a pick among {among}: {self._judge}"

    def still_picked(self, job: Job) -> bool:
        """Whether each take that a pick has given to this job is still the picked one."""
        needs = [need for need in parents(job.arguments) if need.picked]
        picks = [self.picked_take(unpicked_key(job.batch, need.job_id)) for need in needs]
        return all(
            pick is not None and pick.key == need.key
            for need, pick in zip(needs, picks, strict=True)
        )

    def picked_take(self, key: str) -> Job | None:
        """The picked take that this placeholder of a key stands for."""
        name = self._picks.get(key)
        if name is None:
            return None
        batch, job_id = name
        # Of a reviewed job: a pick among its finals, else the final of the picked draft.
        picked = self._picked(name) or self._picked((batch, draft_id(job_id)))
        return self._takes[name].get(picked) if picked else None

    def _picked(self, name: _Name) -> int | None:
        takes = self._takes.get(name, {})
        return next(
            (n for n, job in takes.items() if self._verdict(job) is Verdict.PICKED),
            None,
        )

    def _verdict(self, job: Job) -> Verdict:
        row = self._verdicts.get(job.key)
        return row.verdict if row else Verdict.NONE


def awaited_pick(render: Render) -> bool:
    """Whether it could not be paid for yet: nobody had picked the take that it needs."""
    return any(isinstance(leaf, str) and is_unpicked(leaf) for leaf in leaves(render.arguments))


def with_picks(batch: Batch, verdicts: Mapping[JobKey, VerdictRow]) -> Batch:
    """The batch in which each `take: picked` is the take that is picked now, if there is one.

    Such a job gets the key that it would have with `take: N`; so do the jobs that need it.
    """
    if not batch.unpicked:
        return batch
    review = Review(batch.jobs, verdicts)
    renamed: dict[JobKey, JobKey] = {}
    jobs: list[Job] = []
    for job in batch.jobs:  # parents before their children
        arguments = _resolved(job.arguments, review, renamed)
        if arguments is not job.arguments:
            key = job_key(job.endpoint, arguments, job.take)
            renamed[job.key] = key
            job = job._replace(arguments=arguments, key=key)  # noqa: PLW2901
            review.add(job)
        jobs.append(job)
    return replace(batch, jobs=tuple(jobs))


def _resolved(value: JSON, review: Review, renamed: Mapping[JobKey, JobKey]) -> JSON:
    """The value with references to picked and renamed jobs; itself where nothing changes."""
    if isinstance(value, OutputOf):
        picked = review.picked_take(value.key)
        if picked is not None:
            return replace(value, key=picked.key, take=picked.take, picked=True)
        return replace(value, key=renamed[value.key]) if value.key in renamed else value
    if isinstance(value, Mapping):
        items = {name: _resolved(item, review, renamed) for name, item in value.items()}
        return items if any(items[name] is not value[name] for name in items) else value
    if isinstance(value, list | tuple):
        entries: Sequence[JSON] = [_resolved(item, review, renamed) for item in value]
        changed = any(new is not old for new, old in zip(entries, value, strict=True))
        return entries if changed else value
    return value
