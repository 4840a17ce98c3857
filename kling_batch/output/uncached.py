"""Large pieces of a file written past the system's cache, where the system can do that.

A clip that nobody reads soon needs no copy in memory: to find that memory and to copy megabytes
into it costs as much processor time as to decrypt them, and it pushes out what others read. Linux
has `O_DIRECT` for it, which takes whole pages only. Must not know what is written.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from kling_batch.output.blocks import PAGE

#: Fewer bytes are written as usual: to wait for the disk would cost more than the copy.
LARGE = 256 * 1024


class Uncached:
    """A second way into a file that is open for writing."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self._path = path
        self._handle: int | None = None
        self._usable = hasattr(os, "O_DIRECT")

    def write(self, data: memoryview, offset: int) -> tuple[int, int]:
        """Write the whole pages of what belongs at an offset of the file.

        Returns:
            From where to where in `data` it is written; the same place twice where nothing is,
            because it is too short, lies in memory otherwise than in the file, or the file system
            does not take it.
        """
        begin = -offset % PAGE
        end = len(data) - (offset + len(data)) % PAGE
        if not self._usable or end - begin < LARGE:
            return 0, 0
        try:
            return begin, begin + os.pwrite(self._open(), data[begin:end], offset + begin)
        except OSError:
            # It is then written as usual, which says what is wrong, should it be the disk.
            self._usable = False
            return 0, 0

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
