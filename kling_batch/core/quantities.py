"""Money, durations, rates and times: conversion between text and values. Pure.

Money is whole millionths of a dollar, so that sums against a cap are exact.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, NewType, Self, overload

from kling_batch.core.diagnostics import InvalidValue, show

MicroUSD = NewType("MicroUSD", int)
"""Money: whole millionths of a US dollar, never a float."""


def duration(seconds: float) -> str:
    """`48 s`, `4 min 12 s`, `2 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def clock(seconds: float) -> str:
    """`4:12`, `2:05:09`: the short form for a table."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


#: No batch costs as much; beyond it a typing error is likelier.
_MOST = Decimal(10_000_000)

_MICRO = Decimal(1_000_000)


def parse_usd(text: str) -> MicroUSD:
    """`"40.00"`, `"$0.5"` → micro-dollars, exactly; `ValueError` says what is wrong."""
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount in dollars, such as 40.00") from None
    if not amount.is_finite() or amount < 0 or amount > _MOST:
        raise ValueError(f"{text!r} is not between 0 and {_MOST:,} dollars")
    micro = amount * _MICRO
    if micro != int(micro):
        raise ValueError(f"{text!r} has more than six decimals")
    return MicroUSD(int(micro))


_CENT = 10_000


def format_usd(micro: int) -> str:
    """`$0.56`: an amount as people read it, with two decimals.

    A fraction of a cent is rounded up, so that no cost looks smaller than it is.
    """
    sign, amount = ("-", -micro) if micro < 0 else ("", micro)
    dollars, cents = divmod(-(-amount // _CENT), 100)
    return f"{sign}${dollars:,}.{cents:02}"


def exact_usd(micro: int) -> str:
    """`$0.028`: to the last decimal, for prices of a unit and for what is typed again."""
    sign, amount = ("-", -micro) if micro < 0 else ("", micro)
    dollars, rest = divmod(amount, int(_MICRO))
    decimals = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{sign}${dollars:,}.{decimals}"


class USD(Decimal):
    """Amount of US dollars; prints as `$1.12`, and counts as a `Decimal`."""

    __slots__ = ()

    @classmethod
    def of(cls, micro: int) -> Self:
        """Whole millionths of a dollar, as everything inside counts."""
        return cls(Decimal(micro) / _MICRO)

    def __str__(self) -> str:
        return format_usd(round(self * _MICRO))

    def __repr__(self) -> str:
        return f"USD('{Decimal(self)}')"

    def __format__(self, spec: str, /, *context: Any) -> str:
        return super().__format__(spec, *context) if spec else str(self)

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (str(Decimal(self)),)


def micro_usd(dollars: float) -> MicroUSD:
    """An amount that fal gives in dollars, to the nearest millionth."""
    return MicroUSD(round(dollars * int(_MICRO)))


@overload
def usd_number(micro: int) -> float: ...
@overload
def usd_number(micro: int | None) -> float | None: ...
def usd_number(micro: int | None) -> float | None:
    """Dollars as a JSON number; None stays None."""
    return None if micro is None else micro / int(_MICRO)


def format_time(moment: datetime) -> str:
    """UTC with milliseconds, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """A time of the ledger as an aware moment; the reverse of `format_time`."""
    return datetime.fromisoformat(text)


#: Years in which an answer may say that something was; beyond, a calculation with it may have no
#: result.
_FIRST_YEAR, _LAST_YEAR = 2000, 2199


def foreign_time(moment: datetime) -> datetime | None:
    """An aware moment as somebody else gave it, in UTC; None where it cannot be meant."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        return None
    return moment if _FIRST_YEAR <= moment.year <= _LAST_YEAR else None


def parse_foreign_time(text: str, zone: tzinfo | None = None) -> datetime | None:
    """A time as somebody else wrote it, in UTC; None where it is none.

    `zone`: of a time that is written without one; by default that is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return foreign_time(moment) if moment.tzinfo else None


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}

_DURATION = r"^\s*(?:[0-9]+(?:\.[0-9]+)?\s*(?:ms|min|s|m|h|d)\s*)+$"

_NOTHING = r"^\s*0+(?:\.0+)?\s*(?:ms|min|s|m|h|d)?\s*$"

_RATE = r"^\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*(s|min|m|h)\s*$"

_YEAR = 366 * 86400

#: No rate is higher, given or by default.
MOST_A_SECOND = 10_000


def parse_duration(value: object) -> float:
    """`3h`, `90s`, `1h30m` or a number, as seconds; `InvalidValue` says what is wrong."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 1e9 else -1.0
    elif isinstance(value, str) and re.match(_DURATION, value):
        found = re.findall(r"([0-9.]+)\s*([a-z]+)", value)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in found)
    else:
        raise InvalidValue(f"{show(value)} is no length of time; write 90s, 30m, 3h or 1h30m")
    if not 0 < seconds <= _YEAR:
        raise InvalidValue(f"{show(value)} is not above 0 and at most a year")
    return seconds


def seconds_text(seconds: float) -> str:
    """The reverse of `parse_duration`, as a command line has it: never with an exponent."""
    return f"{Decimal(f'{seconds:.10g}'):f}s"


def parse_window(value: object) -> float:
    """A length of time, or 0 (also `false`) for none, as seconds."""
    if value == 0 or (isinstance(value, str) and re.match(_NOTHING, value)):
        return 0.0
    return parse_duration(value)


def parse_start_timeout(value: object) -> float:
    """A length of time above one second, which fal's own clients insist on, as seconds."""
    seconds = parse_duration(value)
    if seconds <= 1:
        raise InvalidValue(f"{show(value)} is too short: fal must have more than a second to begin")
    return seconds


def parse_rate(value: object) -> float:
    """`60/min`, `2/s`, `500/h` as a number per second; `InvalidValue` says what is wrong."""
    match = re.match(_RATE, value) if isinstance(value, str) else None
    if match is None:
        raise InvalidValue(f"{show(value)} is no rate; write 60/min, 2/s or 500/h")
    rate = float(match[1]) / _UNITS[match[2]]
    if not 0 < rate <= MOST_A_SECOND:
        raise InvalidValue(f"{show(value)} is not between 0 and {MOST_A_SECOND:,} a second")
    return rate


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLimit:
    """How many failures end the buying of a run; None: not limited in this way."""

    #: In a row, of the same kind.
    in_a_row: int | None = None
    #: Of the jobs that the run works on, 0 to 1.
    share: float | None = None

    def __str__(self) -> str:
        return f"{self.share * 100:g}%" if self.share is not None else str(self.in_a_row)


_PERCENT = r"^\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*$"


def parse_failure_limit(value: object) -> FailureLimit:
    """`5`, `20%` as a limit; `InvalidValue` says what is wrong."""
    number = (
        int(value) if isinstance(value, str) and re.match(r"^\s*[0-9]{1,6}\s*$", value) else value
    )
    if isinstance(number, float) and number.is_integer():  # JSON has one kind of number
        number = int(number)
    if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= 100_000:
        return FailureLimit(in_a_row=number)
    match = re.match(_PERCENT, value) if isinstance(value, str) else None
    if match is not None and 0 < float(match[1]) <= 100:
        return FailureLimit(share=float(match[1]) / 100)
    raise InvalidValue(f"{show(value)} is no number of failures; write 5, or 20% of the jobs")


def rate_text(rate: float) -> str:
    """The reverse of `parse_rate`, in the unit in which it is a whole number."""
    for unit in ("s", "min", "h"):
        number = rate * _UNITS[unit]
        if round(number) and abs(number - round(number)) < 1e-9 * number:
            return f"{round(number)}/{unit}"
    return f"{Decimal(repr(rate)):f}/s"
