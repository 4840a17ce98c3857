"""Temporary file of a download: written in blocks, hashed as it grows, synced at its end.

What blocks is for a worker (`worker.py`): `flush`, `complete` and `sync`. Memory is bounded by one
block, whatever the size of the file. Must not know where the bytes come from.
"""

from __future__ import annotations

import os
from hashlib import file_digest, sha256
from io import FileIO
from pathlib import Path

from kling_batch.output.blocks import Block
from kling_batch.output.files import write_all
from kling_batch.output.uncached import Uncached


class PartFile:
    """A file that grows; what came of it before, in this run or an earlier one, may stay."""

    def __init__(self, path: Path, block: Block | None = None, *, cached: bool = True) -> None:
        """Nothing is opened yet; without `begin`, the file is what lies there.

        `block`: where long pieces are read to. `cached`: the file is read again soon.
        """
        self.path = path
        self._file: FileIO | None = None
        self._start: int | None = None
        self._sha256 = sha256()
        self._blocks: list[bytes | memoryview] = []
        self._block = block
        self._uncached = None if cached else Uncached(path)
        #: Bytes that are written.
        self._size = 0
        #: Bytes that are not written yet.
        self.buffered = 0

    def begin(self, start: int) -> None:
        """What comes from now on follows the first `start` bytes; the rest is dropped."""
        self._start = start
        if start:  # the cache may have what came before
            self._uncached = None

    def add(self, chunk: bytes | memoryview) -> None:
        """Take bytes, to be written by the next `flush`; until then, they must not change."""
        self._blocks.append(chunk)
        self.buffered += len(chunk)

    def flush(self) -> None:
        """Write and hash what was taken, and let go of each block as soon as it is written."""
        blocks, self._blocks, self.buffered = self._joined(), [], 0
        file = self._opened()
        while blocks:
            block = blocks.pop(0)
            # First, because it reads straight on: what the loop's processor has is near then.
            self._sha256.update(block)
            self._write(file, memoryview(block))

    def _joined(self) -> list[bytes | memoryview]:
        """What was taken; the first bytes as one with what lies behind them, so that no gap is."""
        if self._uncached is None or self._block is None or self._size or not self._blocks:
            return self._blocks
        *first, last = self._blocks
        if not isinstance(last, memoryview):
            return self._blocks
        joined = self._block.joined(b"".join(first), last)
        return self._blocks if joined is None else [joined]

    def _write(self, file: FileIO, block: memoryview) -> None:
        written = 0
        if self._uncached is not None and (written := self._uncached.write(block, self._size)):
            file.seek(self._size + written)
        write_all(file, block[written:])
        self._size += len(block)

    def _opened(self) -> FileIO:
        if self._file is None:
            # Where nothing was begun, all of it counts. Blocks are large enough without a buffer,
            # which would only ask the system where it stands: each question is a wait for the loop.
            self._file = file = self.path.open("r+b" if self._start != 0 else "w+b", buffering=0)
            if self._start:
                file.truncate(self._start)
            if self._start != 0:
                file_digest(file, lambda: self._sha256)  # to its end
        return self._file

    def complete(self) -> tuple[FileIO, str]:
        """The open file with everything in it, and its digest."""
        self.flush()
        return self._opened(), self._sha256.hexdigest()

    def sync(self) -> None:
        """Make the file durable."""
        os.fsync(self._opened().fileno())

    def close(self) -> None:
        """Write what was taken, for the next try, and close the file."""
        try:
            if self._blocks:
                self.flush()
        finally:
            self._blocks = []
            if self._uncached is not None:
                self._uncached.close()
            if self._file is not None:
                self._file.close()

    def discard(self) -> None:
        """Delete the file, with what was taken."""
        self._blocks, self.buffered = [], 0
        self.path.unlink(missing_ok=True)
