"""Prices of endpoints, and the upper estimate of what one attempt costs.

Must not add up floats: a cap must be exact. Must not know endpoints. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from enum import Enum
from typing import NamedTuple

from kling_batch.core.jobs import Arguments
from kling_batch.core.quantities import MicroUSD, parse_usd


class Estimate(NamedTuple):
    """An upper bound of the price; `note` says why it is not exact, or is empty."""

    micro: MicroUSD
    note: str = ""


class Counted(Enum):
    """The seconds that a rate is multiplied by."""

    OUTPUT = "of output"
    INPUT = "of input"
    BOTH = "of input and output"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """US dollars for a second, as written on the price page, and when it applies.

    A condition that is None does not matter.
    """

    usd: str
    #: Sound is made with the video.
    sound: bool | None = None
    #: A voice is bound to the video.
    voice: bool | None = None
    #: A clip is among the inputs.
    clip: bool | None = None
    resolution: str | None = None
    counted: Counted = Counted.OUTPUT
    #: At least as many times the output's seconds are counted.
    least: int = 0
    #: Seconds are counted in started blocks of so many.
    block: int = 0
    #: Why it is not a published price, where it is none.
    note: str = ""

    def applies(self, case: Case) -> bool:
        """Whether it is the rate of such a render, or one of several."""
        conditions = (
            (self.sound, case.sound),
            (self.voice, case.voice),
            (self.clip, case.clip),
            (self.resolution, case.resolution),
        )
        return all(wanted in (None, given) for wanted, given in conditions)

    def cost(self, output: float, inputs: float) -> MicroUSD:
        """The price of a render of these lengths in seconds."""
        made, given = Decimal(repr(output)), Decimal(repr(inputs))
        amounts = {Counted.OUTPUT: made, Counted.INPUT: given, Counted.BOTH: made + given}
        seconds = max(amounts[self.counted], self.least * made)
        if self.block:
            seconds = (seconds / self.block).to_integral_value(ROUND_CEILING) * self.block
        exact = Decimal(parse_usd(self.usd)) * seconds
        return MicroUSD(int(exact.to_integral_value(ROUND_CEILING)))


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a rate may depend on, of one request."""

    sound: bool = False
    voice: bool = False
    clip: bool = False
    resolution: str = ""


@dataclass(frozen=True)
class PerSecond:
    """Rates of video or sound; of several that apply, the dearest counts."""

    rates: tuple[Rate, ...]


@dataclass(frozen=True, slots=True)
class PerImage:
    """US dollars for one image, times a factor for some resolutions."""

    image: str
    factors: Mapping[str, int] = field(default_factory=dict)
    #: How many images a series has at most.
    longest_series: int = 9


@dataclass(frozen=True, slots=True)
class PerCall:
    """US dollars for one request, whatever is in it."""

    usd: str


Price = PerSecond | PerImage | PerCall


def deciding(price: Price | None) -> frozenset[str]:
    """The names, also the inner ones, of all arguments that such a price may depend on."""
    if isinstance(price, PerImage):
        return frozenset({"num_images", "result_type", "series_amount", "resolution"})
    return _DECIDING_SECONDS if isinstance(price, PerSecond) else frozenset()


_DECIDING_SECONDS = frozenset(
    (
        "duration",
        "multi_prompt",
        "generate_audio",
        "resolution",
        "elements",
        "video_url",
        "video_urls",
        "audio_url",
        "character_orientation",
        "voice_id",
        "voice_ids",
    )
)


def estimate_images(
    price: PerImage, arguments: Arguments, passed_on: Collection[str] = ()
) -> Estimate:
    """Images asked for × the price of one at that resolution.

    Names in `passed_on` are sent as they stand, and nobody knows what fal makes of them.
    """
    each = parse_usd(price.image) * price.factors.get(arguments.get("resolution", ""), 1)
    if passed_on:
        most = max(price.longest_series, arguments.get("num_images", 1))
        note = f"`{min(passed_on)}` is passed on unchecked: up to {most} images"
        return Estimate(MicroUSD(each * most), note)
    if arguments.get("result_type") != "series":
        return Estimate(MicroUSD(each * arguments.get("num_images", 1)))
    if "series_amount" in arguments:
        return Estimate(MicroUSD(each * arguments["series_amount"]), "a series, billed per image")
    most = price.longest_series
    return Estimate(MicroUSD(each * most), f"the model chooses the number of images: up to {most}")


def estimate_seconds(
    price: PerSecond, case: Case, output: float, inputs: float, notes: Iterable[str]
) -> Estimate:
    """The dearest rate that applies, for outputs and inputs of these lengths in seconds.

    `notes` say why the lengths are not exact.
    """
    costs = [(rate.cost(output, inputs), rate) for rate in price.rates if rate.applies(case)]
    micro, rate = max(costs, key=lambda each: (each[0], bool(each[1].note)))
    return Estimate(micro, "; ".join(note for note in (rate.note, *notes) if note))
