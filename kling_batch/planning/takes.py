"""Takes that a person asked for beyond the manifest's (`reroll`), as jobs like any other. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from kling_batch.core.jobs import Batch, Job, job_key


def with_extra_takes(batch: Batch, extra: Mapping[str, int]) -> Batch:
    """The batch with `extra[id]` takes of a job where the manifest has fewer."""
    if not extra:
        return batch
    return replace(batch, jobs=tuple(_grown(batch.jobs, extra)))


def _grown(jobs: tuple[Job, ...], extra: Mapping[str, int]) -> Iterator[Job]:
    most: dict[str, int] = {}
    for job in jobs:
        most[job.id] = max(most.get(job.id, 0), job.take)
    first = {job.id: job for job in reversed(jobs) if job.take == 1}
    for job in jobs:
        yield job
        if job.take != most[job.id] or job.id not in first:
            continue
        for take in range(job.take + 1, extra.get(job.id, 0) + 1):
            yield _another(first[job.id], take)


def _another(job: Job, take: int) -> Job:
    return job._replace(
        take=take,
        key=job_key(job.endpoint, job.arguments, take),
        # Where `{suffix}` of a path template puts a take, and unique where it has none.
        path=job.path.replace("{output}", f"-t{take}{{output}}"),
    )
