"""The file `.env` with the fal key: read into the environment, and who else may read it.

Imports no client, since every run looks for the file. Must not store or print the key.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from kling_batch.errors import AuthError

#: The variables that fal-client reads credentials from (docs/fal-api.md#fal-client-environment).
KEYS = ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET")

_LINE = re.compile(rf"^\s*(export\s+)?({'|'.join(KEYS)})\b", re.MULTILINE)


def read_key_file(folder: Path | None = None) -> None:
    """Put the key of `.env` into the environment, where fal-client finds it; no file, no effect.

    Raises:
        AuthError: the key there holds a character that no environment can.
    """
    if any(os.environ.get(name) for name in KEYS):
        return
    keys = _keys(_path(folder))
    if any("\0" in value for value in keys.values()):
        raise AuthError("the fal key in .env holds a NUL character; save the file as UTF-8 text")
    os.environ.update(keys)


def unread_key_file(folder: Path | None = None) -> str:
    """Why the `.env` gives no key; empty where there is none, or it says nothing about one."""
    path = _path(folder)
    try:
        text = path.read_text("utf-8-sig") if path.is_file() else ""
    except UnicodeDecodeError:
        return "the .env file here is not UTF-8 text; save it as that"
    except OSError as error:
        return f"the .env file here cannot be read ({error.strerror})"
    if _LINE.search(text):
        return "the .env file here has no key that can be read; write FAL_KEY=id:secret"
    return ""


def key_file_warning(folder: Path | None = None) -> str:
    """Warning about a `.env` with the key that other users may read; empty where there is none."""
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
    """fal's variables in the file, those that have a value."""
    try:
        if not path.is_file():
            return {}
        import dotenv  # noqa: PLC0415 - most folders have no such file

        # An editor on Windows may write a mark before the text.
        values = dotenv.dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: value for name in KEYS if (value := values.get(name))}
