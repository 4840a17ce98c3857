"""Finished texts on standard output: folded on a terminal, as they are on a pipe.

Must not know what a text says.
"""

from __future__ import annotations

import sys

import click


def columns_of_terminal() -> int | None:
    """Columns of standard output; None where it is no terminal."""
    if not sys.stdout.isatty():
        return None
    # rich loads for a terminal only.
    from kling_batch.report.display.page import Page  # noqa: PLC0415

    return Page.standard().width


def echo_text(text: str, *, hang: int = 8) -> None:
    """Print the text; on a terminal, lines that are too long are folded between words.

    Args:
        text: lines.
        hang: columns by which continuation lines are indented.
    """
    if columns_of_terminal() is None:
        click.echo(text)
        return
    from kling_batch.report.display.page import Page  # noqa: PLC0415 - as above

    page = Page.standard()
    page.write(part for line in text.split("\n") for part in page.folded(line, hang=hang))
