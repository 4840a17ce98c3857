"""Forecast for one job: what the next run would do, from the ledger and the disk.

Asks `plan.make_plan`, as every run does, so that what is shown of the next payment cannot differ
from it. Reads only; knows no manifest, and says where one may decide otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from kling_batch.core.jobs import JSON, Job, JobKey, OutputOf, draft_id
from kling_batch.core.records import Standing
from kling_batch.errors import UsageError
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.names import LedgerJob, find, job_of
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import latest_verdicts
from kling_batch.output.store import OutputStore
from kling_batch.planning.plan import OnDisk, PlannedJob, make_plan
from kling_batch.planning.prospects import ENDLESS
from kling_batch.planning.verdicts import Review
from kling_batch.settings import DEFAULT_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Outlook:
    """The decision, and whether it hangs on how many attempts the manifest allows."""

    planned: PlannedJob
    standing: Standing | None
    by_limit: bool


def outlook(reader: Reader, job: LedgerJob) -> Outlook:
    """What a run with the default limit of attempts would do with the job."""
    standings = reader.standings()
    jobs, review = _reviewed(reader, _family(reader, job))
    on_disk = partial(_on_disk, reader, standings)

    def decided(attempts: int) -> PlannedJob:
        plan = make_plan(jobs, standings, on_disk=on_disk, attempts=attempts, review=review)
        return plan.items[-1]

    fewest, most = decided(1), decided(ENDLESS)
    return Outlook(
        planned=decided(DEFAULT_ATTEMPTS),
        standing=standings.get(job.key),
        by_limit=fewest.action is not most.action,
    )


def _family(reader: Reader, named: LedgerJob) -> list[Job]:
    """The jobs whose outputs this one needs, parents before their children, itself at the end."""
    found: dict[JobKey, Job] = {}

    def visit(named: LedgerJob) -> None:
        job = job_of(named)
        needs = dict.fromkeys(_needs(job.arguments))
        known = {key: parent for key in needs if (parent := _named(reader, key)) is not None}
        for key, parent in known.items():
            if key not in found:
                visit(parent)
        # References as in a plan: by key, under the name in the manifest.
        outputs = [
            OutputOf(key=key, job_id=known[key].id if key in known else key, take=1)
            for key in needs
        ]
        found[named.key] = job._replace(arguments={"needs": outputs})

    visit(named)
    return list(found.values())


def _reviewed(reader: Reader, jobs: list[Job]) -> tuple[list[Job], Review]:
    """The jobs with the ids of their drafts, and the verdicts on all takes of their batches."""
    takes = [
        jobs[-1]._replace(batch=batch, id=job_id, take=take, key=key)
        for batch in {job.batch for job in jobs}
        for (job_id, take), (key, *_) in reader.current_names(batch).items()
    ]
    drafts = {(take.batch, take.id) for take in takes}
    finals = [
        job._replace(draft=draft_id(job.id)) if (job.batch, draft_id(job.id)) in drafts else job
        for job in jobs
    ]
    return finals, Review(takes, latest_verdicts(reader), command_on(reader.path, "review"))


def _needs(value: JSON) -> Iterator[JobKey]:
    """The jobs whose outputs these arguments refer to, as the ledger spells it."""
    if isinstance(value, dict):
        if isinstance(output := value.get("$output"), list):
            yield JobKey(output[0])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _needs(item)


def _named(reader: Reader, key: JobKey) -> LedgerJob | None:
    try:
        return find(reader, key)
    except UsageError:
        return None  # it has no name any more; its standing is known all the same


def _on_disk(reader: Reader, standings: dict[JobKey, Standing], job: Job) -> OnDisk:
    """Whether each output of a succeeded job is on the disk under one of its names."""
    store = OutputStore({}, reader.path.parent)
    placed = standings[job.key].placed
    here = {index for index, _, path, size in placed if store.size(store.located(path)) == size}
    return OnDisk.HERE if placed and here == {index for index, *_ in placed} else OnDisk.MISSING
