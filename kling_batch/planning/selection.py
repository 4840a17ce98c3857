"""Which jobs of a batch a run is about: `--only`, `--exclude`, `--tag`.

Must not know plans or ledgers; leaving a job out never changes another one's key. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from unicodedata import normalize

from kling_batch.core.diagnostics import nearest
from kling_batch.core.jobs import (
    PICKED,
    Batch,
    Job,
    JobKey,
    OutputOf,
    draft_id,
    final_id,
    job_key,
    job_label,
    parents,
    take_suffix,
)
from kling_batch.core.records import GrantedTakes
from kling_batch.errors import Problem
from kling_batch.planning.plan import Action, LeftOut, Plan, PlannedJob

_Name = tuple[str, int]


def select(
    batch: Batch,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    tags: Collection[str] = (),
) -> Batch:
    """The jobs whose id (or `id#take`) fits a glob of `only` and none of `exclude`, with a tag.

    What they need is taken along, with a warning that says so, unless it is excluded.
    """
    excluded = {_name(job) for job in batch.jobs if _fits(job, exclude)}
    picked = {
        _name(job): job
        for job in batch.jobs
        if _name(job) not in excluded
        and (not only or _fits(job, only))
        and (not tags or not set(tags).isdisjoint(job.tags))
    }
    needed, notes = _needed(batch, picked, excluded)
    kept = tuple(job for job in batch.jobs if _name(job) in picked or _name(job) in needed)
    misses = list(_misses(batch, "--only", only)) + list(_misses(batch, "--exclude", exclude))
    return replace(batch, jobs=kept, warnings=(*batch.warnings, *notes, *misses))


def _needed(
    batch: Batch, picked: Collection[_Name], excluded: Collection[_Name]
) -> tuple[set[_Name], list[Problem]]:
    """Parents, and theirs, that nobody chose; children come after them in a batch."""
    needed: set[_Name] = set()
    takes: dict[str, int] = {}
    for job in batch.jobs:
        takes[job.id] = max(job.take, takes.get(job.id, 0))
    notes: dict[_Name, Problem] = {}
    for job in reversed(batch.jobs):
        if _name(job) not in picked and _name(job) not in needed:
            continue
        for parent, need in _parents(job, takes):
            if parent in excluded:
                message = f"`{job.label}` needs `{need.job_id}`, which is excluded"
                hint = "it waits, unless that one is done already"
                notes[parent] = Problem(job.place, message, "parent-excluded", hint)
            elif parent not in picked and parent not in needed:
                needed.add(parent)
                message = f"`{need.job_id}` is taken along: `{job.label}` needs its output"
                notes[parent] = Problem(job.place, message, "parent-taken-along")
    return needed, list(reversed(notes.values()))


def _parents(job: Job, takes: Mapping[str, int]) -> Iterator[tuple[_Name, OutputOf]]:
    """The takes that a job needs: of a picked one, all that may be it."""
    for need in parents(job.arguments):
        if need.take == PICKED:
            yield from (((need.job_id, n + 1), need) for n in range(takes.get(need.job_id, 0)))
        else:
            yield (need.job_id, need.take), need


def _misses(batch: Batch, flag: str, globs: Sequence[str]) -> Iterator[Problem]:
    for glob in globs:
        if not any(_fits(job, (glob,)) for job in batch.jobs):
            hint = nearest(glob, [job.id for job in batch.jobs[:2000]])
            place = batch.jobs[0].place._replace(line=0, column=0, cell="") if batch.jobs else None
            if place is not None:
                yield Problem(place, f"{flag} {glob} fits no job", "no-match", hint)


def _fits(job: Job, globs: Sequence[str]) -> bool:
    wanted = [normalize("NFC", glob) for glob in globs]
    # Whoever names a job with `review:` means its drafts, too.
    ids = dict.fromkeys((job.id, final_id(job.id)))
    names = {name for each in ids for name in (each, job_label(each, job.take))}
    return any(fnmatchcase(name, glob) for name in names for glob in wanted)


def _name(job: Job) -> _Name:
    return job.id, job.take


def with_extra_takes(batch: Batch, extra: Mapping[str, GrantedTakes]) -> Batch:
    """The batch with the takes of a job that were granted where the manifest has fewer."""
    if not extra:
        return batch
    return replace(batch, jobs=tuple(_grown(batch.jobs, extra)))


def without_former_takes(batch: Batch, written: Batch, extra: Mapping[str, GrantedTakes]) -> Batch:
    """The batch without takes that were granted of what its job was before.

    `batch`: with extra takes and picks, since what is picked is part of a key; `written`: without.
    """
    if len(batch.jobs) == len(written.jobs):
        return batch
    keys = {job.id: job.key for job in batch.jobs if job.take == 1}
    valid = {
        name: granted for name, granted in extra.items() if granted.key in (None, keys.get(name))
    }
    said = {_name(job) for job in written.jobs}
    kept = [job for job in batch.jobs if _name(job) in said or job.take <= _wanted(job.id, valid)]
    return replace(batch, jobs=tuple(kept))


def _grown(jobs: tuple[Job, ...], extra: Mapping[str, GrantedTakes]) -> Iterator[Job]:
    most: dict[str, int] = {}
    for job in jobs:
        most[job.id] = max(most.get(job.id, 0), job.take)
    first = {job.id: job for job in reversed(jobs) if job.take == 1}
    for job in jobs:
        yield job
        if job.take != most[job.id] or job.id not in first:
            continue
        for take in range(job.take + 1, _wanted(job.id, extra) + 1):
            yield _another(first[job.id], take)


def _wanted(job_id: str, extra: Mapping[str, GrantedTakes]) -> int:
    """How many takes were granted; a take of a final has a draft of its own."""
    named = final_id(job_id)
    granted = (extra.get(name) for name in (named, draft_id(named)))
    return max((each.takes for each in granted if each), default=0)


def _another(job: Job, take: int) -> Job:
    return job._replace(
        take=take,
        key=job_key(job.endpoint, job.arguments, take),
        # Where `{suffix}` of a path template puts a take, and unique where it has none.
        path=job.path.replace("{output}", f"{take_suffix(take)}{{output}}"),
    )


def limited(plan: Plan, limit: int | None, option: str = "") -> Plan:
    """The plan with at most `limit` paid submissions; what is cut stays pending.

    `option`: which one cuts it, for people; `--limit` where none is named.
    """
    if limit is None:
        return plan
    kept: list[PlannedJob] = []
    paid: set[JobKey] = set()
    cut: set[JobKey] = set()
    for item in plan.items:
        key = item.job.key
        if item.action is Action.SUBMIT and key not in paid:
            orphan = any(parent.key in cut for parent in parents(item.job.arguments))
            if orphan or len(paid) >= limit:
                cut.add(key)
                continue
            paid.add(key)
        kept.append(item)
    left_out = plan.left_out
    if cut_jobs := len(plan.items) - len(kept):
        left_out = (*left_out, LeftOut(option or f"--limit {limit}", cut_jobs))
    return Plan(tuple(kept), left_out)
