"""Text of commands: tables and lines that fit a terminal, whole texts on a pipe."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kling_batch.core.text import Tone
from kling_batch.report.display.page import Cell, Column, Page, cut, table

COLUMNS = (
    Column("state", least=9, piped=11),
    Column("cost", right=True, piped=8),
    Column("job", least=20, middle=True, piped=1),
    Column("mode", least=13, spare=5, piped=14),
    Column("prompt", least=12, spare=9, piped=1),
)
TEXTS = st.text(st.sampled_from("ab -京é/🎬"), max_size=60).map(str.strip)
WIDTHS = st.integers(20, 160)


def rows(*texts: str) -> list[list[Cell]]:
    return [
        [Cell("rendering"), Cell("$12.34"), Cell(text), Cell("text-to-video"), Cell(text * 2)]
        for text in texts
    ]


@given(st.lists(TEXTS, max_size=4), WIDTHS)
def test_no_line_of_a_table_is_wider_than_the_terminal(texts: list[str], width: int) -> None:
    for line in table(Page(width=width), COLUMNS, rows(*texts)):
        assert cell_len(line) <= width


@given(TEXTS, WIDTHS)
def test_the_money_is_never_cut(text: str, width: int) -> None:
    *_, line = table(Page(width=width), COLUMNS, rows(text))

    assert "$12.34" in line


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (20, ["state", "cost", "job"]),
        (40, ["state", "cost", "job"]),
        (80, ["state", "cost", "job", "mode", "prompt"]),
    ],
)
def test_what_is_least_needed_goes_first(width: int, titles: list[str]) -> None:
    first = next(table(Page(width=width), COLUMNS, rows("a-name-" * 6)))

    assert first.split() == titles


def test_a_pipe_gets_whole_texts_without_titles() -> None:
    (line,) = table(Page(), COLUMNS, rows("x" * 2_500))

    assert line.startswith("rendering      $12.34  ")
    assert "x" * 5_000 in line


@given(TEXTS, st.integers(10, 160), st.integers(0, 9))
def test_folded_lines_fit_and_keep_every_word(text: str, width: int, hang: int) -> None:
    lines = list(Page(width=width).folded(text, hang=hang))

    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_pipe_gets_one_line() -> None:
    assert list(Page().folded("word " * 600)) == [("word " * 600).strip()]


@given(TEXTS, st.integers(0, 40))
def test_a_cut_keeps_both_ends_of_a_name(text: str, width: int) -> None:
    short = cut(text, width, middle=True)

    assert cell_len(short) <= width
    if cell_len(text) <= width:
        assert short == text
    elif width > 8 and text.isascii():
        assert (short[0], short[-1]) == (text[0], text[-1])


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "color"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"FORCE_COLOR": "0"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(environ: dict[str, str], color: bool) -> None:
    assert Page.of(Screen(), environ).color is color
    assert ("\x1b" in Page.of(Screen(), environ).paint("x", Tone.BAD)) is color


def test_a_pipe_has_neither_width_nor_colour() -> None:
    page = Page.of(io.StringIO(), {})

    assert (page.width, page.color) == (None, False)


def test_a_folded_line_keeps_its_columns() -> None:
    page = Page(width=40, height=24, color=False)

    assert [
        *page.folded("  waiting     $0.56  hero: waits for a verdict on hero~draft", hang=6)
    ] == [
        "  waiting     $0.56  hero: waits for a",
        "      verdict on hero~draft",
    ]
