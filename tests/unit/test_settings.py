"""What is in force: flag over manifest over default, and the stricter one among manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kling_batch.core.jobs import Batch, Limits
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import UsageError
from kling_batch.settings import Options, Settings, resolve


def batch(name: str = "one", output: str | None = None, **limits: Any) -> Batch:
    return Batch(name=name, source="", jobs=(), limits=Limits(**limits), output=output)


def decided(*batches: Batch, **options: Any) -> Settings:
    return resolve(batches, Options(**options))


DEFAULTS: dict[str, Any] = {
    "concurrency": 8,
    "rate": 5.0,
    "max_cost": None,
    "max_cost_per_day": None,
    "on_doubt": "hold",
    "doubt_wait": 3600.0,
    "attempts": 3,
    "deadline": None,
    "service": "fal",
    "ledger": Path("outputs/ledger.db"),
}


@pytest.mark.parametrize("batches", [(), (batch(),)])
@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_nobody_said_anything(batches: tuple[Batch, ...], name: str, value: Any) -> None:
    assert getattr(decided(*batches), name) == value


#: setting, what the manifest says, what the flag says
SAID: list[tuple[str, dict[str, Any], Any, dict[str, Any], Any]] = [
    ("concurrency", {"concurrency": 3}, 3, {"concurrency": 20}, 20),
    ("rate", {"rate": 0.5}, 0.5, {"rate": 9.0}, 9.0),
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
        ("doubt_wait", {"doubt_wait": 60.0}, {"doubt_wait": 600.0}, 600.0),
        ("doubt_wait", {"doubt_wait": 0.0}, {}, 0.0),
        ("max_cost_per_day", {"max_cost_per_day": 5}, {"max_cost_per_day": 9}, 5),
        ("max_cost_per_day", {"max_cost_per_day": 5}, {}, 5),
        ("on_doubt", {"on_doubt": "resubmit"}, {"on_doubt": "resubmit"}, "resubmit"),
        ("on_doubt", {"on_doubt": "resubmit"}, {"on_doubt": "hold"}, "hold"),
        ("on_doubt", {"on_doubt": "resubmit"}, {}, "hold"),
    ],
)
def test_among_manifests_the_more_careful_word_holds(
    name: str, one: dict[str, Any], other: dict[str, Any], together: Any
) -> None:
    first, second = batch("one", **one), batch("two", **other)

    assert getattr(decided(first, second), name) == together
    assert getattr(decided(second, first), name) == together


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
