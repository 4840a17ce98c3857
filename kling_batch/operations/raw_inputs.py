"""Inputs of `endpoint:` jobs held against fal's own schemas before they are paid for.

Schemas are public: they are asked for without the key, and kept beside the ledger. A schema that
cannot be had is a warning, never an error. Must not pay, and must not change any job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import attrgetter

from kling_batch.core.diagnostics import Collector, summary
from kling_batch.core.jobs import JSON, Batch, Job
from kling_batch.core.outcomes import Unread
from kling_batch.errors import KlingBatchError, ManifestError, Problem, UsageError
from kling_batch.operations.kept_schemas import KeptSchema, KeptSchemas
from kling_batch.operations.services import gateway_of, now
from kling_batch.planning.plan import Plan, is_paid
from kling_batch.settings import RunOptions, Settings, resolve

#: Seconds for one schema; then its jobs are not checked.
PATIENCE = 10.0

Gateway = Callable[[], str | None]


def check_payments(
    plan: Plan, batches: Sequence[Batch], settings: Settings, gateway: Gateway
) -> tuple[str, ...]:
    """Warnings about the `endpoint:` jobs that this plan pays for.

    Raises:
        ManifestError: fal's schema does not take the input of one of them.
    """
    jobs = [item.job for item in plan.items if is_paid(item) and not item.job.mode]
    if not jobs or not settings.options.schemas:
        return ()
    return tuple(map(str, _checked(jobs, batches, settings, gateway)))


def check_raw_inputs(batches: Sequence[Batch], options: RunOptions) -> tuple[Problem, ...]:
    """Warnings about all `endpoint:` jobs of these manifests.

    Raises:
        ManifestError: fal's schema does not take the input of one of them.
    """
    jobs = [job for batch in batches for job in batch.jobs if not job.mode]
    if not jobs or not options.schemas:
        return ()
    try:
        settings = resolve(batches, options)
    except UsageError:  # several output folders: a matter of runs
        settings = resolve(batches[:1], options)
    return _checked(jobs, batches, settings, None)


def _checked(
    jobs: Sequence[Job], batches: Sequence[Batch], settings: Settings, gateway: Gateway | None
) -> tuple[Problem, ...]:
    ordered = sorted(jobs, key=attrgetter("endpoint"))
    by_endpoint = {name: list(each) for name, each in groupby(ordered, attrgetter("endpoint"))}
    ask = None if settings.options.offline else partial(_ask, settings, gateway)
    kept = KeptSchemas(settings.ledger, settings.service, now).of(list(by_endpoint), ask)
    located = {batch.name: batch.place_of for batch in batches}
    problems = Collector()
    for name, schema in kept.items():
        for job, found in _findings(name, schema, by_endpoint[name]):
            place = located[job.batch]
            problems.errors += [each.at(place(job, each.path)) for each in found.errors]
            problems.warnings += [each.at(place(job, each.path)) for each in found.warnings]
    if problems.errors:
        raise ManifestError(summary(problems.errors))
    return summary(problems.warnings)


def _findings(
    endpoint: str, kept: KeptSchema, jobs: Sequence[Job]
) -> Iterator[tuple[Job, Collector]]:
    """What is wrong with each job's input, and once that the schema is missing, or is old."""
    # For these jobs alone, which few batches have.
    from kling_batch.catalog.conformance import conformity  # noqa: PLC0415
    from kling_batch.catalog.openapi import input_as_written  # noqa: PLC0415

    schema = input_as_written(kept.document, endpoint)
    once = Collector()
    if schema is None:
        why = kept.unread or "the document describes no input"
        message = f"the input of {endpoint} is not checked: fal's schema cannot be read: {why}"
        once.warn((), message, "unchecked")
        yield jobs[0], once
        return
    aged = f"{endpoint} is held against fal's schema of {kept.date}: {kept.unread}"
    for job in jobs:
        found = conformity(endpoint, schema, job.arguments)
        for group in (found.errors, found.warnings):
            words = f", by fal's schema of {kept.date}"
            group[:] = [replace(each, message=each.message + words) for each in group]
        if kept.unread:  # it may have changed since
            found.errors, found.warnings = [], [*found.errors, *found.warnings]
        if kept.unread and found.warnings and not once.warnings:
            # Only beside a finding: where every input fits, there is nothing to say.
            once.warn((), aged, "unchecked")
            yield job, once
        yield job, found


def _ask(
    settings: Settings, gateway: Gateway | None, endpoints: Sequence[str]
) -> Mapping[str, JSON | Unread]:
    # The client of fal loads where it is asked.
    from kling_batch.operations.own_loop import in_own_loop  # noqa: PLC0415
    from kling_batch.operations.schema_reads import read_schemas  # noqa: PLC0415

    try:
        with nullcontext(gateway()) if gateway else gateway_of(settings) as address:
            return in_own_loop(partial(read_schemas, address, endpoints, PATIENCE))
    except KlingBatchError as error:  # a proxy, an emulator in use: no reason not to go on
        return dict.fromkeys(endpoints, Unread(str(error)))
