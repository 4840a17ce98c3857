"""Text of `kling-batch --version`. Must not import what is not needed for it."""

from __future__ import annotations

import sys

from kling_batch import __version__
from kling_batch.catalog import DATED


def version() -> str:
    """The version, with what decides how a batch is read and run: Python and the catalogue."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"kling-batch, version {__version__} (Python {python}, catalogue of {DATED})"
