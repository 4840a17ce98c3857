"""Video files of any size that are made without storing them: a playable clip, then padding.

Each file differs from the others in sixteen bytes. Must not know requests or HTTP.
"""

from __future__ import annotations

import io
import struct
from random import Random

#: Bytes that the padding repeats.
BLOCK = 1024 * 1024
#: Bytes that tell one file from another.
MARK = 16


class Clips:
    """Files of one size; each has a number."""

    def __init__(self, size: int) -> None:
        """`size`: bytes of a file; a clip needs a few thousand at least."""
        clip = _playable()
        padding = max(8 + MARK, size - len(clip))
        self.size = len(clip) + padding
        # A `free` box: players skip it.
        self._head = clip + struct.pack(">I4s", padding, b"free")
        self._start = len(self._head) + MARK
        self._block = memoryview(Random(11).randbytes(BLOCK))

    def piece(self, number: int, offset: int, most: int) -> bytes | memoryview:
        """Up to `most` bytes of a file, from `offset` on."""
        if offset < self._start:
            first = self._head + b"%0*d" % (MARK, number)
            return first[offset : offset + most]
        at = (offset - self._start) % BLOCK
        return self._block[at : at + min(most, self.size - offset)]


def _playable() -> bytes:
    """A second of grey, as small as an encoder makes it."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame(64, 64, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([128]) * plane.buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()
