"""Terminal that holds lines that stay, and below them a frame that is drawn again and again.

Draws what has changed only. A terminal that becomes narrower folds the lines of the frame, and no
two terminals agree where it is then: so the screen is cleared and drawn anew. Must not know jobs.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import FrameType

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.style import Style

from kling_batch.report.display.base import painted
from kling_batch.report.display.cells import Row, row_width
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.summary import StyledLine, folded

#: Lines kept for a screen that has to be drawn anew.
_KEPT = 200
_STANDARD = (80, 24)

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_CLEAR_LINE, _CLEAR_BELOW = "\x1b[2K", "\x1b[J"
#: Not all at once: tmux would keep a screen that is cleared as a whole in its history.
_CLEAR_SCREEN = f"\x1b[H{_CLEAR_LINE}\x1b[2;1H{_CLEAR_BELOW}\x1b[H"


class Screen:
    """The terminal of a live view.

    Args:
        err: standard error, a terminal.
        environ: `COLUMNS` and `LINES` limit the size.
        color: whether to use styles.
    """

    def __init__(self, err: SafeStream, environ: Mapping[str, str], *, color: bool) -> None:
        """Nothing is drawn yet."""
        self._err = err
        self._environ = environ
        self._color = color
        self._styles: dict[str, Style] = {}
        self._said: deque[StyledLine] = deque(maxlen=_KEPT)
        #: The frame as it stands on the screen, painted, and its widths.
        self._shown: list[str] = []
        self._widths: list[int] = []
        self._size = _STANDARD
        #: Whether rows of a frame may have come into the terminal's history, and may come back.
        self._folded = False
        self._drawing = False

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, now."""
        columns, lines = self._err.size
        asked = (self._environ.get("COLUMNS", ""), self._environ.get("LINES", ""))
        limits = [int(text) if text.isdecimal() and int(text) else 0 for text in asked]
        both = zip((columns, lines), limits, _STANDARD, strict=True)
        width, height = (
            min(filter(None, (is_, limit)), default=else_) for is_, limit, else_ in both
        )
        return width, height

    def say(self, lines: Sequence[StyledLine]) -> None:
        """Write lines that stay, above the frame; it is drawn again by the next `show`."""
        if not lines:
            return
        self._said.extend(lines)
        text = "".join(self._written(lines))
        self._err.write(self._to_top() + (_CLEAR_BELOW if self._shown else "") + text)
        self._shown = []
        self._err.flush()

    def show(self, rows: Sequence[Row]) -> None:
        """Draw the frame in place of the one before."""
        size = self.size
        if self._shown and self._is_lost(size):
            self._anew(size, len(rows))
        self._size = size
        painted_rows = [self._paint(row) for row in rows]
        if painted_rows == self._shown:
            return
        out = ["" if self._shown else _HIDE, self._to_top()]
        for number, text in enumerate(painted_rows):
            if number:
                out.append("\n")
            if number >= len(self._shown) or self._shown[number] != text:
                out.append(f"\r{_CLEAR_LINE}{text}")
        self._widths = [row_width(row) for row in rows]
        # At the end of the text, where the terminal's own echo of a key (`^C`) hides nothing.
        out.append("\r" + (f"\x1b[{self._widths[-1]}C" if rows and self._widths[-1] else ""))
        if len(self._shown) > len(painted_rows):
            out.append(_CLEAR_BELOW)
        self._drawing = True
        self._shown = painted_rows
        self._err.write("".join(out))
        self._err.flush()
        self._drawing = False

    def clear(self) -> None:
        """Take the frame away, and show the cursor."""
        if self._shown and self._is_lost(self.size):
            self._anew(self.size, 0)
        elif self._shown:
            self._err.write(self._to_top() + _CLEAR_BELOW)
        self._shown = []
        self._err.write(_SHOW)
        self._err.flush()

    def leave(self) -> None:
        """Take the frame away, because the terminal goes to another program for a while.

        Called in a signal handler: where the cursor is not known, the frame stays as it is.
        """
        known = self._err.settled and not self._drawing
        way = self._to_top() + _CLEAR_BELOW if known else "\r\n"
        self._err.at_once(way * bool(self._shown) + _SHOW)
        self._shown = []

    def _to_top(self) -> str:
        """The way from the end of the frame to its beginning."""
        up = len(self._shown) - 1
        return "\r" * bool(self._shown) + (f"\x1b[{up}A" if up > 0 else "")

    def _is_lost(self, size: tuple[int, int]) -> bool:
        """Whether the terminal may have moved the frame."""
        columns, lines = size
        if size == self._size:
            return False
        fits = len(self._shown) < lines and max(self._widths, default=0) < columns
        return self._folded or not fits

    def _anew(self, size: tuple[int, int], frame: int) -> None:
        """Clear the screen, and write again of the lines that stay what fits above a frame."""
        kept = self._last(size[0], size[1] - frame - 1)
        self._err.write(_CLEAR_SCREEN + "".join(self._written(kept, size[0])))
        self._shown = []
        self._folded = True

    def _last(self, width: int, room: int) -> list[StyledLine]:
        """The latest lines that stay, as many as have room; a long word takes several rows."""
        kept: list[StyledLine] = []
        parts = (part for line in self._said for part in folded(line, width))
        for part in reversed([*parts]):
            room -= max(1, -(-cell_len(part.text) // width))
            if room < 0:
                break
            kept.insert(0, replace(part, hang=None))
        return kept

    def _written(
        self, lines: Sequence[StyledLine] | deque[StyledLine], width: int = 0
    ) -> list[str]:
        parts = (part for line in lines for part in folded(line, width or self.size[0]))
        return [f"{painted(part, color=self._color)}\n" for part in parts]

    def _paint(self, row: Row) -> str:
        return "".join(self._styled(text, style) for text, style in row).rstrip(" ")

    def _styled(self, text: str, style: str) -> str:
        if not (self._color and style):
            return text
        if style not in self._styles:
            self._styles[style] = Style.parse(style)
        return self._styles[style].render(text, color_system=ColorSystem.STANDARD)


class Suspension:
    r"""Ctrl-Z and Ctrl-\ while a live view is drawn: the terminal is left in order.

    What was only stopped is drawn on afterwards; a quit ends the process, as it always does.

    Args:
        leave: leaves the terminal to the shell; called in a signal handler.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        """Handles the signals from now on, where nobody else does."""
        self._leave = leave
        self._handled: list[signal.Signals] = []
        for name in ("SIGTSTP", "SIGQUIT"):
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) is not signal.SIG_DFL:
                continue
            with suppress(ValueError):  # in another thread than the main one
                signal.signal(number, self._stop)
                self._handled.append(number)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._leave()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # ends here, or stops here until SIGCONT
        signal.signal(number, self._stop)

    def end(self) -> None:
        """Handle the signals no more."""
        while self._handled:
            with suppress(ValueError):  # closed by another thread
                signal.signal(self._handled.pop(), signal.SIG_DFL)
