"""The plan of a job's manifest as it stands now, for `why` and `show`.

The manifest is the one that was typed, else the one of the last run of the job's batch, whose
command is read again. Where it cannot be read any more, the caller gets the run's own date instead.
Must not decide what a run would do: that is the plan.
"""

from __future__ import annotations

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
from kling_batch.ledger.names import LedgerJob, of_several
from kling_batch.ledger.queries import PastRun, runs_about
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.trial import is_trial
from kling_batch.planning.plan import Plan, PlannedJob
from kling_batch.report.history import Current
from kling_batch.settings import RunOptions


class TypedPlan:
    """The plan of the manifests that were typed, which say first what a job's name means."""

    def __init__(self, manifests: Sequence[Path], places: Mapping[str, Any], ledger: Path) -> None:
        """Load and plan them.

        Raises:
            ManifestError: one of them has problems.
        """
        batches = load_manifests(manifests, (), warn=False)
        self._sources = _sources(batches)
        self._items = _plan(batches, _options(places, ledger)).items

    def find(self, word: str) -> PlannedJob | None:
        """The job that `word` names; None where these manifests have none.

        Raises:
            UsageError: several have one.
        """
        found = [item for item in self._items if word in (item.job.label, ledger_name(item))]
        if len(found) > 1:
            raise of_several(word, map(ledger_name, found))
        return found[0] if found else None

    def missing(self, word: str) -> UsageError:
        """That neither a manifest nor the ledger has it, with the nearest name."""
        hint = nearest(word, (item.job.label for item in self._items))
        return UsageError(f"no job {word!r} in {self._sources}" + (f"; {hint}" if hint else ""))

    def current_of(self, job: LedgerJob, planned: PlannedJob | None) -> Current:
        """What these manifests say about a job of the ledger; `planned`: what `find` has found."""
        if planned is not None:
            return _stands(planned, self._sources)
        return _current(job, self._items, self._sources)


def current_of(reader: Reader, job: LedgerJob) -> Current:
    """What the manifest of the last run says about the job now, or as of when the ledger speaks."""
    runs = list(runs_about(reader, job.batch))
    if not runs:
        return Current(as_of="as the ledger has it: no run has been about it")
    # Others are about what the ledger has (`verify --repair`), or are single shots.
    run = next((run for run in runs if run.of_manifests), runs[0])
    as_of = f"as of run {run.id} of {run.started_at}"
    try:
        batches, options = _read_again(run, reader.path)
        return _current(job, _plan(batches, options).items, _sources(batches))
    except _UnreadableError as reason:
        return Current(as_of=f"{as_of}: {reason}")


def ledger_name(item: PlannedJob) -> str:
    """The name of a job with its batch, as `ledger.names.find` takes it."""
    return f"{item.job.batch}/{item.job.label}"


def _sources(batches: Sequence[Batch]) -> str:
    return ", ".join(dict.fromkeys(batch.source for batch in batches))


def _options(places: Mapping[str, Any], ledger: Path) -> RunOptions:
    """The options with this ledger, and with the service that it belongs to."""
    options = options_of({**places})._replace(ledger=ledger)
    if not is_trial(ledger):
        return options
    return options._replace(emulator="", output=options.output or ledger.parent)


class _UnreadableError(Exception):
    """The command of an earlier run cannot be read again."""


def _read_again(run: PastRun, ledger: Path) -> tuple[Sequence[Batch], RunOptions]:
    """The manifests and options of an earlier run, read as they are now."""
    root = click.get_current_context().find_root()
    group = root.command
    command = group.get_command(root, "run") if isinstance(group, click.Group) else None
    if not run.of_manifests or command is None:
        raise _UnreadableError("no manifest has it")
    try:
        values = command.make_context("run", run.words[2:]).params
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


def _current(job: LedgerJob, items: Sequence[PlannedJob], sources: str) -> Current:
    for item in items:
        if (item.job.batch, item.job.id, item.job.take) == (job.batch, job.id, job.take):
            return _stands(item, sources)
    return Current(as_of=f"{sources} does not have it now", dropped=True)


def _stands(item: PlannedJob, sources: str) -> Current:
    return Current(planned=item, as_of=f"as {sources} stands now")


def _plan(batches: Sequence[Batch], options: RunOptions) -> Plan:
    """The plan of everything, as a run without a selection would make it."""
    whole: dict[str, Any] = {"limit": None, "collect": False, "retry_failed": False}
    whole["schemas"] = False  # nothing is paid for
    return operations.plan_run(batches, options._replace(**whole)).plan
