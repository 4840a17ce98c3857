"""Parts of a test that run without root's rights, which ignore permissions."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Imported beforehand: without rights the interpreter's own files may not be readable.
for _name in ("encodings.idna", "encodings.latin_1", "encodings.utf_8_sig", "http.cookies"):
    importlib.import_module(_name)


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
