"""Text of a command on standard output: width and colours of a terminal, aligned tables.

A terminal gets lines that fit it; a pipe gets whole texts without colour. Must not know jobs.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, TextIO

from rich.cells import cell_len, chop_cells

from kling_batch.core.text import Tone, clean
from kling_batch.report.display.base import painted
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.summary import StyledLine

#: Cells between two columns.
_GAP = 2


def utc_now() -> datetime:
    """The wall clock, for the ages that a command shows."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where a command's text goes, and how it may look there."""

    #: Columns of the terminal; None: no terminal, so that nothing is cut or folded.
    width: int | None = None
    height: int = 24
    color: bool = False

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> Page:
        """The page that a stream is."""
        terminal = _is_terminal(stream) and environ.get("TERM") != "dumb"
        forced = environ.get("FORCE_COLOR")
        color = terminal if forced is None else forced.lower() not in ("", "0", "false")
        width, height = _size(stream, environ)
        return cls(
            width=max(10, width) if terminal else None,
            height=height,
            color=color and not environ.get("NO_COLOR"),
        )

    @classmethod
    def standard(cls) -> Page:
        """Standard output."""
        return cls.of(sys.stdout, os.environ)

    def paint(self, text: str, tone: Tone) -> str:
        """The text, coloured where colours are wanted."""
        return painted(StyledLine(text, tone), color=self.color)

    def folded(self, text: str, tone: Tone = Tone.PLAIN, *, hang: int = 2) -> Iterator[str]:
        """A cleaned text in lines that fit; continuation lines are indented."""
        start = text[: len(text) - len(text.lstrip())]
        text = start + clean(text)
        if self.width is None or cell_len(text) <= self.width:
            yield self.paint(text, tone)
            return
        for line in _wrapped(text, self.width, " " * min(hang, self.width // 4)):
            yield self.paint(line, tone)

    def write(self, lines: Iterable[str], stream: TextIO | None = None) -> None:
        """Write finished lines to the stream that the page is of; None: to standard output."""
        stream = stream or sys.stdout
        if not self.color:
            for line in lines:
                stream.write(f"{line}\n")
            stream.flush()
            return
        # Past the guard of the stream, which would show the colours' escape sequences.
        safe = SafeStream(stream)
        for line in lines:
            safe.line(line)
            safe.drain()
            if safe.gone:
                return


#: Words, each with the blanks before it.
_WORDS = re.compile(r"(\s*)(\S+)")


def _wrapped(text: str, width: int, indent: str) -> Iterator[str]:
    """Lines of whole words, as the cells of a terminal count; longer words are divided."""
    line = ""
    begun = False
    for gap, word in _WORDS.findall(text):  # a gap may be that of a column
        longer = f"{line}{gap}{word}"
        if cell_len(longer) > width and begun:
            yield line
            longer = indent + word
        line, begun = longer, True
        if cell_len(line) > width:
            *whole, rest = chop_cells(line.strip(), width - len(indent))
            for number, part in enumerate(whole):
                yield part if number == 0 and not line.startswith(indent) else indent + part
            line = indent + rest
    yield line


def _size(stream: TextIO, environ: Mapping[str, str]) -> tuple[int, int]:
    """Columns and lines: of the environment, of this stream, or of the usual terminal."""
    try:
        found = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):  # no terminal; closed, or no file at all
        found = os.terminal_size((0, 0))
    known = zip(("COLUMNS", "LINES"), found, shutil.get_terminal_size(), strict=True)
    columns, lines = (_positive(environ.get(name)) or own or usual for name, own, usual in known)
    return columns, lines


def _positive(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:
        return False


# -- tables ------------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column of a table."""

    title: str
    right: bool = False
    #: The highest is left out first where there is no room; 0: never.
    spare: int = 0
    #: Cells that it keeps while columns can be left out instead; 0: it is never cut.
    least: int = 0
    #: Cut in the middle, for names that differ at both ends.
    middle: bool = False
    #: Cells that it has on a pipe, where the widths of later rows are not known.
    piped: int = 0


class Cell(NamedTuple):
    """A cleaned text and its tone."""

    text: str
    tone: Tone = Tone.PLAIN


def table(page: Page, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """The rows, aligned; with titles and cut to the width on a terminal, streamed to a pipe."""
    if page.width is None:
        widths = [column.piped for column in columns]
        for row in rows:
            yield _line(page, columns, row, widths)
        return
    known = [*rows]
    if not known:
        return
    natural = _natural(columns, known)
    kept, widths = _fitted(columns, natural, page.width)
    shown = [columns[i] for i in kept]
    titles = [Cell(column.title, Tone.DIM) for column in shown]
    yield _line(page, shown, titles, widths)
    for row in known:
        yield _line(page, shown, [row[i] for i in kept], widths)


def fits(page: Page, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> bool:
    """Whether the table needs no cut."""
    return page.width is None or page.width >= sum(_natural(columns, rows)) + _GAP * len(columns)


def _natural(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[int]:
    """How wide each column would be by itself."""
    return [
        max(cell_len(column.title), *(cell_len(row[i].text) for row in rows))
        for i, column in enumerate(columns)
    ]


def _fitted(
    columns: Sequence[Column], natural: Sequence[int], width: int
) -> tuple[list[int], list[int]]:
    """Which columns there is room for, and how wide each is."""
    kept: list[int] = [*range(len(columns))]
    least: list[int] = [min(n, c.least or n) for n, c in zip(natural, columns, strict=True)]

    def needed() -> int:
        return sum(least[i] for i in kept) + _GAP * (len(kept) - 1)

    while needed() > width and (spare := [i for i in kept if columns[i].spare]):
        kept.remove(max(spare, key=lambda i: columns[i].spare))
    room = width - needed()
    widths = {i: least[i] for i in kept}
    while room < 0 and (wide := [i for i in kept if columns[i].least and widths[i] > 1]):
        widths[max(wide, key=lambda i: widths[i])] -= 1
        room += 1
    for main in (True, False):  # what is never left out grows first
        while room > 0 and (
            growing := [
                i for i in kept if widths[i] < natural[i] and main is not bool(columns[i].spare)
            ]
        ):
            for i in growing[:room]:
                widths[i] += 1
                room -= 1
    return kept, [widths[i] for i in kept]


def _line(page: Page, columns: Sequence[Column], row: Sequence[Cell], widths: Sequence[int]) -> str:
    parts = []
    for column, cell, width in zip(columns, row, widths, strict=True):
        text = cell.text if page.width is None else cut(cell.text, width, middle=column.middle)
        fill = " " * (width - cell_len(text))
        painted_text = page.paint(text, cell.tone)
        parts.append(fill + painted_text if column.right else painted_text + fill)
    return (" " * _GAP).join(parts).rstrip()


def cut(text: str, width: int, *, middle: bool = False) -> str:
    """The text in so many cells; what is missing is an ellipsis at the end, or in the middle."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    if not middle:
        return f"{_head(text, width - 1)}…"
    front = width // 2
    return f"{_head(text, front)}…{_head(text[::-1], width - 1 - front)[::-1]}"


def _head(text: str, width: int) -> str:
    # A text of 2,500 characters is measured no further than the terminal is wide.
    text = text[:width]
    while cell_len(text) > width:
        text = text[:-1]
    return text
