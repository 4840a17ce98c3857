"""Blocks of memory that downloads are read into, and that are used again.

A new block costs more than the bytes that are read into it: the system finds and clears each page
of it when it is first used. Must not know what is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap

#: Bytes of a block; more than the 512 KB that asyncio's TLS may hold at the end of a connection,
#: which it delivers in one go. A call of a thread costs as much as hashing 100 kB.
BLOCK = 1536 * 1024
#: A place in a block that is a multiple of this in the file is one in memory, too: what is written
#: past the system's cache has to be, and no disk wants more.
PAGE = 4096


class Block:
    """Memory for one download at a time."""

    def __init__(self) -> None:
        """Starts at a page of the system's; nothing of it is in use before something is read."""
        self._memory = memoryview(mmap(-1, BLOCK + 1))

    def after(self, start: int, taken: int) -> memoryview:
        """Where bytes may be read to that follow `taken` others from `start` on in a file.

        It ends one byte after a page: with the last one free, the next piece begins a page.
        """
        return self._memory[(start + taken) % PAGE :]


class Blocks:
    """As many blocks as there were downloads at once."""

    def __init__(self) -> None:
        """There is none yet."""
        self._free: list[Block] = []

    @contextmanager
    def one(self) -> Iterator[Block]:
        """A block, until the end of the `with` block."""
        block = self._free.pop() if self._free else Block()
        try:
            yield block
        finally:
            self._free.append(block)
