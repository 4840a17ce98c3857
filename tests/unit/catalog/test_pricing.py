"""Estimates of made-up prices: an upper bound, exact to the micro-dollar, and why it is one."""

from __future__ import annotations

from typing import Any

import pytest

from kling_batch.catalog.pricing import (
    Estimate,
    PerImage,
    PerSecond,
    estimate_images,
    estimate_video,
)

FILM = PerSecond("0.10", audio="0.15", clip="0.12")
STILL = PerImage("0.03", factors={"4K": 2}, longest_series=5)
CLIP_NOTE = "a clip in an element, priced as video-to-video; fal publishes no price for it"


@pytest.mark.parametrize(
    ("arguments", "micro", "note"),
    [
        ({"duration": "5"}, 500_000, ""),
        ({"duration": 7, "generate_audio": False}, 700_000, ""),
        ({"duration": "5", "generate_audio": True}, 750_000, ""),
        ({"duration": "5", "generate_audio": "yes"}, 500_000, ""),
        ({}, 1_500_000, "length not known beforehand: up to 15 s"),
        ({"duration": "5", "elements": [{"video_url": "u"}]}, 600_000, CLIP_NOTE),
        ({"duration": "5", "elements": [{}, {"video_url": "u"}]}, 600_000, CLIP_NOTE),
        (
            {"duration": "5", "elements": [{"video_url": "u"}], "generate_audio": True},
            750_000,
            CLIP_NOTE,
        ),
        ({"duration": "5", "elements": [{"video_url": None}]}, 500_000, ""),
        ({"duration": "5", "elements": [{"image_url": "u"}]}, 500_000, ""),
        ({"duration": "5", "elements": ["video_url"]}, 500_000, ""),
        ({"duration": "5", "elements": "video_url"}, 500_000, ""),
        ({"duration": "5", "elements": None}, 500_000, ""),
    ],
)
def test_a_video_costs_its_seconds(arguments: dict[str, Any], micro: int, note: str) -> None:
    assert estimate_video(FILM, arguments) == Estimate(micro, note)


def test_an_endpoint_without_a_price_of_clips_takes_them_for_nothing_more() -> None:
    arguments = {"duration": "5", "elements": [{"video_url": "u"}]}

    assert estimate_video(PerSecond("0.10"), arguments) == Estimate(500_000, "")
    assert PerSecond("0.10").rates == (100_000, 100_000)


@pytest.mark.parametrize(
    ("seconds", "micro"), [(5.0, 500_000), (5.000001, 500_001), (0.1, 10_000), (10.04, 1_004_000)]
)
def test_an_edit_costs_the_seconds_of_its_source_rounded_up(seconds: float, micro: int) -> None:
    assert estimate_video(FILM, {}, seconds) == Estimate(micro, "")


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
