"""Power cuts: what the ledger had not synced is gone, and still nothing is paid twice or lost.

At the moment of the cut, the log keeps the bytes that were there at its last sync, and no others;
that SQLite syncs where `synchronous` is `full` is left to `tests/acceptance/test_durability.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.engine import make_job, make_jobs
from support.faults import (
    FaultRig,
    FaultyLedger,
    PlannedFault,
    check_invariants,
    check_settled,
)

from kling_batch.core.lifecycle import State
from kling_batch.emulator import Settings
from kling_batch.ledger.durability import Durability
from kling_batch.ledger.ledger import Ledger

#: Moments of a run whose power is cut, of which each part of the test takes every so many.
PARTS = 12


class SyncedLedger(FaultyLedger):
    """Reports each sync of its log, as part of a commit or apart from one."""

    def __init__(self, rig: PowerRig, path: Path) -> None:
        super().__init__(rig, path)
        note, sync = self.log.note, self.log.sync

        def noted(*, synced: bool) -> None:
            note(synced=synced)
            if synced:
                rig.log_is_synced()

        def synced() -> None:
            sync()
            rig.log_is_synced()

        self.log.note, self.log.sync = noted, synced  # type: ignore[method-assign]


class PowerRig(FaultRig):
    """A rig whose kills are power cuts."""

    kept: dict[Path, bytes] | None = None
    synced_bytes = 0
    ledger_type: Callable[[Any, Path], Ledger] = SyncedLedger

    def ledger(self) -> Ledger:
        self.synced_bytes = 0
        return self.ledger_type(self, self.ledger_path)

    @property
    def log_path(self) -> Path:
        return self.ledger_path.with_name("ledger.db-wal")

    def log_is_synced(self) -> None:
        self.synced_bytes = self.log_path.stat().st_size

    def _inject(self, fault: str) -> None:
        if fault == "kill":
            log = self.log_path.read_bytes() if self.log_path.exists() else b""
            self.kept = {
                self.ledger_path: self.ledger_path.read_bytes(),
                self.log_path: log[: self.synced_bytes],
            }
        super()._inject(fault)

    def go(self, *args: Any, **kwargs: Any) -> Any:
        result = super().go(*args, **kwargs)
        if self.kept is not None:
            self.ledger_path.with_name("ledger.db-shm").unlink(missing_ok=True)
            for path, data in self.kept.items():
                path.write_bytes(data)
            self.kept = None
        return result


def powered(folder: Path) -> PowerRig:
    settings = Settings(concurrency=2, media="template", service_times={"standard": 1.0})
    rig = PowerRig(folder, settings)
    Ledger(rig.ledger_path, service="emulator", now=rig.now).close()
    return rig


@pytest.mark.parametrize(
    "part", [pytest.param(n, marks=[pytest.mark.long] if n else []) for n in range(PARTS)]
)
def test_a_power_cut_at_any_moment(tmp_path: Path, part: int) -> None:
    jobs = [make_job("a"), make_job("same"), make_job("same", take=2)]
    first = powered(tmp_path / "whole")
    first.go(jobs, seed=part)
    for moment in range(1 + part, len(first.log) + 1, PARTS):
        rig = powered(tmp_path / str(moment))
        rig.go(jobs, seed=part, kill_at=moment)
        where = f"cut at moment {moment}, {rig.log[-1:]}"
        check_invariants(rig)
        rig.until_quiet(jobs, seed=part)
        check_settled(rig, jobs)
        books = rig.world.books
        done = rig.states(jobs).count(State.SUCCEEDED)
        assert done == len(books.accepted) == sum(books.charges().values()), where


@pytest.mark.parametrize("moment", ["submit.before", "submit.after", "submit_accepted.after"])
def test_an_intent_is_on_the_disk_when_its_post_leaves(tmp_path: Path, moment: str) -> None:
    rig = powered(tmp_path)

    rig.go(make_jobs(3), PlannedFault(moment, "kill", 2), concurrency=1)

    sent = len(rig.world.books.posts)
    with rig.ledger() as ledger:
        known = ledger.attempts_in(*State)
    # The second POST was about to leave, or has left.
    assert sent == (1 if moment == "submit.before" else 2)
    assert len(known) == 2


def test_a_request_id_is_on_the_disk_before_the_request_is_followed(tmp_path: Path) -> None:
    rig = powered(tmp_path)

    rig.go(make_jobs(1), PlannedFault("queued.before", "kill"))

    with rig.ledger() as ledger:
        assert ledger.request_ids() == {r.request_id for r in rig.world.books.accepted}


def test_a_result_is_on_the_disk_before_its_file_is_fetched(tmp_path: Path) -> None:
    rig = powered(tmp_path)

    rig.go(make_jobs(1), PlannedFault("download.before", "kill"))

    with rig.ledger() as ledger:
        assert [attempt.state for attempt in ledger.attempts_in(*State)] == [State.RENDERED]


def test_observations_are_not_synced(tmp_path: Path) -> None:
    """Otherwise these tests would prove nothing about what is."""
    rig = powered(tmp_path)

    rig.go(make_jobs(1), PlannedFault("remote_observed.after", "kill"))

    with rig.ledger() as ledger:
        (attempt,) = ledger.attempts_in(*State)
    assert attempt.state is State.SUBMITTED
    assert not attempt.remote_status


class CarelessLedger(SyncedLedger):
    """Syncs nothing of its own accord, intents included."""

    def transaction(self, *how: Any) -> Any:
        return super().transaction(Durability.LATER)


def test_without_synced_intents_a_power_cut_would_pay_twice(tmp_path: Path) -> None:
    rig = powered(tmp_path)
    rig.ledger_type = CarelessLedger

    rig.go(make_jobs(1), PlannedFault("submit.after", "kill"))

    with pytest.raises(AssertionError, match="accepted, but not in the ledger"):
        check_invariants(rig)
