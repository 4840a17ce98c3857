"""Consistency check of ledger and files: keys, transitions, sums and digests, derived again.

`repair.py` downloads what is missing. Must not write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kling_batch.core.command_line import Command
from kling_batch.core.jobs import keyed
from kling_batch.core.lifecycle import OPEN, Event, IllegalTransitionError, State, step
from kling_batch.core.recipes import has_changed_input
from kling_batch.core.records import AttemptCheck, File, RenditionRow
from kling_batch.ledger import queries
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.renditions import current_renditions
from kling_batch.output.store import OutputStore, sidecar_of


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference from what the ledger says."""

    subject: str
    message: str
    #: The attempt whose files can be fetched again, or None.
    repairable: int | None = None
    #: It is about a rendition, which can be made again.
    rendition: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """How much was checked, and every finding."""

    jobs: int
    attempts: int
    files: int
    renditions: int
    findings: tuple[Finding, ...]


def verify_ledger(reader: Reader, store: OutputStore) -> Verdict:
    """Derive everything that can be derived and compare."""
    files = [file for found in reader.files().values() for file in found]
    renditions = [row for _, row in current_renditions(reader)]
    attempts = queries.attempt_checks(reader)
    adopted = {attempt.id for attempt in attempts if attempt.origin == "adopted"}
    findings = [*_keys(reader), *_histories(reader, attempts), *_sums(reader, attempts)]
    jobs = queries.job_count(reader)
    # A long snapshot keeps a concurrent run from truncating its write-ahead log.
    reader.end_snapshot()
    findings += _files(files, adopted, store)
    findings += _renditions(renditions, store, command_on(reader.path, "renditions"))
    return Verdict(jobs, len(attempts), len(files), len(renditions), tuple(findings))


def _keys(reader: Reader) -> Iterator[Finding]:
    for job in queries.job_sources(reader):
        if keyed(job.endpoint, job.arguments, job.take) != job.key:
            yield Finding(job.key, "the key does not fit endpoint, arguments and take")


def _histories(reader: Reader, attempts: Sequence[AttemptCheck]) -> Iterator[Finding]:
    """Every attempt's events must lead, by legal steps, to the state it is in."""
    states: dict[int, State | None] = {}
    for attempt_id, event, to_state in queries.event_checks(reader):
        try:
            now = State(to_state)
        except ValueError:
            yield Finding(f"attempt {attempt_id}", f"{event} led to {to_state}, which is no state")
            states[attempt_id] = None
            continue
        try:
            after = step(states.get(attempt_id), Event(event))
        except (IllegalTransitionError, ValueError) as error:
            yield Finding(f"attempt {attempt_id}", f"an impossible history: {error}")
            after = now
        if after != now:
            yield Finding(f"attempt {attempt_id}", f"{event} led to {to_state}")
        states[attempt_id] = now
    for attempt in attempts:
        if states.get(attempt.id) != attempt.state:
            message = f"is {attempt.state}, its events say otherwise"
            yield Finding(f"attempt {attempt.id}", message)


def _sums(reader: Reader, attempts: Sequence[AttemptCheck]) -> Iterator[Finding]:
    """The sums of every report, computed a second way."""
    charged = exposed = 0
    for attempt in attempts:
        if attempt.origin == "adopted":
            continue
        if attempt.state in ("rendered", "succeeded") or attempt.charged == "yes":
            charged += attempt.estimate if attempt.cost is None else attempt.cost
        elif attempt.state in OPEN or attempt.charged == "unknown":
            exposed += attempt.estimate
    money = reader.money()
    if (charged, exposed) != (money.charged, money.exposed):
        totals = f"charged {money.charged}, exposed {money.exposed}"
        yield Finding("money", f"{totals}; derived {charged} and {exposed} micro-USD")


def _files(files: list[File], adopted: set[int], store: OutputStore) -> Iterator[Finding]:
    for file in files:
        repair = None if file.superseded or file.attempt_id in adopted else file.attempt_id
        try:
            message = _difference(file, store)
            if not message and repair is not None:
                message = _sidecar_difference(file, store)
        except OSError as error:
            # It may be intact: never downloaded again before it could be read.
            yield Finding(file.path, f"cannot be read: {error.strerror or error}")
            continue
        if message:
            yield Finding(file.path, message, repair)


def _renditions(rows: list[RenditionRow], store: OutputStore, make: Command) -> Iterator[Finding]:
    for row in rows:
        try:
            message = row.failure or "not made"
            if row.sha256 is not None:
                message = _difference(row, store)
        except OSError as error:
            message = f"cannot be read: {error.strerror or error}"
        if message:
            again = f"`{make}` makes it again"
            if has_changed_input(row.failure):
                again = "correct the recipe first"
            yield Finding(row.path, f"{message}; {again}", rendition=True)


def _sidecar_difference(file: File, store: OutputStore) -> str:
    """How the record beside a file is not the one that was written; nothing where it is."""
    at = store.located(file.path)
    if store.sidecar(at, file.sha256):
        return ""
    missing = store.size(sidecar_of(at)) is None
    return f"the sidecar beside it is {'missing' if missing else 'not its record'}"


def _difference(file: File | RenditionRow, store: OutputStore) -> str:
    """How the file differs from what was saved; nothing where it does not."""
    at = store.located(file.path)
    size = store.size(at)
    if size is None:
        return "missing"
    if size != file.size:
        return f"{size} bytes instead of {file.size}"
    return "" if store.digest(at) == file.sha256 else "the content has changed since it was saved"
