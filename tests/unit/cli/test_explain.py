"""A problem on a terminal: sentence, line, caret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_batch.cli.explain import explain
from kling_batch.errors import Place, Problem

YAML = "version: 1\njobs:\n  - id: a\n    promt: A cat\n"


def shown(place, text, message="wrong"):
    return explain(Problem(place, message), text).split("\n")[1:]


def test_the_caret_stands_under_the_word():
    assert explain(Problem(Place("b.yaml", 4, 5), "no `promt`", hint="`prompt`?"), YAML) == (
        "b.yaml:4:5: no `promt` (`prompt`?)\n    4 |     promt: A cat\n      |     ^^^^^"
    )


@pytest.mark.parametrize(
    ("line", "column", "caret"),
    [
        ('a: "x y"', 4, "   ^^^^^"),
        ("a: 'it''s'", 4, "   ^^^^^^^"),
        ("{a: b, c: d}", 8, "       ^"),
        ("a:\tb", 4, "   ^"),
        ("日本: x", 5, "      ^"),
        ("a", 99, " ^"),
        ("  abc  ", 0, "  ^^^"),
    ],
)
def test_widths(line, column, caret):
    assert shown(Place("f", 1, column), line)[1] == f"      | {caret}"


def test_cells_of_a_table():
    text = 'sku,title\na1,Lamp\nb2,"Chair, oak"\n'

    assert shown(Place("t.csv", 2, cell="title"), text) == ["    2 | a1,Lamp", "      |    ^^^^"]
    assert shown(Place("t.csv", 3, cell="title"), text)[1].count("^") == len("Chair, oak")
    assert shown(Place("t.csv", 3, cell="missing"), text)[1].count("^") == len('b2,"Chair, oak"')


def test_cells_of_a_table_whose_header_has_more_commas_than_delimiters():
    text = "\ufeffid;prompt;Farben (rot, grün, blau, gelb)\na;Schuh;rot\n"

    assert shown(Place("t.csv", 2, cell="prompt"), text)[1] == "      |   ^^^^^"


def test_long_lines_are_cut_around_the_caret():
    line = "x" * 500 + " here " + "y" * 500
    first, second = shown(Place("f", 1, 502), line)

    assert len(first) < 120
    assert first[second.index("^") :].startswith("here")


@pytest.mark.parametrize("place", [Place("f"), Place("f", 99, 1), Place("f", 3)])
def test_without_a_line_the_sentence_stays(place):
    assert explain(Problem(place, "wrong"), "a\nb").count("\n") <= 2
    assert explain(Problem(place, "wrong"), "a\nb").startswith("f")


@given(st.text(max_size=300), st.integers(0, 20), st.integers(0, 300), st.text(max_size=5))
def test_no_text_breaks_it(text, line, column, cell):
    assert explain(Problem(Place("f", line, column, cell), "wrong"), text).startswith("f")
