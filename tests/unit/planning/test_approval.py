"""Approval of payments: what allows a plan to be paid for, and which jobs it covers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.engine import PRO, make_job
from support.ledger import opened, rendered

from kling_batch.core.jobs import Batch, Job, JobKey, Limits
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import UsageError
from kling_batch.ledger.ledger import Ledger
from kling_batch.planning.approval import Approval, unpriced_under_cap
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

    with pytest.raises(UsageError) as caught:
        capped.require(plan(PRICED, UNPRICED), ledger)
    assert str(caught.value) == (
        "unpriced: its price is unknown, so --max-cost cannot hold; give the job a `price:`"
    )

    capped.require(plan(PRICED, FREE), ledger)


def test_a_plan_knows_what_a_run_will_refuse() -> None:
    settings = approval(max_cost=MicroUSD(10_000_000)).settings
    another = UNPRICED._replace(key=JobKey("k1:another"))

    told = unpriced_under_cap(plan(PRICED, UNPRICED, another), settings)

    assert told.endswith("give the job a `price:` (1 more job like it)")
    assert unpriced_under_cap(plan(PRICED, FREE), settings) == ""
    assert unpriced_under_cap(plan(UNPRICED, action=Action.KEEP), settings) == ""
    assert unpriced_under_cap(plan(UNPRICED), approval(yes=True).settings) == ""


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
    twin = PlannedJob(PRICED._replace(id="twin"), Action.SUBMIT, "", duplicate="priced")
    planned = Plan((*plan(PRICED, make_job("other")).items, twin))

    with pytest.raises(UsageError) as caught:
        approval().require(planned, ledger)

    assert str(caught.value) == (
        "this would cost up to $0.84; with no terminal to ask, paying needs --yes or a cap "
        "(--max-cost USD, or limits: max_cost in the manifest). Nothing was sent"
    )


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_is_asked_once_with_count_and_price(ledger: Ledger, answer: bool) -> None:
    asked: list[str] = []
    asking = approval(ask=lambda text: bool(asked.append(text)) or answer)

    if answer:
        asking.require(plan(PRICED), ledger)
    else:
        with pytest.raises(UsageError, match=r"^not confirmed; nothing was sent$"):
            asking.require(plan(PRICED), ledger)

    assert asked == ["1 job, up to $0.42. Pay?"]


@pytest.mark.parametrize("options", [{}, {"yes": True}, {"max_cost": MicroUSD(1)}])
@pytest.mark.parametrize("answer", [True, False])
def test_a_program_that_confirms_decides_whatever_else_allows_it(
    ledger: Ledger, options: dict[str, Any], answer: bool
) -> None:
    shown: list[Plan] = []
    confirming = replace(
        approval(**options), confirm=lambda found: bool(shown.append(found)) or answer
    )
    planned = plan(PRICED)

    if answer:
        confirming.require(planned, ledger)
    else:
        with pytest.raises(UsageError, match=r"^not confirmed; nothing was sent$"):
            confirming.require(planned, ledger)

    assert shown == [planned]
    confirming.require(plan(PRICED, action=Action.COLLECT), ledger)
    assert shown == [planned], "nothing to pay, nothing to confirm"


def test_a_single_job_of_a_command_is_its_own_approval(ledger: Ledger) -> None:
    replace(approval(), single=True).require(plan(PRICED), ledger)


@pytest.mark.parametrize(("times", "rings"), [(2.9, False), (3.0, True), (10.0, True)])
def test_after_renders_far_dearer_than_estimated_only_a_cap_pays(
    ledger: Ledger, times: float, rings: bool
) -> None:
    rendered(ledger, make_job("job-0"), cost=MicroUSD(int(times * 420_000)), billable_units=5.0)
    told = (
        f"renders have cost {times:.1f} times what was estimated: paying needs a cap now "
        "(--max-cost USD), which reckons with that"
    )

    assert approval(yes=True).alarm(plan(PRICED), ledger) == (told if rings else "")
    assert approval(max_cost=MicroUSD(1)).alarm(plan(PRICED), ledger) == ""
    assert approval(emulator="").alarm(plan(PRICED), ledger) == ""
    assert approval(yes=True).alarm(plan(PRICED, action=Action.COLLECT), ledger) == ""
    assert approval(yes=True).alarm(plan(make_job("pro", endpoint=PRO)), ledger) == ""
    if rings:
        approval().require(plan(PRICED), ledger)  # nothing will be bought, so nobody is asked


def test_what_only_collects_needs_no_approval(ledger: Ledger) -> None:
    approval().require(plan(PRICED, action=Action.COLLECT), ledger)


@pytest.mark.parametrize("bounded", [{"limit": 5}, {"reviewed": True}])
def test_a_limit_or_a_saved_plan_covers_no_later_attempt(bounded: dict[str, Any]) -> None:
    said = approval(yes=True, **bounded)

    assert said.payable(plan(PRICED, action=Action.COLLECT)) == frozenset()
    assert said.payable(plan(PRICED)) == {PRICED.key}
