"""Plan of a run: what it would do with each job, and why; a dry run is this plan, not executed.

Pure: from jobs, standings and files on the disk to decisions with reasons. Must not
open the ledger, look at the disk or send anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from kling_batch.core.jobs import Job, JobKey, OutputOf, is_unpicked, parents
from kling_batch.core.lifecycle import State
from kling_batch.core.memory import gc_paused
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Standing
from kling_batch.core.recovery import Recovery
from kling_batch.core.text import count
from kling_batch.planning.retry import Decision, decide, is_rendered, may_try_again
from kling_batch.planning.verdicts import Held, Review


class Action(StrEnum):
    """What the run does with a job."""

    #: Pay for an attempt.
    SUBMIT = "submit"
    #: A request is open at fal: poll it and collect.
    COLLECT = "collect"
    #: A submission is in doubt: look for its trace.
    RECONCILE = "reconcile"
    #: Paid for under another ledger, and found: take over or collect; costs nothing.
    RECOVER = "recover"
    #: Paid and rendered: download (again); costs nothing.
    DOWNLOAD = "download"
    #: The file is here under another name: give it this one.
    PLACE = "place"
    #: Missing or changed under names that the ledger has: put back there. Only `verify` asks.
    RESTORE = "restore"
    #: Done.
    KEEP = "keep"
    #: Failed or cancelled before, and not to be tried again unasked.
    SETTLED = "settled"
    #: Needs the output of a job that will not give one.
    BLOCKED = "blocked"
    #: Not paid for before a person has approved its draft, or picked the take that it needs.
    HOLD = "hold"
    #: Not wanted: its draft is rejected, or another take of it is picked.
    DECLINED = "declined"


#: Actions that need nothing done in a run.
RESTING = frozenset({Action.KEEP, Action.SETTLED, Action.BLOCKED, Action.HOLD, Action.DECLINED})


class OnDisk(StrEnum):
    """Where the files of a succeeded job are."""

    HERE = "here"
    ELSEWHERE = "elsewhere"
    MISSING = "missing"
    #: A file lies there, and not with the size that was paid for.
    CHANGED = "changed"


class PlannedJob(NamedTuple):
    """A job with what happens to it."""

    job: Job
    action: Action
    reason: str
    #: The attempt that the action goes on with, or the settled one.
    attempt_id: int | None = None
    #: The number of the attempt that SUBMIT would make, within one permission to try.
    tries: int = 1
    #: The same paid thing as an earlier job of this plan: it gets a copy.
    duplicate: bool = False
    #: Paid for, and no longer in the manifest: collected, and never bought again.
    orphaned: bool = False
    #: What RECOVER takes over.
    found: Recovery | None = None


def is_paid(item: PlannedJob) -> bool:
    """Whether this run would pay for it; of two equal jobs, one is paid for."""
    return item.action is Action.SUBMIT and not item.duplicate


def is_unpriced(job: Job) -> bool:
    """Whether nobody knows what it costs; what is free says so by having no note."""
    return job.estimate == 0 and bool(job.estimate_note)


class LeftOut(NamedTuple):
    """Jobs that an option keeps out of the plan."""

    #: The option, as a person writes it.
    option: str
    jobs: int

    def __str__(self) -> str:
        return f"{count(self.jobs, 'job')} by {self.option}"


@dataclass(frozen=True)
class Plan:
    """Every job with its action, parents first."""

    items: tuple[PlannedJob, ...]
    #: What the selection, `--limit` or `--collect` leaves to other runs.
    left_out: tuple[LeftOut, ...] = ()

    @cached_property
    def counts(self) -> Counter[Action]:
        """How many jobs have each action."""
        return Counter(item.action for item in self.items)

    def count(self, *actions: Action) -> int:
        """How many jobs have one of these actions."""
        return sum(self.counts[action] for action in actions)

    @property
    def cost(self) -> MicroUSD:
        """Upper estimate of what SUBMIT would cost, each paid thing counted once."""
        return MicroUSD(sum(item.job.estimate for item in self.items if is_paid(item)))

    @property
    def unpriced(self) -> int:
        """How many of the jobs that SUBMIT pays for have no known price."""
        return sum(is_paid(item) and is_unpriced(item.job) for item in self.items)

    @property
    def awaiting_cost(self) -> MicroUSD:
        """Upper estimate of what approval of everything that waits for a verdict would add."""
        return MicroUSD(
            sum(i.job.estimate for i in self.items if i.action is Action.HOLD and not i.duplicate)
        )

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do at all."""
        return self.count(*RESTING) == len(self.items)


_UNPAID = (Action.SUBMIT, Action.SETTLED)


def make_plan(
    jobs: Iterable[Job],
    standings: Mapping[JobKey, Standing],
    *,
    on_disk: Callable[[Job], OnDisk],
    changed: Callable[[Job], str] = lambda _: "",
    retry: Callable[[Job], bool] = lambda _: False,
    recovered: Callable[[Job], Recovery | None] = lambda _: None,
    attempts: int = 3,
    review: Review | None = None,
) -> Plan:
    """Decide for every job.

    Args:
        jobs: parents before their children.
        standings: the latest attempt of each job, from the ledger.
        on_disk: where the files of a succeeded job are.
        changed: what differs from the job that had this name before; empty where nothing had.
        retry: whether a person asked to try this failed job again.
        recovered: what lies beside the target of a job that would be paid for.
        attempts: how many attempts one permission to try allows.
        review: what people have decided; None: nothing about these jobs.
    """
    jobs = list(jobs)
    review = review or Review(jobs, {})
    items: list[PlannedJob] = []
    seen: dict[JobKey, PlannedJob] = {}
    with gc_paused():
        for job in jobs:
            if (first := seen.get(job.key)) is not None:
                items.append(_duplicate(job, first, on_disk))
                continue
            standing = standings.get(job.key)
            item = _decide(job, standing, on_disk, changed, asked=retry, attempts=attempts)
            # Also what failed or was cancelled, as far as this ledger knows: another try at it may
            # have succeeded since.
            if item.action in _UNPAID and (found := recovered(job)) is not None:
                item = recovering(item, found)
            if (
                item.action is Action.SUBMIT
                and ((needs := parents(job.arguments)) or job.draft)
                and (why := _hindered(job, needs, seen, standings, review))
            ):
                item = PlannedJob(job, *why, item.attempt_id)
            seen[job.key] = item
            items.append(item)
    return Plan(tuple(items))


def recovering(item: PlannedJob, found: Recovery) -> PlannedJob:
    """The same job, not bought but recovered."""
    return item._replace(action=Action.RECOVER, reason=found.reason, found=found)


def _decide(
    job: Job,
    standing: Standing | None,
    on_disk: Callable[[Job], OnDisk],
    changed: Callable[[Job], str],
    *,
    asked: Callable[[Job], bool],
    attempts: int,
) -> PlannedJob:
    if standing is None:
        difference = changed(job)
        reason = f"changed: {difference}" if difference else "new"
        return PlannedJob(job, Action.SUBMIT, reason)
    attempt, state = standing.attempt_id, standing.state
    if state is State.SUCCEEDED:
        return _succeeded(job, attempt, on_disk(job))
    match state:
        case State.RENDERED:
            return PlannedJob(job, Action.DOWNLOAD, "paid and rendered, not yet here", attempt)
        case State.SUBMITTED:
            return PlannedJob(job, Action.COLLECT, "in flight at fal", attempt)
        case State.SUBMITTING | State.IN_DOUBT:
            return PlannedJob(job, Action.RECONCILE, "in doubt: fal may have accepted it", attempt)
        case State.FAILED | State.CANCELLED:
            return _again(job, standing, asked=asked(job), attempts=attempts)


def _succeeded(job: Job, attempt: int, where: OnDisk) -> PlannedJob:
    if where is OnDisk.HERE:
        return PlannedJob(job, Action.KEEP, "unchanged", attempt)
    match where:
        case OnDisk.ELSEWHERE:
            return PlannedJob(job, Action.PLACE, "paid already, under another name", attempt)
        case OnDisk.MISSING:
            return PlannedJob(job, Action.DOWNLOAD, "paid already, the file is missing", attempt)
        case OnDisk.CHANGED:
            reason = "paid already, the file is empty or has another size"
            return PlannedJob(job, Action.DOWNLOAD, reason, attempt)


def _again(job: Job, standing: Standing, asked: bool, attempts: int) -> PlannedJob:
    attempt, failure = standing.attempt_id, standing.failure
    message = failure.message if failure else standing.state
    # What is rendered and paid is given up by a person who names the job, and by nothing else.
    if standing.granted or (asked and not is_rendered(failure)):
        return PlannedJob(job, Action.SUBMIT, f"retry after: {message}", attempt)
    if standing.state is State.CANCELLED or failure is None:
        return PlannedJob(job, Action.SETTLED, f"cancelled: {message}", attempt)
    if may_try_again(failure.kind):
        # It was never submitted: the next attempt has its number.
        reason = f"not submitted before: {message}"
        return PlannedJob(job, Action.SUBMIT, reason, attempt, standing.tries)
    if decide(failure, standing.tries, attempts) is Decision.RETRY:
        tries = standing.tries + 1
        return PlannedJob(job, Action.SUBMIT, f"try {tries} after: {message}", attempt, tries)
    return PlannedJob(job, Action.SETTLED, f"failed: {message}", attempt)


def _duplicate(job: Job, first: PlannedJob, on_disk: Callable[[Job], OnDisk]) -> PlannedJob:
    """The same paid thing under a second name: it follows the first."""
    reason = f"the same as {first.job.label}: one render, two names"
    action = first.action
    if action in (Action.KEEP, Action.PLACE):
        action = Action.KEEP if on_disk(job) is OnDisk.HERE else Action.PLACE
    return PlannedJob(job, action, reason, first.attempt_id, duplicate=True)


#: What becomes of a child whose parent will not give an output in this run.
_AFTER_PARENT: dict[Action, Action] = {
    Action.SETTLED: Action.BLOCKED,
    Action.BLOCKED: Action.BLOCKED,
    Action.DECLINED: Action.DECLINED,
    Action.HOLD: Action.HOLD,
}


#: Of several reasons, what nobody wants comes first, and what may still come last.
_MOST_FINAL = (Action.DECLINED, Action.BLOCKED, Action.HOLD)


def _hindered(
    job: Job,
    needs: Iterable[OutputOf],
    seen: Mapping[JobKey, PlannedJob],
    standings: Mapping[JobKey, Standing],
    review: Review,
) -> tuple[Action, str] | None:
    """Why a job is not paid for, although nothing was paid for it; the most final reason."""
    found = [why for parent in needs if (why := _lacks(parent, seen, standings, review))]
    if held := review.held(job):
        found.append(_held(held, seen))
    return min(found, key=lambda why: _MOST_FINAL.index(why[0]), default=None)


def _held(held: Held, seen: Mapping[JobKey, PlannedJob]) -> tuple[Action, str]:
    """What becomes of a final without approval; nobody can judge a draft that has failed."""
    if not held.undecided:
        return Action.DECLINED, held.reason
    draft = seen.get(held.draft) if held.draft else None
    if draft is not None and _AFTER_PARENT.get(draft.action) is Action.BLOCKED:
        return Action.BLOCKED, f"its draft {draft.job.label} is {draft.action}: {draft.reason}"
    return Action.HOLD, held.reason


def _lacks(
    parent: OutputOf,
    seen: Mapping[JobKey, PlannedJob],
    standings: Mapping[JobKey, Standing],
    review: Review,
) -> tuple[Action, str] | None:
    """Why an output of another job cannot be had."""
    if is_unpicked(parent.key):
        return Action.HOLD, review.pick_awaited(parent)
    planned = seen.get(parent.key)
    if planned is None:
        standing = standings.get(parent.key)
        if standing is None or standing.state is not State.SUCCEEDED:
            return Action.BLOCKED, f"needs {parent.job_id}, which is not part of this run"
        return None
    if (action := _AFTER_PARENT.get(planned.action)) is None:
        return None
    if action is Action.HOLD:
        return action, f"needs {planned.job.label}: {planned.reason}"
    return action, f"needs {planned.job.label}, which is {planned.action}: {planned.reason}"
