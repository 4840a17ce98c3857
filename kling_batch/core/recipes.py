"""Recipes of renditions: what is made of a saved file, as plain JSON that any process can follow.

A recipe is identified by its digest, which with the digest of a file identifies a rendition.
`manifest/recipes.py` reads them, `renditions/` follows them. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

JSON = Any


class Kind(StrEnum):
    """What a recipe makes."""

    #: One picture: a frame of a video, or the picture itself.
    STILL = "still"
    #: Frames of a video side by side in one picture.
    STRIP = "strip"
    #: A picture that moves: GIF or WebP.
    LOOP = "loop"
    VIDEO = "video"
    #: Whatever a program of the user makes.
    COMMAND = "command"


class Media(StrEnum):
    """What a file holds."""

    IMAGE = "image"
    VIDEO = "video"


#: Codecs of each container, the default first.
CODECS: dict[str, tuple[str, ...]] = {
    "mp4": ("h264", "h265", "av1"),
    "mov": ("h264", "h265"),
    "webm": ("vp9", "av1"),
}
#: Codec → the quality that is used where `crf` is not said, and the worst that it knows.
CRF: dict[str, tuple[int, int]] = {
    "h264": (23, 51),
    "h265": (28, 51),
    "vp9": (32, 63),
    "av1": (35, 63),
}
PICTURES = ("jpg", "png", "webp", "avif")
FITS = ("contain", "cover", "stretch")
FORMATS = (*PICTURES, "gif", *CODECS)

#: Sides in pixels at most, and frames of a strip.
MOST_PIXELS, MOST_FRAMES = 16_384, 100
#: Pixels of a side that a picture of a format can have, so that programs can read it.
MOST_SIDE = {"jpg": 65_500, "png": 65_535, "webp": 16_383, "avif": 32_768, "gif": 65_535}
#: Pixels of a whole strip at most: it is held in memory, with four bytes for each.
MOST_SHEET = 100_000_000
#: Seconds that a command may take where `timeout` does not say.
COMMAND_TIMEOUT = 600.0
#: Frames a second of a loop where `fps` does not say.
LOOP_FPS = 12.0
INPUT, OUTPUT = "{input}", "{output}"
#: What is told of a command that has changed what it must only read; the ledger keeps it.
CHANGED_INPUT = f"changed {INPUT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A checked recipe: plain JSON, so that any process can carry it out."""

    kind: Kind
    #: Ending of the file with its dot.
    ext: str
    #: As `manifest/recipes.py` normalised them; with `kind` and `ext` all that a worker is told.
    settings: Mapping[str, JSON]

    @property
    def text(self) -> str:
        """Canonical JSON of the whole recipe."""
        whole = {"kind": self.kind.value, "ext": self.ext, **self.settings}
        return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """The identity of the recipe; its name is no part of it."""
        return "r1:" + sha256(self.text.encode()).hexdigest()[:32]

    def takes(self, media: Media) -> bool:
        """Whether the recipe can be made of such a file."""
        if (wanted := self.settings.get("for")) is not None:
            return bool(media == wanted)
        return media is Media.VIDEO or self.kind in (Kind.STILL, Kind.COMMAND)


def has_changed_input(failure: str | None) -> bool:
    """Whether this was recorded of a command that has changed what it must only read."""
    return failure is not None and f"{CHANGED_INPUT}, " in failure


def too_long(format_: str, side: float) -> str:
    """Why a picture of this format cannot have such a side, as a clause; empty: it can."""
    most = MOST_SIDE.get(format_)
    if most is None or side <= most:
        return ""
    return f"{format_} holds at most {most:,} pixels a side"


def too_large(width: float, height: float) -> str:
    """Why a strip cannot have this size, as a clause; empty: it can."""
    if width * height <= MOST_SHEET:
        return ""
    return f"a strip has at most {MOST_SHEET:,} pixels in all"


def rows_of(frames: int, columns: int) -> tuple[int, int]:
    """Columns and rows that a strip has."""
    columns = min(columns, frames)
    return columns, -(-frames // columns)


def media_of(content_type: str) -> Media | None:
    """What a file of this content type holds; None: neither pictures nor video."""
    for media in Media:
        if content_type.startswith(f"{media}/"):
            return media
    return None


def recipe_of(text: str) -> Recipe:
    """The recipe whose `text` was stored."""
    settings = json.loads(text)
    kind, ext = Kind(settings.pop("kind")), settings.pop("ext")
    return Recipe(kind=kind, ext=ext, settings=settings)
