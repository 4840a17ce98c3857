"""Tables: the rows of a CSV, TSV or JSONL file, one at a time, each with its line.

Must not know what a column means. A row that cannot be read is reported and left out; a table that
cannot be read raises `ManifestError`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kling_batch.catalog.parameters import MOST_DEPTH, deeper_than
from kling_batch.core.diagnostics import Collector, fatal
from kling_batch.core.jobs import JSON
from kling_batch.errors import ManifestError, Place

#: What may be given instead of a manifest, or as `from:`.
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_MOST_CELL = 1_000_000

CsvReader = Any  # `_csv.reader` has no public name
#: Enough for two hundred thousand prompts of the greatest length.
MOST_BYTES = 500_000_000

Row = tuple[int, dict[str, JSON]]


@dataclass(frozen=True, slots=True)
class Table:
    """An opened table: `header` is empty for JSONL, whose rows name their own columns."""

    file: str
    header: tuple[str, ...]
    rows: Iterator[Row]


def open_table(path: Path, name: str, problems: Collector) -> Table:
    """The table at `path`; messages call it `name`."""
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        hint = f"give one of {', '.join(TABLE_SUFFIXES)}"
        raise fatal(Place(name), f"a table cannot be a `{suffix or path.name}` file", hint=hint)
    lines = _lines(path, name)
    if suffix in (".jsonl", ".ndjson"):
        return Table(name, (), _json_rows(lines, name, problems))
    return _csv_table(lines, name, problems, "\t" if suffix == ".tsv" else "")


def _lines(path: Path, name: str) -> Iterator[str]:
    """The decoded lines, their ends kept: a quoted cell may go over several of them."""
    try:
        if path.stat().st_size > MOST_BYTES:
            most = f"{MOST_BYTES // 1_000_000} MB"
            raise fatal(Place(name), f"the table is larger than {most}", "too-large")
        if path.is_char_device():
            raise fatal(Place(name), "is a device, not a table", "unreadable")  # without an end
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from file
    except UnicodeDecodeError:
        # The decoder reads in blocks and cannot say in which line it stopped.
        raise _not_utf8(path, name) from None
    except OSError as error:
        raise fatal(Place(name), f"cannot be read: {error.strerror}", "unreadable") from None


def _not_utf8(path: Path, name: str) -> ManifestError:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                place = Place(name, number, error.start + 1)
                message = f"byte 0x{line[error.start]:02x} is not UTF-8"
                return fatal(place, message, "encoding", "save the table as UTF-8")
    return fatal(Place(name), "is not UTF-8", "encoding", "save the table as UTF-8")


def _csv_table(lines: Iterator[str], name: str, problems: Collector, delimiter: str) -> Table:
    first = next(lines, "")
    if not first.strip():
        raise fatal(Place(name), "the table has no header", "empty")
    if not delimiter:
        # Spreadsheet programs of some countries write semicolons.
        delimiter = max(",;\t", key=first.count)
    csv.field_size_limit(_MOST_CELL)
    reader = csv.reader(_chain(first, lines), delimiter=delimiter, strict=True)
    try:
        header = tuple(cell.strip() for cell in next(reader))
    except csv.Error as error:
        raise fatal(Place(name, 1), f"not CSV: {error}", "syntax") from None
    _check_header(header, name, problems)
    return Table(name, header, _csv_rows(reader, header, name, problems))


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _check_header(header: tuple[str, ...], name: str, problems: Collector) -> None:
    for n, column in enumerate(header):
        if not column and any(header[n:]):
            problems.error(Place(name, 1), f"column {n + 1} has no name", "header")
        elif column and column in header[:n]:
            problems.error(Place(name, 1, cell=column), "stands twice in the header", "header")


def _csv_rows(
    reader: CsvReader, header: tuple[str, ...], name: str, problems: Collector
) -> Iterator[Row]:
    width = len(header)
    line = reader.line_num + 1
    rows = iter(reader)
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            problems.error(Place(name, line), f"not CSV: {error}", "syntax", "check the quotes")
            return
        if cells is None:
            return
        if len(cells) == width:
            yield line, dict(zip(header, cells, strict=True))
        elif cells:
            _check_width(cells, header, Place(name, line), problems)
        line = reader.line_num + 1


def _check_width(
    cells: list[str], header: tuple[str, ...], place: Place, problems: Collector
) -> None:
    message = f"the row has {len(cells)} cells, the header {len(header)}"
    if len(cells) < len(header):
        place = Place(place.file, place.line, cell=header[len(cells)])
        message += "; this is the first that is missing"
    problems.error(place, message, "row", "quote cells that hold the delimiter")


def _json_rows(lines: Iterator[str], name: str, problems: Collector) -> Iterator[Row]:
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            yield number, _json_row(text.strip())
        except json.JSONDecodeError as error:
            place = Place(name, number, error.colno)
            problems.error(place, f"not JSON: {error.msg}", "syntax")
        except ValueError as error:
            problems.error(Place(name, number), f"not a row: {error}", "row", 'write {"id": …}')


def _json_row(text: str) -> dict[str, JSON]:
    try:
        row = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(row, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - one kind of error for a row
    if text.count("{") + text.count("[") > MOST_DEPTH and deeper_than(row, MOST_DEPTH):
        raise ValueError("nested too deep")
    return row


def _pairs(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"`{twice}` stands twice")
    return row


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number that JSON knows")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_constant)
