"""Limits of media files, as data: what fal's pages say about size, shape and length of an input.

Must not open files: `manifest/media.py` holds a file against them. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

#: At least, at most; None where nothing is said.
Range = tuple[float | None, float | None]
ANY: Range = (None, None)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Ranges of a media file's properties, ends included."""

    megabytes: float | None = None
    #: Pixels of each side.
    side: Range = ANY
    #: Width ÷ height.
    ratio: Range = ANY
    seconds: Range = ANY
    #: Frames a second.
    fps: Range = ANY


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """Bounds that a file must keep, and narrower ones that only some sources state."""

    hard: Bounds = Bounds()
    soft: Bounds = Bounds()
    #: Who states the narrower ones, as the beginning of a sentence: `pages of early 2026 say`.
    soft_source: str = ""

    @property
    def longest(self) -> float | None:
        """The greatest length in seconds that is surely allowed to be sent."""
        return self.hard.seconds[1] or self.soft.seconds[1]
