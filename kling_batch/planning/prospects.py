"""Prospects of what a verdict may concern: what the next run does with each of these jobs.

Asks `plan.make_plan` with the verdicts on all takes, as every run does, so that a message about a
verdict cannot differ from the plan. Reads the ledger only, and knows no manifest.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from kling_batch.core.jobs import (
    JSON,
    Batch,
    Job,
    JobKey,
    OutputOf,
    awaited_job,
    draft_id,
    final_id,
    is_unpicked,
    keyed,
    parents,
    unpicked_key,
)
from kling_batch.core.memory import gc_paused
from kling_batch.core.verdicts import VerdictRow
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.names import awaiting_picks, jobs_beside
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import latest_verdicts
from kling_batch.planning.plan import OnDisk, PlannedJob, make_plan
from kling_batch.planning.verdicts import Review, with_picks
from kling_batch.settings import DEFAULT_ATTEMPTS

#: More attempts than any manifest allows.
ENDLESS = 1_000_000

Name = tuple[str, str, int]
"""Batch, job id and take."""


class Prospect(NamedTuple):
    """The plan's decision, and whether it hangs on how many attempts the manifest allows."""

    planned: PlannedJob
    by_limit: bool


class Concerned:
    """Every final and pick that some takes decide, and what needs them; names are read once."""

    def __init__(self, reader: Reader, judged: Collection[JobKey]) -> None:
        """`judged`: takes under a current name; drafts, finals, or takes without review."""
        with gc_paused():
            beside = jobs_beside(reader, judged)
            self._families = {(job.batch, final_id(job.id)) for job in beside if job.key in judged}
            self._batches: list[Batch] = []
            for name, found in _by_batch(beside).items():
                _take_picks_back(found, awaiting_picks(reader, name))
                ordered = tuple(_ordered([_with_draft(job, found) for job in found.values()]))
                self._batches.append(Batch(name=name, source="", jobs=ordered, unpicked=True))

    def prospects(self, reader: Reader) -> dict[Name, Prospect]:
        """What becomes of each, by the verdicts and attempts that this reader sees."""
        verdicts = latest_verdicts(reader)
        with gc_paused():
            jobs = [job for each in self._batches for job in with_picks(each, verdicts).jobs]
            return _decided(reader, jobs, _concerned(jobs, self._families), verdicts)


def _by_batch(jobs: Sequence[Job]) -> dict[str, dict[tuple[str, int], Job]]:
    found: dict[str, dict[tuple[str, int], Job]] = {}
    for job in jobs:
        arguments = _with_outputs(job.arguments)
        found.setdefault(job.batch, {})[job.id, job.take] = job._replace(arguments=arguments)
    return found


def _take_picks_back(
    found: dict[tuple[str, int], Job],
    awaiting: Mapping[tuple[str, int], Sequence[tuple[str, str]]],
) -> None:
    """Give jobs that a pick has given their source the reference that waits for a pick again.

    The ledger has them with the take that was picked; the next pick makes another render of them.
    """
    takes: dict[str, list[Job]] = {}
    for job in found.values():
        takes.setdefault(job.id, []).append(job)
    for name in awaiting.keys() & found.keys():
        job = found[name]
        for endpoint, stored in awaiting[name]:
            if job.key in _once_picked(endpoint, stored, job.take, takes):
                arguments = _with_outputs(json.loads(stored))
                key = keyed(endpoint, stored, job.take)
                found[name] = job._replace(arguments=arguments, key=key)


def _once_picked(
    endpoint: str, stored: str, take: int, takes: Mapping[str, Sequence[Job]]
) -> Iterator[JobKey]:
    """The keys that such a render has with each take of its source."""
    waiting = {need.key: need.job_id for need in parents(_with_outputs(json.loads(stored)))}
    for placeholder, source in waiting.items():
        for each in takes.get(source, ()) if is_unpicked(placeholder) else ():
            yield keyed(endpoint, stored.replace(f'"{placeholder}"', f'"{each.key}"'), take)


def _with_draft(job: Job, found: Mapping[tuple[str, int], Job]) -> Job:
    draft = draft_id(job.id)
    return job._replace(draft=draft) if (draft, job.take) in found or (draft, 1) in found else job


def _with_outputs(value: JSON) -> JSON:
    """The arguments with references to jobs as a plan has them; their keys stay the same."""
    if isinstance(value, dict):
        if isinstance(output := value.get("$output"), list) and len(output) == 2:
            key, index = output
            return OutputOf(key=JobKey(key), job_id=awaited_job(key), take=1, index=index)
        return {name: _with_outputs(item) for name, item in value.items()}
    return [_with_outputs(item) for item in value] if isinstance(value, list) else value


def _ordered(jobs: Sequence[Job]) -> list[Job]:
    """Drafts before their finals, and parents before their children."""
    by_key: dict[JobKey, list[Job]] = {}
    by_id: dict[str, list[Job]] = {}
    for job in jobs:
        by_key.setdefault(job.key, []).append(job)
        by_id.setdefault(job.id, []).append(job)
    done: dict[Name, Job] = {}

    def visit(job: Job) -> None:
        if _name(job) in done:
            return
        for need in parents(job.arguments):
            takes = by_id.get(need.job_id) if is_unpicked(need.key) else by_key.get(need.key)
            for parent in takes or ():
                visit(parent)
        for draft in by_id.get(job.draft, ()):
            visit(draft)
        done[_name(job)] = job

    for job in jobs:
        visit(job)
    return list(done.values())


def _concerned(jobs: Sequence[Job], families: Collection[tuple[str, str]]) -> set[Name]:
    """Finals of the judged jobs, and whatever needs them or the take that is picked of them."""
    found: set[Name] = set()
    keys: set[JobKey] = {unpicked_key(*family) for family in families}
    for job in jobs:  # parents before their children
        needs = parents(job.arguments)
        final = job.draft and (job.batch, job.id) in families
        if final or any(need.key in keys or _is_pick(need, job, families) for need in needs):
            found.add(_name(job))
            keys.add(job.key)
    return found


def _is_pick(need: OutputOf, job: Job, families: Collection[tuple[str, str]]) -> bool:
    return need.picked and (job.batch, need.job_id) in families


def _decided(
    reader: Reader,
    jobs: Sequence[Job],
    concerned: Collection[Name],
    verdicts: Mapping[JobKey, VerdictRow],
) -> dict[Name, Prospect]:
    planned = list(_with_needs(jobs, concerned))
    standings = reader.standings(job.key for job in planned)
    review = Review(jobs, verdicts, command_on(reader.path, "review"))

    def decided(attempts: int) -> dict[Name, PlannedJob]:
        # Files do not matter here: whatever is paid is downloaded for nothing.
        plan = make_plan(
            planned,
            standings,
            on_disk=lambda _: OnDisk.HERE,
            attempts=attempts,
            review=review,
        )
        return {_name(item.job): item for item in plan.items}

    fewest, usual, most = decided(1), decided(DEFAULT_ATTEMPTS), decided(ENDLESS)
    return {
        name: Prospect(usual[name], fewest[name].action is not most[name].action)
        for name in usual
        if name in concerned
    }


def _with_needs(jobs: Sequence[Job], concerned: Collection[Name]) -> Iterator[Job]:
    """These jobs with their drafts and all that they need, in the same order."""
    keys: set[JobKey] = set()
    drafts: set[Name] = set()
    chosen: list[Job] = []
    for job in reversed(jobs):
        if _name(job) in concerned or job.key in keys or _name(job) in drafts:
            keys.update(need.key for need in parents(job.arguments))
            drafts.add((job.batch, job.draft, job.take))
            chosen.append(job)
    return reversed(chosen)


def _name(job: Job) -> Name:
    return job.batch, job.id, job.take
