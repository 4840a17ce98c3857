"""Prices of finished renders and their billing units, computed from an endpoint's tariff. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from .endpoints import Endpoint, Tariff, makes_sound


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
    return UnitPrice(endpoint.tariff.unit_micro_usd, endpoint.tariff.unit)


def charge_for(
    endpoint: Endpoint,
    payload: Mapping[str, Any],
    *,
    seconds: float,
    images: int,
    input_seconds: float = 0.0,
) -> Charge:
    """Cost of a successful render; `seconds` and `images` are those of the output."""
    tariff = endpoint.tariff
    if tariff.image:
        cost = Fraction(images * tariff.image * (2 if payload.get("resolution") == "4K" else 1))
    elif tariff.call:
        cost = Fraction(tariff.call)
    elif tariff.block:
        cost = Fraction(ceil(_exact(input_seconds) / tariff.block) * tariff.block * tariff.second)
    elif tariff.resolutions:
        cost = _by_resolution(tariff, payload, _exact(seconds), _exact(input_seconds))
    else:
        cost = _exact(seconds) * _per_second(endpoint, payload)
    return Charge(micro_usd=round(cost), units=round(float(cost / tariff.unit_micro_usd), 6))


def _per_second(endpoint: Endpoint, payload: Mapping[str, Any]) -> int:
    """The dearest rate that applies."""
    tariff = endpoint.tariff
    rates = [tariff.second]
    if endpoint.sound == "asked" and makes_sound(endpoint, payload):
        rates.append(tariff.sound)
    if has_clip(payload):
        rates.append(tariff.clip)
    if payload.get("voice_ids") or any(each.get("voice_id") for each in _elements(payload)):
        rates.append(tariff.voice)
    return max(rates)


def _by_resolution(
    tariff: Tariff, payload: Mapping[str, Any], seconds: Fraction, inputs: Fraction
) -> Fraction:
    """With a clip, input and output are counted, and twice the output at least."""
    plain, with_clip = tariff.resolutions[str(payload.get("resolution") or "1080p")]
    if has_clip(payload) or payload.get("video_url"):
        return max(seconds + inputs, 2 * seconds) * with_clip
    return seconds * plain


def has_clip(payload: Mapping[str, Any]) -> bool:
    """Whether a clip is among references or elements."""
    return bool(payload.get("video_urls")) or any(
        each.get("video_url") for each in _elements(payload)
    )


def _elements(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    elements = payload.get("elements")
    found = elements if isinstance(elements, list) else []
    return [each for each in found if isinstance(each, Mapping)]


def _exact(seconds: float) -> Fraction:
    return Fraction(seconds).limit_denominator(1_000_000)
