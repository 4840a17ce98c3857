"""Texts on a terminal: folded between words, and tables that would not fit in another form."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from kling_batch.catalog.registry import endpoints as every_endpoint
from kling_batch.cli import texts
from kling_batch.cli.commands.catalog import overview
from kling_batch.report.display.page import Page

LINE = "  text-to-video   up to $1,234.50 of at most $2,000.00; and what else there is to say of it"


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_a_line_is_folded_between_words(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Page, "standard", classmethod(lambda cls: cls(width=columns)))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    texts.echo_text(f"{LINE}\n\n  short   one")

    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= columns
    assert " ".join(lines).split() == f"{LINE} short one".split()
    assert lines[-2:] == ["", "  short   one"], "what fits stays as it is"


def test_a_pipe_gets_the_text_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)

    texts.echo_text(LINE)

    assert texts.columns_of_terminal() is None
    assert capsys.readouterr().out == f"{LINE}\n"


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_the_catalogue_has_every_price_and_id_at_every_width(columns: int) -> None:
    endpoints = [*every_endpoint()]
    on_pipe, shown = overview(endpoints), overview(endpoints, columns)

    assert sorted(shown.replace("(", "").replace(")", "").split()) == sorted(
        on_pipe.replace("(", "").replace(")", "").split()
    )
    assert len(shown.splitlines()) == len(on_pipe.splitlines()) + len(endpoints)
