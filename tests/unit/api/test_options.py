"""`Options` in friendly types become the program's own; amounts of dollars print as such."""

from __future__ import annotations

import pickle
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kling_batch import USD, Options, UsageError
from kling_batch.api.options import command_of, run_options

GOOD: list[tuple[str, Any, Any]] = [
    ("max_cost", "40.00", 40_000_000),
    ("max_cost", "$0.5", 500_000),
    ("max_cost", 40, 40_000_000),
    ("max_cost", 0.1, 100_000),
    ("max_cost", Decimal("1.12"), 1_120_000),
    ("max_cost", 0, 0),
    ("max_cost", None, None),
    ("rate", "60/min", 1.0),
    ("rate", 2.5, 2.5),
    ("rate", 0.00001, 0.00001),
    ("timeout", "1h30m", 5400.0),
    ("timeout", 90, 90.0),
    ("timeout", timedelta(minutes=2), 120.0),
    ("output", "a", Path("a")),
    ("ledger", Path("~/x.db"), Path.home() / "x.db"),
    ("limit", 0, 0),
    ("emulator", True, ""),
    ("emulator", False, None),
    ("emulator", "http://127.0.0.1:1", "http://127.0.0.1:1"),
]


@pytest.mark.parametrize(("name", "given", "parsed"), GOOD)
def test_a_value_is_parsed(name: str, given: Any, parsed: Any) -> None:
    assert getattr(run_options(Options(**{name: given})), name) == parsed


BAD: list[tuple[str, Any]] = [
    ("max_cost", "ten"),
    ("max_cost", -1),
    ("max_cost", float("nan")),
    ("max_cost", 0.1234567),
    ("max_cost", True),
    ("rate", "fast"),
    ("rate", 0),
    ("rate", float("inf")),
    ("timeout", "soon"),
    ("timeout", 0),
    ("timeout", timedelta(0)),
    ("concurrency", 0),
    ("concurrency", "3"),
    ("concurrency", True),
    ("limit", -1),
    ("limit", 1.5),
    ("yes", "no"),
    ("collect", None),
    ("schemas", 0),
]


@pytest.mark.parametrize(("name", "given"), BAD)
def test_a_value_that_makes_no_sense_is_a_usage_error_with_its_name(name: str, given: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name}: "):
        Options(**{name: given})


def test_a_run_from_python_can_be_continued_on_the_command_line() -> None:
    options = Options(output="out", max_cost=1234.5, rate=1, emulator=True)

    assert str(command_of(["my file.yaml"], options)) == (
        "kling-batch run 'my file.yaml' --output out --max-cost 1234.50 --rate 1/s --emulator"
    )


def test_dollars_print_with_their_sign_and_count_as_decimals() -> None:
    amount = USD.of(1_120_000)

    assert (str(amount), f"{amount}", f"{amount:.1f}") == ("$1.12", "$1.12", "1.1")
    assert repr(amount) == "USD('1.12')"
    assert amount == Decimal("1.12")
    assert float(amount) == 1.12
    assert amount < 2
    assert pickle.loads(pickle.dumps(amount)) == amount
    assert [str(USD.of(micro)) for micro in (0, 28_000, 1_234_500_000, -500_000)] == [
        "$0.00",
        "$0.03",
        "$1,234.50",
        "-$0.50",
    ]
