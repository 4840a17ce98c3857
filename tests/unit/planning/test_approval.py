"""Approval of payments: what allows a plan to be paid for, and which jobs it covers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.engine import make_job
from support.ledger import opened

from kling_batch.core.jobs import Batch, Job, Limits
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import UsageError
from kling_batch.ledger.ledger import Ledger
from kling_batch.planning.approval import Approval
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.settings import RunOptions, resolve

PRICED = make_job("priced")
UNPRICED = make_job("unpriced")._replace(
    estimate=MicroUSD(0), estimate_note="the price of this endpoint is not known"
)
FREE = make_job("free")._replace(estimate=MicroUSD(0))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path / "ledger.db") as found:
        yield found


NO_LIMITS = Limits()


def approval(*, limits: Limits = NO_LIMITS, **options: Any) -> Approval:
    batch = Batch(name="test", source="", jobs=(PRICED, UNPRICED), limits=limits)
    ask = options.pop("ask", None)
    reviewed = options.pop("reviewed", False)
    settings = resolve([batch], RunOptions(**options))
    return Approval(settings, ask=ask, reviewed=reviewed)


def plan(*jobs: Job, action: Action = Action.SUBMIT) -> Plan:
    return Plan(tuple(PlannedJob(job, action, "") for job in jobs))


def test_a_job_without_a_price_is_refused_under_a_cap(ledger: Ledger) -> None:
    capped = approval(max_cost=MicroUSD(10_000_000))

    with pytest.raises(UsageError, match="unpriced: its price is unknown, so --max-cost cannot"):
        capped.require(plan(PRICED, UNPRICED), ledger)

    capped.require(plan(PRICED, FREE), ledger)


def test_a_job_without_a_price_is_paid_for_where_no_cap_covers_it(ledger: Ledger) -> None:
    said = approval(yes=True)

    said.require(plan(UNPRICED), ledger)

    assert said.payable(plan(UNPRICED)) == {UNPRICED.key}


def test_the_next_attempt_of_a_collected_job_without_a_price_is_not_covered_by_a_cap() -> None:
    capped = approval(max_cost=MicroUSD(10_000_000))

    assert capped.payable(plan(PRICED, UNPRICED, FREE, action=Action.COLLECT)) == {
        PRICED.key,
        FREE.key,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"max_cost": MicroUSD(1)},
        {"limits": Limits(max_cost=MicroUSD(1))},
        {"yes": True},
        {"emulator": ""},
    ],
)
def test_a_cap_yes_or_the_emulator_approves_without_a_question(
    ledger: Ledger, options: dict[str, Any]
) -> None:
    approval(**options).require(plan(PRICED), ledger)


def test_without_approval_nothing_is_paid_and_the_price_is_in_the_message(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match=r"up to \$0\.\d+; with no terminal to ask"):
        approval().require(plan(PRICED), ledger)


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_is_asked_once_with_count_and_price(ledger: Ledger, answer: bool) -> None:
    asked: list[str] = []
    asking = approval(ask=lambda text: bool(asked.append(text)) or answer)

    if answer:
        asking.require(plan(PRICED), ledger)
    else:
        with pytest.raises(UsageError, match="not confirmed"):
            asking.require(plan(PRICED), ledger)

    (question,) = asked
    assert question.startswith(("1 jobs, up to $0.42", "1 job, up to $0.42"))


def test_what_only_collects_needs_no_approval(ledger: Ledger) -> None:
    approval().require(plan(PRICED, action=Action.COLLECT), ledger)


@pytest.mark.parametrize("bounded", [{"limit": 5}, {"reviewed": True}])
def test_a_limit_or_a_saved_plan_covers_no_later_attempt(bounded: dict[str, Any]) -> None:
    said = approval(yes=True, **bounded)

    assert said.payable(plan(PRICED, action=Action.COLLECT)) == frozenset()
    assert said.payable(plan(PRICED)) == {PRICED.key}
