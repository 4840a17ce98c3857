"""What a verdict stops in a run that is under way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import START, make_job
from support.ledger import opened, placed, rendered

from kling_batch.core.jobs import PICKED, Batch, OutputOf, unpicked_key
from kling_batch.core.verdicts import Verdict
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.verdicts import record_verdict
from kling_batch.operations.verdicts import Withdrawals, author_of
from kling_batch.planning.builder import as_decided

DRAFT, PLAIN = make_job("hero~draft"), make_job("plain")
FINAL = make_job("hero", duration="7")._replace(draft="hero~draft")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A run whose draft is done."""
    with opened(tmp_path / "ledger.db", jobs=[DRAFT, FINAL, PLAIN]) as ledger:
        attempt = rendered(ledger, DRAFT)
        ledger.save_artifacts(ledger.attempt(attempt), [placed("hero~draft.mp4")])
        yield ledger


def test_an_approval_counts_until_it_is_taken_back(ledger: Ledger) -> None:
    batch = Batch(name="test", source="t", jobs=(DRAFT, FINAL, PLAIN))
    withdrawals = Withdrawals(ledger, [batch])
    seen = []
    for verdict in (Verdict.APPROVED, Verdict.NONE, Verdict.PICKED, Verdict.REJECTED):
        record_verdict(ledger.path, DRAFT.key, verdict, at=START)
        seen.append(withdrawals.of(FINAL))

    assert seen == [False, True, False, True]
    assert not withdrawals.of(PLAIN)
    assert not withdrawals.of(DRAFT)


def test_a_pick_counts_until_another_take_is_picked(ledger: Ledger) -> None:
    attempt = rendered(ledger, PLAIN)
    ledger.save_artifacts(ledger.attempt(attempt), [placed("plain.mp4")])
    unpicked = OutputOf(key=unpicked_key("test", "plain"), job_id="plain", take=PICKED)
    clip = make_job("clip", image_url=unpicked)
    batch = Batch(name="test", source="t", jobs=(PLAIN, clip), unpicked=True)
    record_verdict(ledger.path, PLAIN.key, Verdict.PICKED, at=START)
    (decided,) = as_decided(ledger, [batch])
    withdrawals = Withdrawals(ledger, [decided])

    assert not withdrawals.of(decided.jobs[-1])
    record_verdict(ledger.path, PLAIN.key, Verdict.APPROVED, at=START)
    assert withdrawals.of(decided.jobs[-1])


def test_without_any_verdict_a_final_is_not_paid_for(ledger: Ledger) -> None:
    batch = Batch(name="test", source="t", jobs=(DRAFT, FINAL))

    assert Withdrawals(ledger, [batch]).of(FINAL)


@pytest.mark.parametrize(("given", "name"), [(" Ada ", "Ada"), ("Grace", "Grace")])
def test_the_author_is_whom_one_names(given: str, name: str) -> None:
    assert author_of(given) == name


@pytest.mark.parametrize("nobody", [None, "", "  "])
def test_else_it_is_the_systems_user(nobody: str | None) -> None:
    assert author_of(nobody)
