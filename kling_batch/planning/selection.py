"""Which jobs of a batch a run is about: `--only`, `--exclude`, `--tag`.

Must not know plans or ledgers; leaving a job out never changes another one's key. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from kling_batch.catalog.parameters import nearest
from kling_batch.core.jobs import Batch, Job, parents
from kling_batch.errors import Problem

_Name = tuple[str, int]


def select(
    batch: Batch,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    tags: Collection[str] = (),
) -> Batch:
    """The jobs whose id (or `id#take`) fits a glob of `only` and none of `exclude`, with a tag.

    What the chosen ones need is taken along, with a warning that says so, unless it is excluded.
    """
    excluded = {_name(job) for job in batch.jobs if _fits(job, exclude)}
    chosen = {
        _name(job): job
        for job in batch.jobs
        if _name(job) not in excluded
        and (not only or _fits(job, only))
        and (not tags or not set(tags).isdisjoint(job.tags))
    }
    needed, notes = _needed(batch, chosen, excluded)
    kept = tuple(job for job in batch.jobs if _name(job) in chosen or _name(job) in needed)
    misses = list(_misses(batch, "--only", only)) + list(_misses(batch, "--exclude", exclude))
    return replace(batch, jobs=kept, warnings=(*batch.warnings, *notes, *misses))


def _needed(
    batch: Batch, chosen: Collection[_Name], excluded: Collection[_Name]
) -> tuple[set[_Name], list[Problem]]:
    """Parents, and theirs, that nobody chose; children come after them in a batch."""
    needed: set[_Name] = set()
    notes: dict[_Name, Problem] = {}
    for job in reversed(batch.jobs):
        if _name(job) not in chosen and _name(job) not in needed:
            continue
        for need in parents(job.arguments):
            parent = (need.job_id, need.take)
            if parent in excluded:
                message = f"`{job.label}` needs `{need.job_id}`, which is excluded"
                hint = "it waits, unless that one is done already"
                notes[parent] = Problem(job.place, message, "parent-excluded", hint)
            elif parent not in chosen and parent not in needed:
                needed.add(parent)
                message = f"`{need.job_id}` is taken along: `{job.label}` needs its output"
                notes[parent] = Problem(job.place, message, "parent-taken-along")
    return needed, list(reversed(notes.values()))


def _misses(batch: Batch, flag: str, globs: Sequence[str]) -> Iterator[Problem]:
    for glob in globs:
        if not any(_fits(job, (glob,)) for job in batch.jobs):
            hint = nearest(glob, [job.id for job in batch.jobs[:2000]])
            place = batch.jobs[0].place._replace(line=0, column=0, cell="") if batch.jobs else None
            if place is not None:
                yield Problem(place, f"{flag} {glob} fits no job", "no-match", hint)


def _fits(job: Job, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(job.id, glob) or fnmatchcase(job.label, glob) for glob in globs)


def _name(job: Job) -> _Name:
    return job.id, job.take
