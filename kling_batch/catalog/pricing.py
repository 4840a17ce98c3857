"""Prices of endpoints, and the upper estimate of what one attempt costs.

Must not add up floats: a cap must be exact. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from functools import cached_property
from typing import NamedTuple

from kling_batch.core.jobs import Arguments
from kling_batch.core.quantities import MicroUSD, parse_usd

#: The longest clip that any endpoint makes or accepts, in seconds.
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
    #: With a clip in an element; empty where that is impossible or makes no difference.
    clip: str = ""

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
    note = ""
    if price.clip and _has_clip(arguments):
        rate = max(rate, parse_usd(price.clip))
        note = "a clip in an element, priced as video-to-video; fal publishes no price for it"
    if "duration" in arguments:
        return Estimate(MicroUSD(rate * int(arguments["duration"])), note)
    if source_seconds is None:
        return Estimate(MicroUSD(rate * LONGEST), f"length not known beforehand: up to {LONGEST} s")
    exact = Decimal(rate) * Decimal(repr(source_seconds))
    return Estimate(MicroUSD(int(exact.to_integral_value(ROUND_CEILING))))


def _has_clip(arguments: Arguments) -> bool:
    elements = arguments.get("elements")
    return isinstance(elements, list) and any(
        isinstance(element, Mapping) and element.get("video_url") is not None
        for element in elements
    )
