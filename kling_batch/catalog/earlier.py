"""What the generations before 2.6 share: data only. What is newer is in `common.py`."""

from __future__ import annotations

from dataclasses import replace

from kling_batch.catalog import common
from kling_batch.catalog.endpoint import Endpoint, Evidence
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.rules import Rule

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


def unpriced_clip(
    mode: str,
    doc: str,
    parameters: tuple[Parameter, ...],
    rule: Rule,
    *,
    version: str,
    tier: str,
) -> Endpoint:
    """An endpoint for clips of which fal publishes no price.

    `version` is the one in its address, `parameters` all but those of `OLD_CLIP` and `cfg_scale`.
    """
    endpoint_id = f"fal-ai/kling-video/{version}/{tier}/{mode}"
    return Endpoint(
        id=endpoint_id,
        mode=mode,
        tier=tier,
        output="video",
        doc=doc,
        parameters=(*parameters, *OLD_CLIP, common.CFG_SCALE),
        rules=(rule,),
        price=None,
        source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
        dated="2026-08",
        price_source=f"https://fal.ai/models/{endpoint_id}",
        price_dated="2026-08",
        price_evidence=Evidence.INFERRED,
        refused=NEVER_SOUND,
        longest=10,
        typical_seconds=360,
    )
