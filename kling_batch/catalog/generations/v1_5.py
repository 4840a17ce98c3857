"""Kling 1.5 on fal.ai as data: endpoints, parameters, prices, and the source of each.

Data only. No price of it is published.
"""

from __future__ import annotations

from functools import partial

from kling_batch.catalog import common, earlier, rules
from kling_batch.catalog.endpoint import Generation

_clip = partial(earlier.unpriced_clip, version="v1.5", tier="pro")


GENERATION = Generation(
    name="v1.5",
    doc="Kling 1.5: silent clips of 5 or 10 s from a prompt or frames; no price is published.",
    since="2024",
    endpoints=(
        _clip("text-to-video", "A clip from a prompt.", (common.ASPECT_VIDEO,), rules.mentions),
        _clip(
            "image-to-video",
            "A clip that begins with a picture, parts of which may be moved.",
            (earlier.FIRST_FRAME, earlier.TAIL_IMAGE_URL, *earlier.MASKS, common.ASPECT_VIDEO),
            rules.mentions_of_frames,
        ),
    ),
)
