"""Large pieces of a file written past the system's cache, where the system can do that.

A clip that nobody reads soon needs no copy in memory: to find that memory and to copy megabytes
into it costs as much processor time as to decrypt them, and it pushes out what others read. Linux
has `O_DIRECT` for it, which takes whole pages only. Must not leave a gap: what lies in the cache is
lost with the power, so nothing is written behind it that is not. Must not know what is written.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from kling_batch.output.blocks import PAGE

#: Fewer bytes are written as usual: to wait for the disk would cost more than the copy.
LARGE = 256 * 1024


class Uncached:
    """A second way into a new file that is open for writing."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self._path = path
        self._handle: int | None = None
        #: Whether all before went this way, and what comes next may.
        self._usable = hasattr(os, "O_DIRECT")

    def write(self, data: memoryview, offset: int) -> int:
        """Write the next bytes, which belong at an offset of the file, as far as they can be.

        Returns:
            How many of them are written; what is left is for the usual way, as is all that follows.
            None are where they are few, begin no page, or the file system does not take them.
        """
        written = 0
        whole = len(data) - len(data) % PAGE
        if self._usable and whole >= LARGE and offset % PAGE == 0:
            # An error is left to the usual way, which says what is wrong, should it be the disk.
            with suppress(OSError):
                written = os.pwrite(self._open(), data[:whole], offset)
        self._usable = self._usable and written == len(data)
        return written

    def _open(self) -> int:
        if self._handle is None:
            self._handle = os.open(self._path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
        return self._handle

    def close(self) -> None:
        """Close this way; the file stays open."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(OSError):
                os.close(handle)
