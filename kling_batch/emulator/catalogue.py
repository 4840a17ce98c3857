"""Every endpoint of the emulated platform, found by its id. Holds no data of its own."""

from __future__ import annotations

from collections.abc import Mapping

from .earlier import EARLIER
from .endpoints import O3, Endpoint, Media, Tariff
from .families import FAMILIES
from .speech import SPEECH

CATALOGUE: Mapping[str, Endpoint] = {**O3, **FAMILIES, **SPEECH, **EARLIER}

#: Below these only the listed ids exist, so that a misspelt one is refused.
_COMPLETE = (
    "fal-ai/kling-video/",
    *(f"fal-ai/kling-image/{family}/" for family in ("o3", "o1", "v3")),
    "kling/v4/",
)
_OWNERS = ("fal-ai/", "kling/")
_OTHER = Tariff(unit="request", unit_micro_usd=50_000, call=50_000)


def endpoint_for(endpoint_id: str, extra: tuple[str, ...] = ()) -> Endpoint | None:
    """Endpoint of this id: a generic one for other models, None if fal has no such app."""
    if found := CATALOGUE.get(endpoint_id):
        return found
    if endpoint_id not in extra:
        misspelt = f"{endpoint_id}/".startswith(_COMPLETE)
        if misspelt or not endpoint_id.startswith(_OWNERS):
            return None
    return _loose(endpoint_id)


def _loose(endpoint_id: str) -> Endpoint:
    media: Media = "other"
    tariff = _OTHER
    if "video" in endpoint_id:
        media = "video"
        tariff = Tariff(unit_micro_usd=140_000, second=84_000, sound=112_000, clip=126_000)
    elif "image" in endpoint_id or "flux" in endpoint_id:
        media = "image"
        tariff = Tariff(unit="image", unit_micro_usd=28_000, image=28_000)
    speed = "standard" if media == "video" else "image"
    return Endpoint(id=endpoint_id, media=media, speed=speed, known=False, tariff=tariff)
