"""Price table of the platform: the cost of a finished render and its billing units. Pure.

Written from docs/fal-api.md#prices, not from the client's catalogue, so that each checks the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .endpoints import Endpoint, is_on

VIDEO_UNIT_MICRO_USD = 140_000
"""Billing unit of standard and pro video, whatever price per second the model page shows."""
UNIT_4K_MICRO_USD = 420_000
"""Billing unit of 4k video: one second."""

_PER_SECOND: Mapping[tuple[str, bool], int] = {
    ("standard", False): 84_000,
    ("standard", True): 112_000,
    ("pro", False): 112_000,
    ("pro", True): 140_000,
    ("4k", False): 420_000,
    ("4k", True): 420_000,
}
_PER_SECOND_EDITED: Mapping[str, int] = {"standard": 126_000, "pro": 168_000, "4k": 420_000}
_PER_IMAGE = 28_000
_PER_VOICE = 7_000
_PER_OTHER = 50_000


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount and the same in billing units."""

    micro_usd: int = 0
    units: float = 0.0


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """Price of one unit as GET /models/pricing returns it."""

    micro_usd: int
    unit: str


def unit_price(endpoint: Endpoint) -> UnitPrice:
    """Price of one unit; for videos this is not the price per second of the model page."""
    if endpoint.media == "video":
        uhd = endpoint.tier == "4k"
        return UnitPrice(UNIT_4K_MICRO_USD if uhd else VIDEO_UNIT_MICRO_USD, "second")
    if endpoint.media == "image":
        return UnitPrice(_PER_IMAGE, "image")
    return UnitPrice(_PER_VOICE if endpoint.media == "voice" else _PER_OTHER, "request")


def charge_for(
    endpoint: Endpoint, payload: Mapping[str, Any], *, seconds: float, images: int
) -> Charge:
    """Cost of a successful render; `seconds` and `images` are those of the output."""
    price = unit_price(endpoint)
    if endpoint.media == "video":
        cost = Fraction(seconds).limit_denominator(1_000_000) * _per_second(endpoint, payload)
    elif endpoint.media == "image":
        cost = Fraction(images * _PER_IMAGE * (2 if payload.get("resolution") == "4K" else 1))
    else:
        cost = Fraction(price.micro_usd)
    return Charge(micro_usd=round(cost), units=round(float(cost / price.micro_usd), 6))


def _per_second(endpoint: Endpoint, payload: Mapping[str, Any]) -> int:
    elements = payload.get("elements")
    with_clip = isinstance(elements, list) and any(
        isinstance(each, Mapping) and each.get("video_url") for each in elements
    )
    if endpoint.operation.startswith("video-to-video") or with_clip:
        return _PER_SECOND_EDITED[endpoint.tier]
    return _PER_SECOND[endpoint.tier, is_on(payload.get("generate_audio"))]
