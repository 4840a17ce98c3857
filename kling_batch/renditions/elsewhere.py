"""Renditions made on other machines, as a run sees them: a protocol, and what was not made there.

Must not know how tasks get there: `workers/renderers.py` implements it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from kling_batch.core.locations import Location
from kling_batch.core.recipes import Recipe
from kling_batch.renditions.make import Made

RenditionOrder: TypeAlias = tuple[Recipe, Location]
"""One rendition that is wanted of a file, and its final name."""


@dataclass(frozen=True, slots=True)
class Unmade:
    """What no worker has made; `reason`: what one said of it, if it tried."""

    worker: str = ""
    reason: str = ""
    #: Its command has changed the worker's copy: it must not run on the file itself.
    changed_input: bool = False


class Elsewhere(Protocol):
    """Whoever makes renditions on other machines."""

    @property
    def most(self) -> int:
        """Files whose renditions are asked for at once at most."""

    async def make(
        self, source: Location, sha256: str, orders: Sequence[RenditionOrder]
    ) -> list[Made | Unmade]:
        """Make renditions of one file; what is not made is to be made here. Raises `OSError`."""

    def made_here(self, unmade: Unmade) -> None:
        """This machine has made what a worker could not: the fault was the worker's."""
