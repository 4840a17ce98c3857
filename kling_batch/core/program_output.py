"""The end of what a program says, of which nobody wants more.

Must not start or end programs.
"""

from __future__ import annotations

from threading import Thread
from typing import IO

#: Bytes that are kept, and that are read at once.
_KEPT, _CHUNK = 2000, 1 << 16
#: Seconds that are waited for the last words of a program that has ended.
_PATIENCE = 1.0


class Tail:
    """Reads a pipe and keeps its end; the rest is dropped, so that no program waits for a reader.

    A thread, because what the program leaves in the background may hold the pipe open for ever.
    """

    def __init__(self, said: IO[bytes]) -> None:
        """Read until nobody holds the other end; `said` is unbuffered, and closed then."""
        self._bytes = b""
        self._reader = Thread(target=self._read, args=(said,), daemon=True)
        self._reader.start()

    def _read(self, said: IO[bytes]) -> None:
        with said:
            while chunk := said.read(_CHUNK):
                self._bytes = (self._bytes + chunk)[-_KEPT:]

    def text(self) -> str:
        """What a program that has ended said last; waits a moment for it."""
        self._reader.join(_PATIENCE)
        return self._bytes.decode(errors="replace")
