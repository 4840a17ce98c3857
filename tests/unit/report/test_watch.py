"""The text that `status --watch` draws again in place."""

from __future__ import annotations

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
