"""Stills and strips: pictures from pictures, and from frames of a video.

Pillow is used here, PyAV through `frames.py`. Must not hold more frames than it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError, features

from kling_batch.core.recipes import rows_of, too_large
from kling_batch.renditions.frames import frame_at, frames_of, is_video
from kling_batch.renditions.geometry import Geometry, RenditionError, geometry, must_fit

#: Quality where a recipe does not say.
_QUALITY = {"jpg": 85, "webp": 80, "avif": 65}
_PILLOW = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}


def make_picture(source: Path, recipe: Mapping[str, Any], temporary: Path) -> None:
    """Make a still or a strip. Raises `RenditionError`."""
    if not can_write(recipe["format"]):
        raise RenditionError(f"this installation of Pillow cannot write {recipe['format']}")
    if recipe["kind"] == "strip":
        picture = _strip(source, recipe)
    elif is_video(source):
        picture = _shaped(frame_at(source, recipe.get("at", 0.0)), recipe)
    else:
        picture = _shaped(_opened(source), recipe)
    _save(picture, recipe, temporary)


def can_write(name: str) -> bool:
    """Whether this installation of Pillow can write a format."""
    return name not in ("webp", "avif") or bool(features.check(name))


def _opened(source: Path) -> Image.Image:
    try:
        with Image.open(source) as opened:
            return ImageOps.exif_transpose(opened)
    except (UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise RenditionError(f"{source.name} cannot be read as a picture: {error}") from error


def _shaped(picture: Image.Image, recipe: Mapping[str, Any]) -> Image.Image:
    wanted = geometry(recipe, *picture.size, even=False)
    x, y, width, height = wanted.area
    size = (wanted.width, wanted.height)
    if size == picture.size and wanted.area == (0, 0, *picture.size):
        return picture
    if picture.mode == "P":
        picture = picture.convert("RGBA")
    box = (x, y, x + width, y + height)
    return picture.resize(size, Image.Resampling.LANCZOS, box=box)


def _strip(source: Path, recipe: Mapping[str, Any]) -> Image.Image:
    """Frames of a video, evenly spaced, in rows of so many columns."""
    columns, rows = rows_of(recipe["frames"], recipe["columns"])
    sheet: Image.Image | None = None
    for number, frame in enumerate(frames_of(source, recipe["frames"])):
        if sheet is None:
            _check_sheet(recipe, geometry(recipe, *frame.size, even=False), columns, rows)
        picture = _shaped(frame, recipe)
        if sheet is None:
            sheet = Image.new("RGB", (picture.width * columns, picture.height * rows))
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * picture.width, row * picture.height))
    if sheet is None:
        raise RenditionError(f"{source.name} has no frame that can be read")
    return sheet


def _check_sheet(recipe: Mapping[str, Any], each: Geometry, columns: int, rows: int) -> None:
    """Refuse a strip that is too large before memory is taken for it."""
    width, height = each.width * columns, each.height * rows
    must_fit(recipe, width, height)
    if why := too_large(width, height):
        raise RenditionError(f"it would be {width:,} x {height:,} pixels: {why}")


def _save(picture: Image.Image, recipe: Mapping[str, Any], temporary: Path) -> None:
    name = recipe["format"]
    options: dict[str, Any] = {"optimize": True} if name in ("jpg", "png") else {}
    if name in _QUALITY:
        options["quality"] = recipe.get("quality", _QUALITY[name])
    if name == "jpg":
        picture = _opaque(picture)
    elif picture.mode not in ("RGB", "RGBA", "L"):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    try:
        picture.save(temporary, _PILLOW[name], **options)
    except ValueError as error:
        raise RenditionError(f"{name} cannot hold this picture: {error}") from error


def _opaque(picture: Image.Image) -> Image.Image:
    """On white, as JPEG has no transparency."""
    if picture.mode in ("RGBA", "LA", "PA", "P"):
        clear = picture.convert("RGBA")
        ground = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(ground, clear).convert("RGB")
    return picture.convert("RGB")
