"""`kling-batch show` and `why`: one job of the ledger as text or JSON, also during a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from kling_batch.cli.current import TypedPlan, current_of, ledger_name
from kling_batch.cli.ledgers import ledger_of_manifests
from kling_batch.cli.options import JOB, PATH, ledger_options
from kling_batch.errors import ExitCode, KlingBatchError, UsageError
from kling_batch.ledger.names import LedgerJob, find
from kling_batch.ledger.reader import Reader
from kling_batch.planning.plan import PlannedJob
from kling_batch.report.display.page import Page
from kling_batch.report.history import Current, as_data, history, why_new
from kling_batch.report.history import why as explain

_MANIFESTS = click.argument("manifests", nargs=-1, type=PATH, metavar="[MANIFEST...]")


@click.command(epilog="Example: kling-batch show hero-clip")
@JOB
@_MANIFESTS
@ledger_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document")
def show(job: str, manifests: tuple[Path, ...], *, as_json: bool, **places: Any) -> int:
    """Show the history of a job: attempts, costs, files.

    What comes next is said of MANIFEST as it stands now; without one, of that of the last run.
    """
    try:
        with _known(job, manifests, places) as (reader, named, current):
            if as_json:
                document = as_data(reader, named, current)
                click.echo(json.dumps(document, ensure_ascii=False, indent=2))
            else:
                _write(history(reader, named, current))
    except _NewJobError as new:
        label = new.planned.job.label
        raise UsageError(f"{label} has no history yet: no run has submitted it") from new
    return ExitCode.OK


@click.command(epilog="Example: kling-batch why hero-clip")
@JOB
@_MANIFESTS
@ledger_options
def why(job: str, manifests: tuple[Path, ...], **places: Any) -> int:
    """Explain what the next run would do with a job.

    Also why, and what has changed about it, of MANIFEST as it stands now; without one, of that of
    the last run.
    """
    try:
        with _known(job, manifests, places) as (reader, named, current):
            lines = explain(reader, named, current)
    except _NewJobError as new:
        lines = why_new(new.planned)
    _write(lines)
    return ExitCode.OK


class _NewJobError(Exception):
    """The typed manifests have the job, and the ledger has no render of it."""

    def __init__(self, planned: PlannedJob) -> None:
        super().__init__(planned.job.label)
        self.planned = planned


@contextmanager
def _known(
    word: str, manifests: Sequence[Path], places: Mapping[str, Any]
) -> Iterator[tuple[Reader, LedgerJob, Current]]:
    """The job in the ledger that `word` names, in the typed manifests before all others."""
    ledger = ledger_of_manifests(manifests, places)
    if not manifests:
        with Reader.open(ledger) as reader:
            named = find(reader, word)
            yield reader, named, current_of(reader, named)
        return
    typed = TypedPlan(manifests, places, ledger)
    planned = typed.find(word)
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(Reader.open(ledger))
            named = _find_planned(reader, planned) if planned else find(reader, word)
        except KlingBatchError as error:
            raise (_NewJobError(planned) if planned else typed.missing(word)) from error
        yield reader, named, typed.current_of(named, planned)


def _find_planned(reader: Reader, planned: PlannedJob) -> LedgerJob:
    """By its name; where no run had this manifest yet, by the render that it names."""
    try:
        return find(reader, ledger_name(planned))
    except UsageError:
        if not reader.attempts_of(planned.job.key):
            raise
        return find(reader, planned.job.key)


def _write(lines: Iterable[str]) -> None:
    """Lines folded to the terminal, continuation lines below what they belong to."""
    page = Page.standard()
    for line in lines:
        hang = len(line) - len(line.lstrip()) + 2
        page.write(page.folded(line, hang=hang))
