"""Money in whole millionths of a dollar, and what one attempt costs at most.

Must not use floats for sums: a cap that drifts is not a cap. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import cached_property
from typing import NamedTuple

from kling_batch.core.jobs import Arguments, MicroUSD

#: Nobody has a batch of this size; beyond it a slip of the keyboard is likelier.
_MOST = Decimal(10_000_000)
_MICRO = Decimal(1_000_000)
#: The longest clip that any O3 endpoint makes or accepts, in seconds.
LONGEST = 15


class Estimate(NamedTuple):
    """An upper bound of the price; `note` says why it is not exact, or is empty."""

    micro: MicroUSD
    note: str = ""


@dataclass(frozen=True)
class PerSecond:
    """US dollars (as written on the price page) for a second of generated video."""

    silent: str
    #: Empty where sound costs nothing.
    audio: str = ""

    @cached_property
    def rates(self) -> tuple[MicroUSD, MicroUSD]:
        """The price of a silent second and of one with sound."""
        return parse_usd(self.silent), parse_usd(self.audio or self.silent)


@dataclass(frozen=True, slots=True)
class PerImage:
    """US dollars for one image, times a factor for some resolutions."""

    image: str
    factors: Mapping[str, int] = field(default_factory=dict)
    #: How many images a series has at most.
    longest_series: int = 9


Price = PerSecond | PerImage


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


def format_usd(micro: int) -> str:
    """`$0.56`; decimals beyond the cent are shown only where there are any."""
    sign, amount = ("-", -micro) if micro < 0 else ("", micro)
    dollars, rest = divmod(amount, 1_000_000)
    decimals = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{sign}${dollars:,}.{decimals}"


def estimate_images(price: PerImage, arguments: Arguments) -> Estimate:
    """Images asked for × the price of one at that resolution."""
    each = parse_usd(price.image) * price.factors.get(arguments.get("resolution", ""), 1)
    if arguments.get("result_type") != "series":
        return Estimate(MicroUSD(each * arguments.get("num_images", 1)))
    if "series_amount" in arguments:
        return Estimate(MicroUSD(each * arguments["series_amount"]), "a series, billed per image")
    most = price.longest_series
    return Estimate(MicroUSD(each * most), f"the model chooses the number of images: up to {most}")


def estimate_video(
    price: PerSecond, arguments: Arguments, source_seconds: float | None = None
) -> Estimate:
    """Seconds of output × the price of one; an edit is as long as its source."""
    rate = price.rates[arguments.get("generate_audio") is True]
    if "duration" in arguments:
        return Estimate(MicroUSD(rate * int(arguments["duration"])))
    if source_seconds is None:
        return Estimate(MicroUSD(rate * LONGEST), f"length not known beforehand: up to {LONGEST} s")
    exact = Decimal(rate) * Decimal(repr(source_seconds))
    return Estimate(MicroUSD(int(exact.to_integral_value(ROUND_CEILING))))
