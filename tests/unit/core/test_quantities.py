"""Money as numbers and times as text: what is written reads back as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_batch.core.quantities import (
    exact_usd,
    format_time,
    format_usd,
    micro_usd,
    parse_duration,
    parse_foreign_time,
    parse_time,
    seconds_text,
    usd_number,
)


@given(st.integers(min_value=0, max_value=10**12))
def test_dollars_as_numbers_read_back(micro: int) -> None:
    assert micro_usd(usd_number(micro)) == micro


def test_dollars_as_numbers_are_dollars() -> None:
    assert (usd_number(560_000), usd_number(0), usd_number(None)) == (0.56, 0.0, None)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - made aware below
def test_times_read_back_to_the_millisecond(naive: datetime) -> None:
    moment = naive.replace(tzinfo=UTC)

    assert timedelta(0) <= moment - parse_time(format_time(moment)) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (0, "$0.00"),
        (1, "$0.01"),
        (28_000, "$0.03"),
        (196_000, "$0.20"),
        (420_000, "$0.42"),
        (999_999, "$1.00"),
        (1_234_567_890, "$1,234.57"),
        (-500_000, "-$0.50"),
    ],
)
def test_people_read_two_decimals_and_never_less_than_it_costs(micro: int, text: str) -> None:
    assert format_usd(micro) == text


def test_what_is_typed_again_keeps_every_decimal() -> None:
    assert exact_usd(28_000) == "$0.028"


@pytest.mark.parametrize(
    "text",
    [
        *("0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00", "9999-12-31T23:59:59Z"),
        *("1970-01-01T00:00:00Z", "2026-05-01T12:00:00", "", "x"),
    ],
)
def test_a_time_that_nobody_can_mean_is_none(text: str) -> None:
    assert parse_foreign_time(text) is None


def test_a_time_of_somebody_else_is_in_utc() -> None:
    moment = parse_foreign_time("2026-05-01T12:00:00+02:00")

    assert (moment, moment and moment.tzinfo) == (datetime(2026, 5, 1, 10, tzinfo=UTC), UTC)


@pytest.mark.parametrize("text", ["0.01ms", "1ms", "1.5s", "90m", "1.1h", "12d", "366d"])
def test_seconds_are_written_as_they_are_read(text: str) -> None:
    written = seconds_text(parse_duration(text))

    assert "e" not in written
    assert parse_duration(written) == pytest.approx(parse_duration(text))
