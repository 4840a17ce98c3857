"""`Options` in friendly types become the program's own; amounts of dollars print as such."""

from __future__ import annotations

import pickle
import shlex
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kling_batch import USD, Options, UsageError
from kling_batch.api.options import command_of, run_options
from kling_batch.cli.commands.run import run as run_command
from kling_batch.core.command_line import NO_COMMAND
from kling_batch.core.jobs import Batch

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


#: A generator would choose jobs the first time it is read, and every job the next time.
NO_NAMES: list[Any] = [None, 5, b"x", [1], ["a", None], {"a": 1}, (each for each in "ab")]

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
    ("rate", True),
    ("rate", b"1/s"),
    ("rate", Decimal(1)),
    ("timeout", True),
    ("timeout", [1]),
    ("max_cost", b"1"),
    ("max_failures", True),
    ("reuse", True),
    ("limit", True),
    ("limit", -(10**400)),
    ("scheduler", 5),
    ("scheduler", b"local"),
    ("emulator", None),
    ("emulator", 5),
    ("output", 5),
    ("output", b"x"),
    ("output", ""),
    ("ledger", ""),
    ("ledger", True),
    *((name, value) for name in ("only", "exclude", "tags") for value in NO_NAMES),
]


@pytest.mark.parametrize(("name", "given"), BAD)
def test_a_value_that_makes_no_sense_is_a_usage_error_with_its_name(name: str, given: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name}: "):
        Options(**{name: given})


def batch(source: str = "a.yaml", **variables: str | None) -> Batch:
    return Batch(name=source, source=source, jobs=(), variables=variables)


def test_a_run_from_python_can_be_continued_on_the_command_line() -> None:
    options = Options(output="out", max_cost=1234.5, rate=1, emulator=True)

    assert str(command_of([batch("my file.yaml")], options)) == (
        "kling-batch run 'my file.yaml' --output out --max-cost 1234.50 --rate 1/s --emulator"
    )


def test_the_command_of_a_run_chooses_the_same_jobs_with_the_same_variables() -> None:
    options = Options(only=["a*", "b"], exclude="-c", tags="wide", output="-x", ledger="~/../~y.db")
    command = command_of([batch("-x.yaml", brand="Zeta & Söhne", size=None)], options)

    assert shlex.split(str(command)) == [
        *("kling-batch", "run", "./-x.yaml", "--output", "./-x"),
        *("--ledger", str(Path("~/../~y.db").expanduser())),
        *("--only", "a*", "--only", "b", "--exclude", "-c", "--tag", "wide"),
        *("--set", "brand=Zeta & Söhne"),
    ]
    assert str(command_of([batch("~x.yaml")], Options())) == "kling-batch run './~x.yaml'"


def test_manifests_that_were_given_different_values_have_no_command() -> None:
    first, second = batch("a.yaml", brand="Zeta"), batch("b.yaml", brand=None)

    assert command_of([first, second], Options()) == NO_COMMAND
    assert str(command_of([first, batch("c.yaml")], Options())) == (
        "kling-batch run a.yaml c.yaml --set brand=Zeta"
    )


@pytest.mark.parametrize("name", ["KLING_BATCH_LEDGER", "KLING_BATCH_OUTPUT"])
def test_the_command_of_a_run_is_about_its_ledger_whatever_the_environment_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "elsewhere")

    command = command_of([batch()], Options())

    assert str(command) == "kling-batch run a.yaml --ledger outputs/ledger.db"


def test_the_command_line_takes_what_the_command_of_a_run_says() -> None:
    options = Options(
        output="o",
        ledger="l",
        max_cost=1,
        concurrency=2,
        rate=3,
        timeout=4,
        start_timeout=5,
        limit=6,
        max_failures=7,
        only="x",
        exclude="y",
        tags="z",
        collect=True,
        emulator=True,
        reuse=0,
        schemas=False,
        scheduler="local",
    )
    command = command_of([batch(brand="Zeta")], options)
    taken = {name for param in run_command.params for name in param.opts}

    assert {option.name for option in command.options} <= taken
    assert command.takes is not None
    assert command.takes <= taken
    repeated = {run_command.make_context("run", shlex.split(str(command))[2:]).params["variables"]}
    assert repeated == {("brand=Zeta",)}


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
