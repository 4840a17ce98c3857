"""The ledger of a trial makes way for a real one, and nothing of either is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kling_batch.errors import LedgerError
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.trial import is_trial, set_aside


def now() -> datetime:
    return datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def make(path: Path, service: str) -> None:
    Ledger(path, service=service, now=now).close()


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.glob("*.db"))


def test_it_comes_back_where_the_run_left_no_ledger(path: Path) -> None:
    make(path, "emulator")

    with set_aside(path) as kept:
        assert kept == path.with_name("ledger.emulator.db")
        assert is_trial(kept)
        assert not path.exists()

    assert names(path) == ["ledger.db"]
    assert is_trial(path)


def test_it_stays_aside_where_there_is_another_now(path: Path) -> None:
    for kept in (["ledger.emulator.db"], ["ledger.emulator-2.db", "ledger.emulator.db"]):
        path.unlink(missing_ok=True)
        make(path, "emulator")
        with set_aside(path):
            make(path, "fal")

        assert names(path) == ["ledger.db", *kept]
        assert not is_trial(path)


def test_a_real_ledger_and_none_at_all_are_left_alone(path: Path) -> None:
    with set_aside(path) as kept:
        assert kept is None
    assert not path.exists()
    make(path, "fal")
    with set_aside(path) as kept:
        assert kept is None
    assert names(path) == ["ledger.db"]


def test_a_trial_that_is_running_is_not_moved(path: Path) -> None:
    with (
        Ledger(path, service="emulator", now=now),
        pytest.raises(LedgerError, match="another run is using this ledger"),
        set_aside(path),
    ):
        pytest.fail("it was moved")  # pragma: no cover

    assert names(path) == ["ledger.db"]


def test_a_trial_that_somebody_reads_is_not_moved_away_from_its_log(path: Path) -> None:
    make(path, "emulator")

    with (
        Reader.open(path),
        pytest.raises(LedgerError, match="another program has this ledger of a trial open"),
        set_aside(path),
    ):
        pytest.fail("it was moved")  # pragma: no cover

    assert names(path) == ["ledger.db"]
    with set_aside(path) as kept:
        assert kept is not None


def test_a_refused_run_takes_its_new_ledger_away_and_no_other(path: Path) -> None:
    with Ledger(path, service="fal", now=now) as ledger:
        ledger.discard_new()
    assert names(path) == []
    make(path, "fal")
    with Ledger(path, service="fal", now=now) as ledger:
        ledger.discard_new()
    assert names(path) == ["ledger.db"]


def test_a_link_to_a_ledger_keeps_its_target(path: Path) -> None:
    link, target = path, path.with_name("elsewhere.db")
    link.symlink_to(target)

    with Ledger(link, service="fal", now=now) as ledger:
        ledger.discard_new()

    assert link.is_symlink()
    assert not target.exists()
