"""Estimates of made-up prices: an upper bound, exact to the micro-dollar, and why it is one."""

from __future__ import annotations

from typing import Any

import pytest

from kling_batch.catalog.pricing import (
    Case,
    Counted,
    Estimate,
    PerImage,
    PerSecond,
    Rate,
    estimate_images,
    estimate_seconds,
)

CLIP_NOTE = "a clip in an element; fal publishes no price for it"
FILM = PerSecond(
    (
        Rate(usd="0.10"),
        Rate(usd="0.15", sound=True),
        Rate(usd="0.20", voice=True),
        Rate(usd="0.12", clip=True, note=CLIP_NOTE),
        Rate(usd="0.30", resolution="4k"),
    )
)
STILL = PerImage("0.03", factors={"4K": 2}, longest_series=5)


@pytest.mark.parametrize(
    ("case", "micro", "note"),
    [
        (Case(), 500_000, ""),
        (Case(sound=True), 750_000, ""),
        (Case(voice=True), 1_000_000, ""),
        (Case(sound=True, voice=True), 1_000_000, ""),
        (Case(clip=True), 600_000, CLIP_NOTE),
        (Case(clip=True, sound=True), 750_000, ""),
        (Case(resolution="4k"), 1_500_000, ""),
        (Case(resolution="720p"), 500_000, ""),
    ],
)
def test_of_several_rates_the_dearest_counts(case: Case, micro: int, note: str) -> None:
    assert estimate_seconds(FILM, case, 5, 0, []) == Estimate(micro, note)


def test_of_two_equal_rates_the_one_with_a_note_is_reported() -> None:
    price = PerSecond((Rate(usd="0.10"), Rate(usd="0.10", note="a guess")))

    assert estimate_seconds(price, Case(), 1, 0, ["up to 15 s"]).note == "a guess; up to 15 s"


@pytest.mark.parametrize(
    ("rate", "output", "inputs", "micro"),
    [
        (Rate(usd="0.10"), 5.000001, 0, 500_001),
        (Rate(usd="0.10"), 0.1, 7, 10_000),
        (Rate(usd="0.10"), 10.04, 0, 1_004_000),
        (Rate(usd="0.10", counted=Counted.INPUT), 5, 7, 700_000),
        (Rate(usd="0.10", counted=Counted.BOTH), 5, 7, 1_200_000),
        (Rate(usd="0.10", counted=Counted.BOTH, least=2), 5, 3, 1_000_000),
        (Rate(usd="0.10", counted=Counted.BOTH, least=2), 5, 6, 1_100_000),
        (Rate(usd="0.014", block=5), 5, 0, 70_000),
        (Rate(usd="0.014", block=5), 5.01, 0, 140_000),
    ],
)
def test_seconds_are_counted_exactly_and_rounded_up(
    rate: Rate, output: float, inputs: float, micro: int
) -> None:
    assert rate.cost(output, inputs) == micro


@pytest.mark.parametrize(
    ("arguments", "micro", "note"),
    [
        ({}, 30_000, ""),
        ({"num_images": 3}, 90_000, ""),
        ({"num_images": 3, "resolution": "4K"}, 180_000, ""),
        ({"num_images": 3, "resolution": "1K"}, 90_000, ""),
        ({"num_images": 3, "result_type": "single"}, 90_000, ""),
        (
            {"result_type": "series", "series_amount": 4, "num_images": 9},
            120_000,
            "a series, billed per image",
        ),
        (
            {"result_type": "series", "resolution": "4K"},
            300_000,
            "the model chooses the number of images: up to 5",
        ),
    ],
)
def test_images_cost_their_number(arguments: dict[str, Any], micro: int, note: str) -> None:
    assert estimate_images(STILL, arguments) == Estimate(micro, note)
