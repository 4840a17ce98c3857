"""Paths as people type them: a leading `~` or `~user` means a home folder.

The text is expanded before it becomes a `Path`, since `Path("./~x")` and `Path("~x")` are equal.
Must not look at the disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from kling_batch.errors import UsageError


def typed_path(written: str | os.PathLike[str]) -> Path:
    """The path that was meant. Raises `UsageError` where there is no such home folder.

    A file whose own name begins with `~` is written `./~name`.
    """
    text = os.fspath(written)
    if not text.startswith("~"):
        return Path(text)
    expanded = os.path.expanduser(text)  # noqa: PTH111 - see above
    if expanded == text:
        user = text.partition("/")[0].partition(os.sep)[0]
        raise UsageError(
            f"{text}: cannot be read: `{user}` is no home folder here; "
            f"a file of this name is written ./{text}"
        )
    return Path(expanded)
