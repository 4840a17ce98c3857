"""Kling 1.0 on fal.ai as data: endpoints, parameters, prices, and the source of each.

Data only. No price of it is published.
"""

from __future__ import annotations

from functools import partial

from kling_batch.catalog import common, earlier, rules
from kling_batch.catalog.endpoint import Generation
from kling_batch.catalog.parameter import Parameter

_CAMERA = (
    Parameter(
        name="camera_control",
        kind="choice",
        choices=("down_back", "forward_up", "right_turn_forward", "left_turn_forward"),
        doc="How the camera moves.",
    ),
    Parameter(
        name="advanced_camera_control",
        kind="object",
        doc="One movement of the camera, and how much of it.",
        fields=(
            Parameter(
                name="movement_type",
                kind="choice",
                choices=("horizontal", "vertical", "pan", "tilt", "roll", "zoom"),
                required=True,
                doc="Which movement.",
            ),
            Parameter(name="movement_value", kind="decimal", required=True, doc="How much of it."),
        ),
    ),
)


_clip = partial(earlier.unpriced_clip, version="v1", tier="standard")


GENERATION = Generation(
    name="v1.0",
    doc="Kling 1.0: silent clips of 5 or 10 s from a prompt or frames; no price is published.",
    since="2024",
    endpoints=(
        _clip(
            "text-to-video",
            "A clip from a prompt, the camera moved as wanted.",
            (common.ASPECT_VIDEO, *_CAMERA),
            rules.mentions,
        ),
        _clip(
            "image-to-video",
            "A clip that begins with a picture, parts of which may be moved.",
            (earlier.FIRST_FRAME, earlier.TAIL_IMAGE_URL, *earlier.MASKS),
            rules.mentions_of_frames,
        ),
    ),
)
