"""Writing to people and pipes without ever breaking a run.

A reader that goes away (`| head`), a terminal that vanishes, a disk that is full under a log, an
encoding that lacks a character: the run is worth more than its own words, so the writer falls
silent instead of raising. Must not know what it writes.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path
from typing import TextIO

#: What terminals without these characters get instead.
_PLAINER = str.maketrans({"…": "...", "→": "->", "·": "-", "—": "-", "–": "-", "×": "x", "’": "'"})


class Writer:
    """A text stream that cannot fail.

    Args:
        stream: usually `sys.stdout` or `sys.stderr`; None where the process has none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Nothing is written yet."""
        self._stream = stream
        #: Nobody is listening any more.
        self.gone = stream is None or stream.closed

    @property
    def encoding(self) -> str:
        """What the other side reads."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def ready(self) -> bool:
        """Whether a write would go through at once.

        A terminal stopped by Ctrl-S blocks its writer, and with it everything that waits for
        fal's answers; what can wait is not written then.
        """
        if self.gone or self._stream is None:
            return False
        try:
            return bool(select.select([], [self._stream.fileno()], [], 0)[1])
        except (OSError, ValueError):
            return True  # not a file that can be asked: Windows, or a text in memory

    def line(self, text: str) -> None:
        """One line, at once on its way."""
        self.write(text + "\n")
        self.flush()

    def write(self, text: str) -> int:
        """As `TextIO.write`; answers as if all were well, whatever happens."""
        if not self.gone and self._stream is not None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self.write(self._spelled(text))
            except (OSError, ValueError) as error:
                self._lost(error)
        return len(text)

    def flush(self) -> None:
        """As `TextIO.flush`."""
        if not self.gone and self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lost(error)

    def isatty(self) -> bool:
        """As `TextIO.isatty`."""
        try:
            return not self.gone and self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        """As `TextIO.fileno`."""
        if self._stream is None:
            raise OSError("no stream")
        return self._stream.fileno()

    def _spelled(self, text: str) -> str:
        """The text in what this encoding has."""
        plainer = text.translate(_PLAINER)
        try:
            return plainer.encode(self.encoding, "replace").decode(self.encoding)
        except LookupError:
            return plainer.encode("ascii", "replace").decode("ascii")

    def _lost(self, error: OSError | ValueError) -> None:
        if isinstance(error, BlockingIOError):
            return  # a full non-blocking pipe: the stream keeps what it could not send
        self.gone = True
        # What still sits in the stream's buffer would fail once more when the interpreter ends,
        # and turn the run's exit code into 120.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


def replace_file(path: Path, text: str) -> None:
    """Put a text under a name, whole or not at all. Raises `OSError`."""
    target = path.resolve() if path.is_symlink() else path
    if target.exists() and not target.is_file():
        # A device or a pipe is written to; renaming over it would take it away from everybody.
        target.write_text(text, encoding="utf-8")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
