"""Parameters that the generations before 2.6 share: data only. What is newer is in `common.py`."""

from __future__ import annotations

from dataclasses import replace

from kling_batch.catalog import common
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter

#: fal states no limits of their frames.
_OLD_FRAME = MediaLimits(
    soft=Bounds(megabytes=10, side=(300, None), ratio=(0.4, 2.5)),
    soft_source="fal's pages of later generations say",
)
FIRST_FRAME = replace(common.IMAGE_URL, limits=_OLD_FRAME)
TAIL_IMAGE_URL = replace(
    common.END_IMAGE_URL, name="tail_image_url", also=("end_image_url",), limits=_OLD_FRAME
)
#: What nearly every one of their clips takes.
OLD_CLIP = (
    common.PROMPT_OPEN_NEEDED,
    common.FIVE_OR_TEN,
    replace(common.NEGATIVE_PROMPT, maximum=None),
)
_POINT = tuple(
    Parameter(name=name, kind="decimal", required=True, doc="Pixels.") for name in ("x", "y")
)
MASKS = (
    Parameter(
        name="static_mask_url",
        kind="url",
        media="image",
        doc="A mask of what does not move.",
    ),
    Parameter(
        name="dynamic_masks",
        kind="list",
        doc="Masks of what moves, each with its path.",
        item=Parameter(
            name="mask",
            kind="object",
            doc="What moves, and along which points.",
            fields=(
                Parameter(
                    name="mask_url", kind="url", media="image", required=True, doc="The mask."
                ),
                Parameter(
                    name="trajectories",
                    kind="list",
                    doc="The points of its path.",
                    item=Parameter(
                        name="point", kind="object", doc="One point of the path.", fields=_POINT
                    ),
                ),
            ),
        ),
    ),
)
NEVER_SOUND = {"generate_audio": "it never makes sound"}
