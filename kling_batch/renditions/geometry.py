"""Sizes of renditions: which part of a picture is kept, and how large it becomes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kling_batch.core.recipes import too_long


class RenditionError(Exception):
    """A rendition cannot be made; the message is a sentence for people."""


class ChangedInputError(RenditionError):
    """A command has changed what it must only read, whatever else became of it."""


class Area(NamedTuple):
    """A part of a picture in pixels, its corner first."""

    x: int
    y: int
    width: int
    height: int


class Geometry(NamedTuple):
    """What is kept of a picture, and the size that it is brought to."""

    area: Area
    width: int
    height: int


def geometry(settings: Mapping[str, Any], width: int, height: int, *, even: bool) -> Geometry:
    """The geometry of a recipe for a picture of this size; `even`: as video codecs need it.

    Raises:
        RenditionError: the area that the recipe cuts out is not inside the picture, or the format
            cannot hold what comes of it.
    """
    area = _cropped(settings.get("crop"), width, height)
    wide, high = settings.get("width"), settings.get("height")
    if wide and high and settings.get("fit") == "cover":
        area = _of_ratio(area, wide, high)
    elif wide and high and settings.get("fit") != "stretch":
        scale = min(wide / area.width, high / area.height)
        wide, high = area.width * scale, area.height * scale
    elif wide and not high:
        high = area.height * wide / area.width
    elif high and not wide:
        wide = area.width * high / area.height
    step = 2 if even else 1
    found = Geometry(area, _side(wide or area.width, step), _side(high or area.height, step))
    must_fit(settings, found.width, found.height)
    return found


def must_fit(settings: Mapping[str, Any], width: int, height: int) -> None:
    """Refuse a picture that its format cannot hold before it is made. Raises `RenditionError`."""
    if why := too_long(settings.get("format", ""), max(width, height)):
        raise RenditionError(f"it would be {width:,} x {height:,} pixels: {why}")


def _side(pixels: float, step: int) -> int:
    return max(step, round(pixels / step) * step)


def _cropped(crop: str | None, width: int, height: int) -> Area:
    whole = Area(0, 0, width, height)
    if not crop:
        return whole
    if ":" in crop:
        return _of_ratio(whole, *map(int, crop.split(":")))
    size, *corner = crop.split("+")
    wide, high = map(int, size.split("x"))
    x, y = map(int, corner) if corner else ((width - wide) // 2, (height - high) // 2)
    if min(x, y) < 0 or x + wide > width or y + high > height:
        raise RenditionError(f"the area {crop} is not inside the picture of {width}x{height}")
    return Area(x, y, wide, high)


def _of_ratio(area: Area, wide: int, high: int) -> Area:
    """The largest part of this ratio in the middle of an area."""
    width = min(area.width, max(1, round(area.height * wide / high)))
    height = min(area.height, max(1, round(area.width * high / wide)))
    return Area(
        area.x + (area.width - width) // 2, area.y + (area.height - height) // 2, width, height
    )
