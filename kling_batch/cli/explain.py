"""A problem of a manifest on a terminal: the sentence, the line it is about, and a caret.

Pure but for the file that is read again. Must not print.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from itertools import islice
from pathlib import Path

from kling_batch.errors import Place, Problem

_WIDTH = 100

_TOKEN = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'|[^\s,:{}\[\]]+")


def with_source(problem: Problem) -> str:
    """The problem, explained with its file as far as that can be read."""
    try:
        source = Path(problem.place.file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return str(problem)
    return explain(problem, source)


def explain(problem: Problem, source_text: str) -> str:
    """The message, and under it the line of `source_text` that it is about."""
    place = problem.place
    # Not `splitlines`, which splits at characters that YAML and CSV do not count as line ends.
    lines = re.split(r"\r\n|\r|\n", source_text)
    if not 1 <= place.line <= len(lines):
        return str(problem)
    line = lines[place.line - 1]
    lines[0] = lines[0].lstrip("\ufeff")
    start, length = _span(place, line, lines)
    line, start, length = _window(line, start, length)
    gutter = f"{place.line:>5} | "
    caret = " " * _columns(line[:start]) + "^" * max(1, _columns(line[start : start + length]))
    shown = line.replace("\t", " ")
    return f"{problem}\n{gutter}{shown}\n{' ' * (len(gutter) - 2)}| {caret}"


def _span(place: Place, line: str, lines: list[str]) -> tuple[int, int]:
    """Where in the line, and how far, the caret goes."""
    if place.cell:
        return _cell(place.cell, line, lines)
    start = min(max(place.column - 1, 0), len(line))
    if not place.column:
        return len(line) - len(line.lstrip()), len(line.strip())
    token = _TOKEN.match(line, start)
    return start, len(token[0]) if token else 1


def _cell(column: str, line: str, lines: list[str]) -> tuple[int, int]:
    """The cell of a row; the whole row where it is JSON or goes over several lines."""
    from kling_batch.manifest.tables import guessed_delimiter  # noqa: PLC0415 - only for mistakes

    whole = len(line) - len(line.lstrip()), len(line.strip())
    delimiter = guessed_delimiter(islice(lines, 20))
    try:
        names = [name.strip() for name in next(csv.reader(lines[:1], delimiter=delimiter), [])]
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return whole
    if column not in names or len(cells) != len(names) or line.startswith("{"):
        return whole
    index = names.index(column)
    start = line.find(cells[index]) if cells[index] else -1
    before = sum(len(cell) + 1 for cell in cells[:index])
    # Quotes shift what follows them; without any the sum is exact.
    return (before if '"' not in line else start, len(cells[index])) if start >= 0 else whole


def _window(line: str, start: int, length: int) -> tuple[str, int, int]:
    """A long line cut to what is around the caret."""
    if len(line) <= _WIDTH:
        return line, start, length
    left = max(0, min(start - 20, len(line) - _WIDTH))
    cut = line[left : left + _WIDTH]
    cut = ("…" if left else cut[:1]) + cut[1:-1] + ("…" if left + _WIDTH < len(line) else cut[-1:])
    return cut, start - left, min(length, _WIDTH - (start - left))


def _columns(text: str) -> int:
    """How many cells of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    combining = sum(unicodedata.combining(letter) > 0 for letter in text)
    return len(text) + wide - combining
