"""The text that `status --watch` draws again in place."""

from __future__ import annotations

import pytest

from kling_batch.report.display.watch import _screen

LINES = ["title", "", *(f"job-{n}" for n in range(30)), "", "30 done;", "  charged $1.00"]


def shown(height: int) -> list[str]:
    drawn = _screen(LINES, height)
    assert drawn.endswith("\x1b[J")
    return drawn.removesuffix("\x1b[J").replace("\x1b[K", "").splitlines()


def test_what_fits_is_drawn_whole() -> None:
    assert shown(80) == LINES


def test_a_low_terminal_keeps_title_and_summary_and_never_scrolls() -> None:
    for height in range(4, 30):
        lines = shown(height)
        assert len(lines) == height - 1
        assert (lines[0], lines[-2:]) == ("title", LINES[-2:])
    assert shown(2) == ["  charged $1.00"]


@pytest.mark.parametrize("colour", ["", "\x1b[31m", "\x1b[2m\x1b[31m"])
def test_a_folded_line_is_never_cut_in_two(colour: str) -> None:
    folded = ["one that is", f"{colour}  folded into", f"{colour}  three"]
    lines = ["title", *folded, "a row", *folded, "", "done"]
    drawn = [_screen(lines, height).splitlines()[:-2] for height in range(3, 11)]
    assert [len(above) for above in drawn] == [1, 1, 1, 4, 5, 5, 5, 8]
