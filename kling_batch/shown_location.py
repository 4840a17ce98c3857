"""Location as messages and commands show it: relative to the working folder where it is below.

Must not look whether anything is there.
"""

from __future__ import annotations

import os

from kling_batch.core.locations import Location, ObjectAddress


def shown(path: Location) -> str:
    """A location for messages: a path is relative where it is below the working folder."""
    if isinstance(path, ObjectAddress):
        return str(path)
    if not path.is_absolute() and os.pardir not in str(path):
        return str(path)
    try:
        relative = os.path.relpath(path)
    except ValueError:  # on another drive
        return str(path)
    return str(path) if relative.startswith("..") else relative
