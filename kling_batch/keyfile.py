"""fal's key from a `.env` file in the working folder, as the seed's scripts read it.

Only fal's own variables are taken, and never over what the environment says already.
"""

from __future__ import annotations

import os
from pathlib import Path

import dotenv

#: The variables that fal-client reads credentials from (facts §8.3).
KEYS = ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET")


def read_key_file(folder: Path | None = None) -> None:
    """Put the key where fal-client finds it; no file, an unreadable one: nothing happens."""
    if any(os.environ.get(name) for name in KEYS):
        return
    path = (folder or Path.cwd()) / ".env"
    if not path.is_file():
        return
    try:
        values = dotenv.dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError):
        return
    for name in KEYS:
        if value := values.get(name):
            os.environ[name] = value
