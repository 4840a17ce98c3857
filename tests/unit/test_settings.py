"""What is in force: flag over manifest over default, and the stricter one among manifests."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kling_batch.core.jobs import Batch, Job, JobKey, Limits
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import UsageError
from kling_batch.settings import RunOptions, Settings, resolve


def batch(name: str = "one", output: str | None = None, **limits: Any) -> Batch:
    return Batch(name=name, source="", jobs=(), limits=Limits(**limits), output=output)


def decided(*batches: Batch, **options: Any) -> Settings:
    return resolve(batches, RunOptions(**options))


def value(settings: Settings, name: str) -> Any:
    """A setting; the cap of a day is one of the budget's."""
    if name == "max_cost_per_day":
        return next((cap.limit for cap in settings.budget.caps if cap.name == name), None)
    if name == "account_max_per_day":
        account = settings.budget.account
        return None if account is None else account.limit
    return getattr(settings, name)


DEFAULTS: dict[str, Any] = {
    "concurrency": 8,
    "rate": 10.0,
    "max_cost": None,
    "max_cost_per_day": None,
    "account_max_per_day": None,
    "doubt_wait": 3600.0,
    "start_timeout": None,
    "attempts": 3,
    "deadline": None,
    "service": "fal",
    "ledger": Path("outputs/ledger.db"),
}


@pytest.mark.parametrize("batches", [(), (batch(),)])
@pytest.mark.parametrize(("name", "expected"), DEFAULTS.items())
def test_nobody_said_anything(batches: tuple[Batch, ...], name: str, expected: Any) -> None:
    assert value(decided(*batches), name) == expected


#: setting, what the manifest says, what the flag says
SAID: list[tuple[str, dict[str, Any], Any, dict[str, Any], Any]] = [
    ("concurrency", {"concurrency": 3}, 3, {"concurrency": 20}, 20),
    ("rate", {"rate": 0.5}, 0.5, {"rate": 9.0}, 9.0),
    ("start_timeout", {"start_timeout": 600.0}, 600.0, {"start_timeout": 60.0}, 60.0),
    ("max_cost", {"max_cost": MicroUSD(5)}, 5, {"max_cost": MicroUSD(9)}, 9),
    ("max_cost", {"max_cost": MicroUSD(5)}, 5, {"max_cost": MicroUSD(0)}, 0),
]


@pytest.mark.parametrize(("name", "limits", "by_manifest", "options", "by_flag"), SAID)
def test_the_flag_outranks_the_manifest_and_the_manifest_the_default(
    name: str, limits: dict[str, Any], by_manifest: Any, options: dict[str, Any], by_flag: Any
) -> None:
    assert getattr(decided(batch(**limits)), name) == by_manifest
    assert getattr(decided(batch(**limits), **options), name) == by_flag
    assert getattr(decided(batch(), **options), name) == by_flag


@pytest.mark.parametrize(
    ("name", "one", "other", "together"),
    [
        ("concurrency", {"concurrency": 3}, {"concurrency": 5}, 3),
        ("rate", {"rate": 2.0}, {"rate": 0.1}, 0.1),
        ("attempts", {"retry_attempts": 1}, {"retry_attempts": 5}, 1),
        ("deadline", {"deadline": 60.0}, {"deadline": 30.0}, 30.0),
        ("start_timeout", {"start_timeout": 60.0}, {"start_timeout": 600.0}, 60.0),
        ("doubt_wait", {"doubt_wait": 60.0}, {"doubt_wait": 600.0}, 600.0),
        ("doubt_wait", {"doubt_wait": 0.0}, {}, 0.0),
        ("max_cost_per_day", {"max_cost_per_day": 5}, {"max_cost_per_day": 9}, 5),
        ("max_cost_per_day", {"max_cost_per_day": 5}, {}, 5),
        ("account_max_per_day", {"account_max_per_day": 5}, {"account_max_per_day": 9}, 5),
        ("account_max_per_day", {"account_max_per_day": 5}, {}, 5),
    ],
)
def test_among_manifests_the_more_careful_word_holds(
    name: str, one: dict[str, Any], other: dict[str, Any], together: Any
) -> None:
    first, second = batch("one", **one), batch("two", **other)

    assert value(decided(first, second), name) == together
    assert value(decided(second, first), name) == together


def test_a_common_cap_is_the_sum_and_only_where_each_has_one() -> None:
    five, seven = batch("a", max_cost=MicroUSD(5)), batch("b", max_cost=MicroUSD(7))

    assert decided(five, seven).max_cost == 12
    assert decided(five, batch("c")).max_cost is None
    assert decided(five, batch("c"), max_cost=MicroUSD(3)).max_cost == 3
    assert decided(batch("z", max_cost=MicroUSD(0))).max_cost == 0


def test_the_earlier_of_flag_and_deadline_ends_the_run() -> None:
    assert decided(batch(deadline=60.0), timeout=30.0).deadline == 30.0
    assert decided(batch(deadline=60.0), timeout=90.0).deadline == 60.0
    assert decided(batch(), timeout=0.0).deadline == 0.0


def test_each_batch_has_its_own_folder_unless_the_flag_says_one() -> None:
    one, two = batch("one", "a"), batch("two")

    roots = decided(one, two, ledger=Path("l.db")).roots
    assert roots == {"one": Path("a"), "two": Path("outputs")}
    assert decided(one, two, output=Path("x")).roots == {"one": Path("x"), "two": Path("x")}


def test_the_ledger_lies_in_the_output_folder_unless_the_flag_says_where() -> None:
    assert decided(batch("one", "a")).ledger == Path("a/ledger.db")
    assert decided(batch("one", "a"), output=Path("x")).ledger == Path("x/ledger.db")
    assert decided(batch("one", "a"), ledger=Path("l.db")).ledger == Path("l.db")
    assert decided(output=Path("x")).ledger == Path("x/ledger.db")


@pytest.mark.parametrize(
    ("emulator", "service"), [(None, "fal"), ("", "emulator"), ("http://x", "emulator")]
)
def test_an_emulator_is_another_service(emulator: str | None, service: str) -> None:
    assert decided(batch(), emulator=emulator).service == service


def test_the_order_of_manifests_never_chooses_another_ledger() -> None:
    one, two = batch("one", "a"), batch("two", "b")

    for order in ((one, two), (two, one)):
        with pytest.raises(UsageError, match="--ledger"):
            decided(*order)
        assert decided(*order, ledger=Path("l.db")).ledger == Path("l.db")


# -- the budget --------------------------------------------------------------------------------


def a_job(key: str, name: str = "one", estimate: int = 1, note: str = "") -> Job:
    return Job(
        key=JobKey(key),
        endpoint="fal-ai/x",
        arguments={},
        take=1,
        id=key,
        batch=name,
        mode="",
        tier="",
        path="{output}{ext}",
        estimate=MicroUSD(estimate),
        estimate_note=note,
    )


def test_the_budget_holds_each_manifests_own_cap_and_shows_their_sum() -> None:
    budget = decided(batch("a", max_cost=MicroUSD(5)), batch("b", max_cost=MicroUSD(7))).budget

    assert [(cap.limit, cap.batches, cap.name) for cap in budget.caps] == [
        (5, ("a",), "max_cost"),
        (7, ("b",), "max_cost"),
    ]
    assert budget.total == 12


def test_a_batch_without_a_cap_leaves_the_others_and_no_sum() -> None:
    budget = decided(batch("a", max_cost=MicroUSD(5)), batch("b")).budget

    assert [cap.batches for cap in budget.caps] == [("a",)]
    assert budget.total is None
    assert budget.cap_of(a_job("k1:1", "a")) is budget.caps[0]
    assert budget.cap_of(a_job("k1:2", "b")) is None


def test_the_options_cap_replaces_the_manifests_and_covers_all_batches() -> None:
    capped = batch("a", max_cost=MicroUSD(5), max_cost_per_day=MicroUSD(3))
    budget = decided(capped, batch("b"), max_cost=MicroUSD(9)).budget

    assert [(cap.limit, cap.batches, cap.name) for cap in budget.caps] == [
        (9, ("a", "b"), "--max-cost"),
        (3, None, "max_cost_per_day"),
    ]
    assert budget.caps[1].window == timedelta(days=1)
    assert budget.total == 9


def test_the_cap_of_a_single_shot_covers_its_job_in_any_batch() -> None:
    shot = Batch(name="video", source="", jobs=(a_job("k1:1"),))
    budget = resolve((shot,), RunOptions(max_cost=MicroUSD(9)), single=True).budget

    assert [(cap.limit, cap.batches, cap.key) for cap in budget.caps] == [(9, None, "k1:1")]
    assert budget.cap_of(a_job("k1:2")) is None
    assert budget.total == 9


# -- the pace ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "limits", "rate"),
    [
        ({"concurrency": 2}, {}, 10.0),
        ({"concurrency": 40}, {}, 40.0),
        ({"concurrency": 2000}, {}, 2000.0),
        ({"concurrency": 10**400}, {}, 10_000.0),
        ({}, {"concurrency": 40}, 40.0),
        ({"concurrency": 40}, {"rate": 1.0}, 1.0),
        ({"concurrency": 40, "rate": 2.0}, {"rate": 1.0}, 2.0),
    ],
)
def test_by_default_what_may_be_open_may_be_submitted_in_a_second(
    flags: dict[str, Any], limits: dict[str, Any], rate: float
) -> None:
    assert decided(batch(**limits), **flags).rate == rate
