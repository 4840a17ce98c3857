"""The plan of a job's manifest as it stands now, for `why` and `show`.

The manifest is the one that was typed, else the one of the last run of the job's batch, whose
command is read again. Where it cannot be read any more, the caller gets the run's own date instead.
Must not decide what a run would do: that is the plan.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.manifests import load_manifests
from kling_batch.cli.options import options_of
from kling_batch.core.diagnostics import nearest
from kling_batch.core.jobs import Batch
from kling_batch.errors import KlingBatchError, ManifestError, UsageError
from kling_batch.ledger.names import LedgerJob
from kling_batch.ledger.queries import LastRun, last_run
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.trial import is_trial
from kling_batch.planning.plan import Plan, PlannedJob
from kling_batch.report.history import Current
from kling_batch.settings import RunOptions


def current_of(
    reader: Reader, job: LedgerJob, manifests: Sequence[Path], places: Mapping[str, Any]
) -> Current:
    """What the manifest says about the job now, or as of which run the ledger speaks.

    Raises:
        ManifestError: a manifest that was typed has problems.
    """
    if manifests:
        options = _options(places, reader.path)
        return _current(job, load_manifests(manifests, (), warn=False), options)
    run = last_run(reader, job.batch)
    if run is None:
        return Current(as_of="as the ledger has it: no run has been about it")
    as_of = f"as of run {run.id} of {run.started_at}"
    try:
        batches, options = _read_again(run, reader.path)
        return _current(job, batches, options)
    except _UnreadableError as reason:
        return Current(as_of=f"{as_of}: {reason}")


def new_job(
    word: str, manifests: Sequence[Path], places: Mapping[str, Any], ledger: Path
) -> PlannedJob:
    """The job of these manifests that `word` names, where the ledger does not know it yet.

    Raises:
        UsageError: they have none of this name.
    """
    batches = load_manifests(manifests, (), warn=False)
    items = _plan(batches, _options(places, ledger)).items
    for item in items:
        if word in (item.job.label, _full(item)):
            return item
    hint = nearest(word, (item.job.label for item in items))
    raise UsageError(f"no job {word!r} in {_sources(batches)}" + (f"; {hint}" if hint else ""))


def _sources(batches: Sequence[Batch]) -> str:
    return ", ".join(dict.fromkeys(batch.source for batch in batches))


def _options(places: Mapping[str, Any], ledger: Path) -> RunOptions:
    """The options with this ledger, and with the service that it belongs to."""
    options = options_of({**places})._replace(ledger=ledger)
    if not is_trial(ledger):
        return options
    return options._replace(emulator="", output=options.output or ledger.parent)


def _full(item: PlannedJob) -> str:
    return f"{item.job.batch}/{item.job.label}"


class _UnreadableError(Exception):
    """The command of an earlier run cannot be read again."""


def _read_again(run: LastRun, ledger: Path) -> tuple[Sequence[Batch], RunOptions]:
    """The manifests and options of an earlier run, read as they are now."""
    root = click.get_current_context().find_root()
    group, words = root.command, shlex.split(run.command)
    command = group.get_command(root, "run") if isinstance(group, click.Group) else None
    if words[1:2] != ["run"] or command is None:
        raise _UnreadableError("no manifest has it")
    try:
        values = command.make_context("run", words[2:]).params
        manifests: tuple[Path, ...] = values["manifests"]
        missing = [str(path) for path in manifests if not path.exists()]
        if missing:
            raise _UnreadableError(f"{', '.join(missing)} is not here")
        batches = load_manifests(manifests, values["variables"], warn=False)
    except click.ClickException as error:
        raise _UnreadableError(error.format_message()) from error
    except ManifestError as error:
        raise _UnreadableError(f"the manifest has problems now: {error.problems[0]}") from error
    except KlingBatchError as error:
        raise _UnreadableError(str(error)) from error
    return batches, options_of(values)._replace(ledger=ledger)


def _current(job: LedgerJob, batches: Sequence[Batch], options: RunOptions) -> Current:
    sources = _sources(batches)
    for item in _plan(batches, options).items:
        if (item.job.batch, item.job.id, item.job.take) == (job.batch, job.id, job.take):
            return Current(planned=item, as_of=f"as {sources} stands now")
    return Current(as_of=f"{sources} does not have it now", dropped=True)


def _plan(batches: Sequence[Batch], options: RunOptions) -> Plan:
    """The plan of everything, as a run without a selection would make it."""
    whole: dict[str, Any] = {"limit": None, "collect": False, "retry_failed": False}
    whole["schemas"] = False  # nothing is paid for
    return operations.plan_run(batches, options._replace(**whole)).plan
