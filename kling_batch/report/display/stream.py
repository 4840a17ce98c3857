"""Output streams that never fail a run and never block it.

A reader that goes away (`| head`), a terminal that vanishes or hangs, a disk that is full under a
log, an encoding that lacks a character: none of them may end or delay a paid run. What cannot be
written is dropped; what cannot be written *now* is buffered while the run goes on polling.
Must not know what it writes.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO, TypeVar, cast

from kling_batch.core.text import escaped

T = TypeVar("T")

#: Replacements for encodings that lack these characters.
_PLAINER = str.maketrans({"…": "...", "→": "->", "·": "-", "—": "-", "–": "-", "×": "x", "’": "'"})
#: Bytes that a pipe accepts without blocking once it is writable.
_CHUNK = getattr(select, "PIPE_BUF", 512)
#: What a disk answers that takes no more.
_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG, errno.EROFS})
#: Seconds that the last output waits for a terminal that takes nothing.
_HUNG = 30.0


class CutOffError(OSError):
    """A standard stream takes no more, as a full disk under it does; `filename` says which one."""

    #: What is to be known besides: where else the text can be had.
    kept = ""


def guard(stream: TextIO | None, name: str) -> None:
    """Make a standard stream safe for any text: the one way out of everything that is printed.

    What its encoding lacks is replaced, and what could steer a terminal is escaped, whatever a
    prompt, a table, fal or a file name holds. Displays write through `SafeStream`, whose texts are
    cleaned before, because their own colours must pass. Where the stream is full, `CutOffError`
    says so by its `name`.
    """
    if not isinstance(stream, io.TextIOWrapper) or hasattr(stream, "unguarded"):
        return
    encoding = stream.encoding
    # click writes UTF-8 where the encoding is ASCII, around this object; so it goes through it.
    stream.reconfigure(encoding="utf-8" if _is_ascii(encoding) else None, errors="replace")
    guarded = cast("Any", stream)
    guarded.unguarded, guarded.display_encoding = stream.write, encoding
    flush = stream.flush
    guarded.write = lambda text: _named(name, lambda: guarded.unguarded(escaped(text)))
    guarded.flush = lambda: _named(name, flush)


def _named(name: str, act: Callable[[], T]) -> T:
    """What `act` gives; the system's error about a full stream does not say which one it was."""
    try:
        return act()
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise CutOffError(error.errno, error.strerror, name) from error


def _is_ascii(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "ascii"
    except LookupError:
        return True


class SafeStream:
    """Text stream that cannot fail and does not block.

    Args:
        stream: usually `sys.stdout` or `sys.stderr`; None where the process has none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Nothing is written yet."""
        self._stream = stream
        self._fd = _descriptor(stream)
        #: The terminal, opened a second time: only this file description is non-blocking.
        self._terminal: int | None = None
        self._backlog = bytearray()
        #: Whether the reader is gone.
        self.gone = stream is None or stream.closed
        #: Why a file has not all of it, as nobody chose; empty: it has, or its reader left.
        self.cut_off = ""

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        stream = self._stream
        before = getattr(stream, "display_encoding", None)  # as it was before `guard`
        return before or getattr(stream, "encoding", None) or "utf-8"

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines of the terminal; 0 where they are not known."""
        try:
            return os.get_terminal_size(cast("TextIO", self._stream).fileno())
        except (OSError, ValueError, AttributeError):
            return 0, 0

    @property
    def foreground(self) -> bool:
        """Whether the terminal is this program's now; a shell's `bg` takes it away."""
        try:
            return self._fd is None or os.tcgetpgrp(self._fd) == os.getpgrp()
        except (OSError, AttributeError):
            return True  # a terminal without job control

    def has(self, text: str) -> bool:
        """Whether the encoding has all of these characters."""
        try:
            text.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def at_once(self, text: str) -> None:
        """Write from a signal handler, beside whatever is under way, as far as possible."""
        if self._fd is not None and not self.gone:
            with suppress(OSError):
                os.write(self._open(), self._encoded(text))

    @property
    def settled(self) -> bool:
        """Whether everything so far is written."""
        return not self._backlog

    @property
    def ready(self) -> bool:
        """Whether everything so far is written and more would not block."""
        self.flush()
        if self.gone or self._backlog:
            return False
        try:
            return self._fd is None or self._room(self._open(), 0)
        except (OSError, ValueError):
            return False

    @property
    def abandoned(self) -> bool:
        """Whether nobody can read any more; found without writing anything."""
        if self.gone or self._fd is None or not hasattr(select, "poll"):
            return self.gone
        asked = select.poll()
        asked.register(self._fd, 0)
        return any(event & (select.POLLERR | select.POLLNVAL) for _, event in asked.poll(0))

    def line(self, text: str) -> None:
        """Write one line as soon as the reader takes it."""
        self.write(text + "\n")
        self.flush()

    def write(self, text: str) -> int:
        """As `TextIO.write`; returns the full length whatever happens."""
        if self.gone or self._stream is None:
            return len(text)
        if self._fd is not None:
            self._backlog += self._encoded(text)
            return len(text)
        try:
            getattr(self._stream, "unguarded", self._stream.write)(text)
        except UnicodeEncodeError:
            self.write(self._encoded(text).decode(self.encoding))
        except (OSError, ValueError) as error:
            self._lost(error)
        return len(text)

    def flush(self) -> None:
        """Write what the reader takes without waiting."""
        self._send(0)

    def drain(self, patience: float | None = None) -> None:
        """Write everything, waiting for a slow reader: `patience` seconds at a time.

        None: as long as it takes for a pipe, half a minute for a terminal.
        """
        self._send(_HUNG if patience is None and self.isatty() else patience)
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def isatty(self) -> bool:
        """As `TextIO.isatty`."""
        try:
            return not self.gone and self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def _send(self, patience: float | None) -> None:
        if self.gone or self._stream is None:
            return
        try:
            self._stream.flush()  # what others wrote into it comes first
            while self._backlog:
                fd = self._open()
                if not self._room(fd, patience):
                    return
                with suppress(BlockingIOError):
                    sent = os.write(fd, self._backlog[:_CHUNK])
                    del self._backlog[:sent]
        except BlockingIOError:
            return  # the stream itself is full, and keeps what it could not send
        except (OSError, ValueError) as error:
            self._lost(error)

    def _open(self) -> int:
        """The descriptor to write to: the stream's own, or that of the reopened terminal."""
        assert self._fd is not None
        if self._terminal is None and self.isatty():
            with suppress(OSError):  # not ours to open after `su`: then a hung terminal blocks
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
                self._terminal = os.open(os.ttyname(self._fd), flags)
        return self._fd if self._terminal is None else self._terminal

    @staticmethod
    def _room(fd: int, patience: float | None) -> bool:
        try:
            return bool(select.select([], [fd], [], patience)[1])
        except ValueError:
            return True  # a descriptor too high for `select`

    def _encoded(self, text: str) -> bytes:
        """The text, with replacements for characters that the encoding lacks."""
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError:
            return text.translate(_PLAINER).encode(self.encoding, "replace")
        except LookupError:
            return text.translate(_PLAINER).encode("ascii", "replace")

    def _lost(self, error: OSError | ValueError) -> None:
        self.gone = True
        self._backlog.clear()
        if getattr(error, "errno", None) in _FULL:
            self.cut_off = getattr(error, "strerror", None) or str(error)
        if self._fd is None:
            return
        # What others left in the stream's buffer would fail once more when the interpreter ends
        # and turn the run's exit code into 120.
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._fd)
            os.close(nowhere)


def _descriptor(stream: TextIO | None) -> int | None:
    """The file behind a stream; None where it must be written as text: in memory, on Windows."""
    if stream is None or os.name == "nt":
        return None
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
