"""fal's key from a `.env` file in the working folder, as the seed's scripts read it.

Only fal's own variables are taken, and never over what the environment says already.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import dotenv

#: The variables that fal-client reads credentials from (facts §8.3).
KEYS = ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET")


def read_key_file(folder: Path | None = None) -> None:
    """Put the key where fal-client finds it; no file, an unreadable one: nothing happens."""
    if any(os.environ.get(name) for name in KEYS):
        return
    os.environ.update(_keys(_path(folder)))


def told_of_others(folder: Path | None = None) -> str:
    """What to say of a `.env` whose key others may read; nothing where there is none."""
    path = _path(folder)
    if os.name != "posix" or not _keys(path):
        return ""
    mode = path.stat().st_mode
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return ""
    return (
        f"{path.name} holds the fal key, and other users may read it; type: chmod 600 {path.name}"
    )


def _path(folder: Path | None) -> Path:
    return (folder or Path.cwd()) / ".env"


def _keys(path: Path) -> dict[str, str]:
    """fal's variables in the file, those that say something."""
    try:
        values = dotenv.dotenv_values(path, interpolate=False) if path.is_file() else {}
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: value for name in KEYS if (value := values.get(name))}
