"""`open_ledger`: the jobs and costs of a ledger, to be read, also while a run is writing it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kling_batch.api.checks import StrPath, path_of, shown
from kling_batch.core.jobs import JobKey
from kling_batch.core.lifecycle import State
from kling_batch.core.locations import Location
from kling_batch.core.quantities import USD
from kling_batch.core.records import Attempt, Standing
from kling_batch.errors import UsageError
from kling_batch.ledger import names
from kling_batch.ledger.database import explained
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.trial import or_trial
from kling_batch.output.store import OutputStore
from kling_batch.report.made_values import value_in
from kling_batch.settings import DEFAULT_OUTPUT, LEDGER_NAME

#: State of a job that was never submitted.
PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerJob:
    """A job of a ledger with its latest attempt."""

    key: str
    batch: str
    id: str
    take: int
    #: The id, with `#2` for the second take.
    label: str
    #: `pending`, or the state of the latest attempt: `submitted`, `succeeded`, `failed`…
    state: str
    mode: str
    tier: str
    endpoint: str
    #: The parameters sent to fal; references to files and other jobs are by content and key.
    arguments: dict[str, Any]
    #: Upper estimate of one attempt.
    estimate: USD
    #: What the latest attempt cost, where that is known.
    cost: USD | None
    #: Of files on this machine.
    files: tuple[Path, ...]
    #: Addresses of files in an object store.
    objects: tuple[str, ...] = ()
    #: What it made in place of a file, such as the id of a voice; else empty.
    value: str = ""
    #: fal's id of the latest request.
    request_id: str | None
    #: Why the latest attempt failed; empty where it did not.
    error: str

    @property
    def prompt(self) -> str:
        """The prompt, or nothing."""
        return str(self.arguments.get("prompt") or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Totals of a ledger."""

    #: Known to be owed.
    charged: USD
    #: Possibly owed besides.
    exposed: USD


class LedgerView:
    """A ledger open for reading; all reads see the same state. A context manager.

    It is read in the thread that opened it, as SQLite demands, and until it is closed; else each
    method, and the iterator of `jobs`, raises a `KlingBatchError` that says what to do.
    """

    def __init__(self, reader: Reader) -> None:
        """Made by `open_ledger`."""
        self._opened = reader
        self._closed = False
        self._store = OutputStore({}, reader.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if not self._closed:
            with explained(self.path):
                self._opened.close()
            self._closed = True

    @property
    def path(self) -> Path:
        """The ledger file."""
        return self._opened.path

    @property
    def _reader(self) -> Reader:
        self._must_be_readable()
        return self._opened

    def _must_be_readable(self) -> None:
        if self._closed:
            raise UsageError(
                f"{self.path}: this ledger is closed; read inside its `with` block, and keep "
                "what is needed later: jobs = list(ledger.jobs())"
            )

    def jobs(self, *, state: str | None = None, batch: str | None = None) -> Iterator[LedgerJob]:
        """Every job under its current name, by batch, id and take.

        Args:
            state: only jobs in this state.
            batch: only jobs of this batch.

        Raises:
            UsageError: there is no such state.
        """
        if state is not None and state not in (PENDING, *State):
            known = ", ".join((PENDING, *State))
            raise UsageError(f"no state {state!r}; there are: {known}")
        self._must_be_readable()
        return self._jobs(state, batch)

    def _jobs(self, state: str | None, batch: str | None) -> Iterator[LedgerJob]:
        reader = self._reader
        standings = reader.standings()
        jobs = names.all_named(reader)
        for job in jobs:
            standing = standings.get(job.key)
            if batch not in (None, job.batch) or state not in (None, _state(standing)):
                continue
            yield self._job(job, standing)

    def job(self, name: str) -> LedgerJob:
        """One job, by its id, `id#take`, `batch/id` or key.

        Raises:
            UsageError: there is none of this name, or several.
        """
        if not isinstance(name, str):
            raise UsageError(f"name: {shown(name)} is no text")
        found = names.find(self._reader, name)
        return self._job(found, self._reader.standings([found.key]).get(found.key))

    def costs(self, *, batch: str | None = None) -> Costs:
        """What the renders of the ledger, or of one batch, cost."""
        money = self._reader.money(None if batch is None else (batch,))
        return Costs(charged=USD.of(money.charged), exposed=USD.of(money.exposed))

    def _job(self, job: names.LedgerJob, standing: Standing | None) -> LedgerJob:
        attempt = None if standing is None else self._reader.attempt(standing.attempt_id)
        located = self._located(attempt)
        return LedgerJob(
            key=JobKey(job.key),
            batch=job.batch,
            id=job.id,
            take=job.take,
            label=job.label,
            state=_state(standing),
            mode=job.mode,
            tier=job.tier,
            endpoint=job.endpoint,
            arguments=json.loads(job.arguments),
            estimate=USD.of(job.estimate),
            cost=None if attempt is None or attempt.cost is None else USD.of(attempt.cost),
            files=tuple(at for at in located if isinstance(at, Path)),
            objects=tuple(str(at) for at in located if not isinstance(at, Path)),
            value=(value_in(attempt.endpoint, attempt.output) or "") if attempt else "",
            request_id=attempt.handle.request_id if attempt and attempt.handle else None,
            error=attempt.failure.message if attempt and attempt.failure else "",
        )

    def _located(self, attempt: Attempt | None) -> list[Location]:
        files = [] if attempt is None else self._reader.files_of(attempt.id)
        return [self._store.located(file.path) for file in files if not file.superseded]


def _state(standing: Standing | None) -> str:
    return PENDING if standing is None else standing.state.value


def open_ledger(path: StrPath) -> LedgerView:
    """Open a ledger to be read: `ledger.db`, or the output folder that holds it.

    Where only the emulator has been tried, `outputs/ledger.db` is the emulator's, which lies in
    `outputs-emulator/`.

    Raises:
        LedgerError: there is none, it is damaged, or newer than this version.
    """
    file = path_of("path", path)
    file = file / LEDGER_NAME if file.is_dir() else file
    return LedgerView(
        Reader.open(or_trial(file) if file == Path(DEFAULT_OUTPUT, LEDGER_NAME) else file)
    )
