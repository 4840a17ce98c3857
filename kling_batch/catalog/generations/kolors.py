"""Kolors virtual try-on on fal.ai as data: endpoint, parameters, price, and their sources.

Data only. Its answer has one picture, not a list.
"""

from __future__ import annotations

from kling_batch.catalog import common, rules
from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.media import Bounds, MediaLimits
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import PerCall

_ID = "fal-ai/kling/v1-5/kolors-virtual-try-on"
_PICTURE = MediaLimits(
    soft=Bounds(megabytes=10, side=(300, None)), soft_source="fal's pages of other models say"
)


def _picture(name: str, doc: str) -> Parameter:
    return Parameter(name=name, kind="url", media="image", limits=_PICTURE, required=True, doc=doc)


GENERATION = Generation(
    name="kolors",
    doc="Kolors virtual try-on: a person in a garment, from a picture of each.",
    since="2025-01",
    endpoints=(
        Endpoint(
            id=_ID,
            mode="try-on",
            tier="pro",
            output="image",
            doc="A picture of the person in the garment.",
            parameters=(
                _picture("human_image_url", "Who wears it."),
                _picture("garment_image_url", "What is worn."),
                common.SYNC_MODE,
            ),
            rules=(rules.kept_in_history,),
            price=PerCall("0.07"),
            source="https://github.com/fal-ai/fal-js libs/client/src/types/endpoints.ts",
            dated="2026-08",
            price_source=f"https://fal.ai/models/{_ID}",
            price_dated="2026-08",
            price_evidence=Evidence.THIRD_PARTIES,
            typical_seconds=30,
        ),
    ),
)
