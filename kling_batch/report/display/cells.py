"""Text in columns of a terminal: widths, cuts, and styled rows of a frame. Pure.

Knows no job. Must not write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size

Segment: TypeAlias = tuple[str, str]
"""Text, and the name of its rich style."""

Row: TypeAlias = list[Segment]
"""One line of a frame, never wider than asked for."""

ELLIPSIS = "…"


def cut_end(text: str, width: int) -> str:
    """The text in at most so many columns."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + ELLIPSIS if width > 0 else ""


def cut_middle(text: str, width: int) -> str:
    """An id in at most so many columns: its beginning and its end tell it from others."""
    if cell_len(text) <= width:
        return text
    if width < 4:
        return cut_end(text, width)
    head = (width - 1) // 2
    tail = text
    while cell_len(tail) > width - 1 - head:
        tail = tail[max(1, (len(tail) - width) // 2) :] if len(tail) > 2 * width else tail[1:]
    return set_cell_size(text, head) + ELLIPSIS + tail


def padded(text: str, width: int) -> str:
    """The text in exactly so many columns."""
    return set_cell_size(text, width)


def row_width(row: Row) -> int:
    """Columns that a row takes."""
    return sum(cell_len(text) for text, _ in row)


def joined(phrases: Sequence[Segment], width: int) -> Row:
    """As many phrases as fit, from the first on, with commas between them."""
    row: Row = []
    left = width
    for text, style in phrases:
        needed = cell_len(text) + (2 if row else 0)
        if needed > left:
            break
        if row:
            row.append((", ", ""))
        row.append((text, style))
        left -= needed
    return row
