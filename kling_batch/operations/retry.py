"""Permission for another paid attempt at a job, or for another take; the next run makes it."""

from __future__ import annotations

from collections.abc import Sequence

from kling_batch.core.lifecycle import State, status_of
from kling_batch.core.records import Standing
from kling_batch.errors import UsageError
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.names import LedgerJob, all_named, find
from kling_batch.ledger.overrides import grant_retries, grant_take
from kling_batch.ledger.queries import runs_about
from kling_batch.planning.retry import is_rendered, to_change

_ENDED = (State.FAILED, State.CANCELLED)


def allow_retries(ledger: Ledger, names: Sequence[str] | None) -> list[str]:
    """Allow another attempt at these jobs; a message for each.

    Args:
        ledger: gets the permissions.
        names: of jobs, as people type them; None: every failed or cancelled one, but for finished
            renders whose files are gone: those are named one by one.

    Raises:
        UsageError: no such job, or one that has not failed.
    """
    standings = ledger.standings()
    if names is None:
        failed = {
            key
            for key, standing in standings.items()
            if standing.state in _ENDED and not is_rendered(standing.failure)
        }
        jobs = [job for job in all_named(ledger) if job.key in failed]
    else:
        jobs = [find(ledger, name) for name in names]
    wanted = {job.key: job for job in jobs}  # two names of one render are one permission
    for key, job in wanted.items():
        standing = standings.get(key)
        state = standing.state if standing else None
        if state is not State.RENDERED and state not in _ENDED:
            status = "not submitted yet" if standing is None else _status(ledger, standing)
            lost = "; a lost file is fetched again by the next run, or given up after it"
            raise UsageError(
                f"{job.label} is {status}; only failed jobs are retried"
                + (lost if state is State.SUCCEEDED else "")
            )
        if state is not State.RENDERED:
            _must_be_in_a_manifest(job)
    grant_retries(ledger, [standings[key].attempt_id for key in wanted])
    return [_allowed(job, standings[key]) for key, job in wanted.items()]


def _status(ledger: Ledger, standing: Standing) -> str:
    return status_of(standing.state, ledger.attempt(standing.attempt_id).remote_status)


def _allowed(job: LedgerJob, standing: Standing) -> str:
    if job.gone:
        return f"{job.label}: its files are given up"
    change = to_change(standing.failure)
    hint = f", which fal would refuse again: change {change} first" if change else ""
    return f"{job.label}: the next run pays for another attempt{hint}"


def allow_take(ledger: Ledger, name: str) -> str:
    """Ask for one more take of a job; the message for the person.

    Raises:
        UsageError: no such job, or one that is in no manifest.
    """
    job = find(ledger, name)
    _must_be_in_a_manifest(job)
    runs = list(runs_about(ledger, job.batch))
    if runs and not any(run.of_manifests for run in runs):
        raise UsageError(
            f"{job.label} was made by `kling-batch {job.batch}`, which has no next run; the same "
            f"command with --take {job.take + 1} pays for another take"
        )
    take = grant_take(ledger, job.batch, job.id)
    return f"{job.id}: the next run pays for take {take}"


def _must_be_in_a_manifest(job: LedgerJob) -> None:
    if job.gone:
        raise UsageError(f"{job.label} is in no manifest any more: no run pays for it")
