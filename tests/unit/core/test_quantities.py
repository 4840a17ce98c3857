"""Money as numbers and times as text: what is written reads back as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from kling_batch.core.quantities import format_time, micro_usd, parse_time, usd_number


@given(st.integers(min_value=0, max_value=10**12))
def test_dollars_as_numbers_read_back(micro: int) -> None:
    assert micro_usd(usd_number(micro)) == micro


def test_dollars_as_numbers_are_dollars() -> None:
    assert (usd_number(560_000), usd_number(0), usd_number(None)) == (0.56, 0.0, None)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - made aware below
def test_times_read_back_to_the_millisecond(naive: datetime) -> None:
    moment = naive.replace(tzinfo=UTC)

    assert timedelta(0) <= moment - parse_time(format_time(moment)) < timedelta(milliseconds=1)
