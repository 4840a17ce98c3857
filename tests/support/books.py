"""The emulator's books: what was really accepted and charged."""

from __future__ import annotations

import json
import ssl
import urllib.request
from typing import Any, Protocol

from kling_batch.emulator import World


class Emulated(Protocol):
    """Whatever has an emulated account."""

    world: World


def paid_once(place: Emulated, count: int) -> None:
    """So many distinct payloads were charged, each exactly once."""
    assert list(place.world.books.charges().values()) == [1] * count


def books(env: dict[str, str]) -> dict[str, Any]:
    """The books of an emulator that `tls_stand_in` serves."""
    context = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
    with urllib.request.urlopen(env["EMULATOR"] + "/_emulator/books", context=context) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
