"""Parts of a test that run without root's rights, which ignore permissions."""

from __future__ import annotations

import http.cookies  # noqa: F401 - what is imported later may not be readable without rights
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unprivileged(folder: Path) -> Iterator[Path]:
    """A folder below one that everybody may enter, seen as an ordinary user sees it."""
    if os.geteuid() != 0:
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        below = place / "below"
        below.mkdir()
        os.chown(below, 65534, 65534)
        os.seteuid(65534)
        try:
            yield below
        finally:
            os.seteuid(0)
