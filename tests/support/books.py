"""The emulator's books: what was really accepted and charged."""

from __future__ import annotations

from typing import Protocol

from kling_batch.emulator import World


class Emulated(Protocol):
    """Whatever has an emulated account."""

    world: World


def paid_once(place: Emulated, count: int) -> None:
    """So many distinct payloads were charged, each exactly once."""
    assert list(place.world.books.charges().values()) == [1] * count
