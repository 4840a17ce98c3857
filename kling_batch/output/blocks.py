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
#: What is written past the system's cache begins and ends at multiples of this, in memory and in
#: the file; no disk wants more.
PAGE = 4096
#: The first bytes of a body come by themselves, and at most this much of a block is left for them.
FIRST = BLOCK // 2


class Block:
    """Memory for one download at a time."""

    def __init__(self) -> None:
        """Starts at a page of the system's; nothing of it is in use before something is read."""
        self._memory = memoryview(mmap(-1, BLOCK + 1))
        #: Where the latest bytes were to be read to.
        self._at = 0

    def after(self, taken: int) -> memoryview:
        """Where bytes of a body may be read to that follow `taken` others; the last one stays free.

        What fills it ends where a page ends, so that the next one begins a page.
        """
        self._at = taken if taken <= FIRST else taken % PAGE
        return self._memory[self._at :]

    def joined(self, first: bytes, piece: memoryview) -> memoryview | None:
        """The first bytes of a body with the piece that was read behind them; None: it was not."""
        if piece.obj is not self._memory.obj or self._at != len(first):
            return None
        self._memory[: len(first)] = first
        return self._memory[: len(first) + len(piece)]


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
