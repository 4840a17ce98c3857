"""A command's text that is drawn again every two seconds, until Ctrl-C.

On a terminal in place; elsewhere a line whenever something has changed. Takes no lock, so that it
can be used beside a run. Must not know what it draws.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence

from kling_batch.report.display.page import Page, utc_now
from kling_batch.report.display.stream import SafeStream

#: Seconds between two drawings.
SECONDS = 2.0

_HOME, _END_OF_LINE, _END_OF_SCREEN, _ALL = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"
#: The rest of a folded line, which is indented.
_CONTINUED = re.compile(r"(?:\x1b\[[\d;]*m)* ")


def watch(lines_of: Callable[[Page], Sequence[str]]) -> None:
    """Draw again and again what `lines_of` gives for the page; the last line is the summary.

    Returns when it is interrupted, or when nobody reads any more.
    """
    stream = SafeStream(sys.stdout)
    said = ""
    try:
        while not stream.abandoned:
            page = Page.standard()
            lines = lines_of(page)
            if page.width is None:
                if lines[-1] != said:
                    said = lines[-1]
                    stream.line(f"{utc_now():%H:%M:%S}Z {said}")
            else:
                stream.write((_HOME if said else _ALL + _HOME) + _screen(lines, page.height))
                said = lines[-1]
            stream.drain()
            time.sleep(SECONDS)
    except KeyboardInterrupt:
        pass
    finally:
        stream.drain(0)


def _screen(lines: Sequence[str], height: int) -> str:
    """The lines that fit, the summary always among them."""
    room = max(1, height - 1)
    blank = max((n for n, line in enumerate(lines) if not line), default=len(lines) - 2)
    summary = lines[blank + 1 :][-room:]
    shown = lines if len(lines) <= room else [*_whole(lines, room - len(summary)), *summary]
    return "".join(f"{line}{_END_OF_LINE}\n" for line in shown) + _END_OF_SCREEN


def _whole(lines: Sequence[str], room: int) -> Sequence[str]:
    """The first of the lines, without the beginning of one whose folded rest has no room."""
    while room > 1 and _CONTINUED.match(lines[room]):
        room -= 1
    return lines[:room]
