"""Tables: the rows of a CSV, TSV or JSONL file, one at a time, each with its line.

Must not know what a column means. A blank row is no row. A row that cannot be read is reported and
left out; a table that cannot be read raises `ManifestError`.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from kling_batch.catalog.parameters import MOST_DEPTH, deeper_than
from kling_batch.core.diagnostics import Collector, fatal, reason
from kling_batch.core.jobs import JSON
from kling_batch.errors import ManifestError, Place
from kling_batch.manifest.encoding import wide_encoding

#: What may be given instead of a manifest, or as `from:`.
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
#: What holds tables, but not as text.
SPREADSHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")
_AS_CSV = 'save it as "CSV UTF-8" in the spreadsheet program'
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^/]")
_MOST_CELL = 1_000_000

_QUOTED = re.compile(r'"[^"]*"')
#: Lines after the header that are looked at before the delimiter is known.
_HEAD = 20

CsvReader = Any  # `_csv.reader` has no public name
#: Enough for two hundred thousand prompts of the greatest length.
MOST_BYTES = 500_000_000

Row = tuple[int, dict[str, JSON]]

#: What spreadsheet programs write into the cell of a formula that failed.
_ERRORS = frozenset(
    {
        *("#REF!", "#N/A", "#N/A!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!"),
        *("#CALC!", "#FIELD!", "#BLOCKED!", "#CONNECT!", "#BUSY!", "#UNKNOWN!", "#PYTHON!"),
        *("#EXTERNAL!", "#GETTING_DATA", "#ERROR!"),
        *(f"Err:{code}" for code in range(501, 541)),
        # The same in German, French, Spanish, Italian, Portuguese, Dutch and Polish.
        *("#NV", "#BEZUG!", "#WERT!", "#ZAHL!", "#ÜBERLAUF!", "#KALK!"),
        *("#VALEUR!", "#NOM?", "#NOMBRE!", "#NUL!", "#PROPAGATION!"),
        *("#N/D", "#¡REF!", "#¡VALOR!", "#¿NOMBRE?", "#¡DIV/0!", "#¡NUM!", "#¡NULO!"),
        *("#¡DESBORDAMIENTO!", "#RIF!", "#VALORE!", "#NOME?", "#VALOR!", "#NÚM!", "#NULO!"),
        *("#N/B", "#VERW!", "#WAARDE!", "#GETAL!", "#NAAM?", "#N/D!", "#ADR!", "#ARG!", "#NAZWA?"),
    }
)
_FLAWS = _ERRORS | {""}
#: Blanks, and characters without width that web pages leave in copied cells.
_UNSEEN = re.compile(r"[\s\u00ad\u200b\u200e\u200f\u2060\ufeff]")


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name."""
    return path.suffix.lower() in TABLE_SUFFIXES


class FlawedRow(dict[str, JSON]):
    """A row with cells that nothing can be made of; `flaws` says why, by column."""

    __slots__ = ("flaws",)

    def __init__(self, row: Mapping[str, JSON], flaws: dict[str, str]) -> None:
        super().__init__(row)
        self.flaws = flaws


BLANK = "is blank"


class Table(NamedTuple):
    """An opened table: `header` is empty for JSONL, whose rows name their own columns."""

    file: str
    header: tuple[str, ...]
    rows: Iterator[Row]
    #: Names that the rows of JSONL had so far.
    names: set[str]


def open_table(path: Path, name: str, problems: Collector) -> Table:
    """The table at `path`; messages call it `name`."""
    check_is_file(name, Place(name))
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        hint = f"give one of {', '.join(TABLE_SUFFIXES)}"
        raise fatal(Place(name), f"a table cannot be a `{suffix or path.name}` file", hint=hint)
    lines = _lines(path, name)
    if suffix in (".jsonl", ".ndjson"):
        names = set[str]()
        return Table(name, (), _json_rows(lines, name, problems, names), names)
    return _csv_table(lines, name, problems, "\t" if suffix == ".tsv" else "")


def check_is_file(written: str, place: Place) -> None:
    """Refuse addresses and spreadsheets, given as a manifest or a table."""
    if _ADDRESS.match(written):
        message = "this is an address; manifests and tables are files here"
        raise fatal(place, message, "unreadable", "download it first, a spreadsheet as CSV")
    suffix = Path(written).suffix.lower()
    if suffix in SPREADSHEETS:
        raise fatal(place, f"a table cannot be a `{suffix}` file", "unreadable", _AS_CSV)


def _lines(path: Path, name: str) -> Iterator[str]:
    """The decoded lines, each ended by a line feed; a quoted cell may go over several.

    Line ends in cells must not depend on the system that wrote the file: a prompt would be another
    one, and paid for again.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            most = f"{MOST_BYTES // 1_000_000} MB"
            raise fatal(Place(name), f"the table is larger than {most}", "too-large")
        if path.is_char_device():
            raise fatal(Place(name), "is a device, not a table", "unreadable")  # without an end
        with path.open("rb") as binary:
            _check_head(binary.read(64), name)
        with path.open(encoding="utf-8-sig") as file:
            yield from file
    except UnicodeDecodeError:
        # The decoder reads in blocks and cannot say in which line it stopped.
        raise _not_utf8(path, name) from None
    except OSError as error:
        raise fatal(Place(name), f"cannot be read: {error.strerror}", "unreadable") from None


def _check_head(head: bytes, name: str) -> None:
    """Refuse what is no UTF-8 text, though some of it could be decoded."""
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise fatal(Place(name), "is a spreadsheet by its content, not text", "encoding", _AS_CSV)
    if wide_encoding(head):
        raise fatal(Place(name), f"the table is {wide_encoding(head)}", "encoding", _AS_CSV)


def _not_utf8(path: Path, name: str) -> ManifestError:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                before = line[: error.start].decode("utf-8-sig" if number == 1 else "utf-8")
                place = Place(name, number, len(before) + 1)
                message = f"byte 0x{line[error.start]:02x} is not UTF-8"
                return fatal(place, message, "encoding", "save the table as UTF-8")
    return fatal(Place(name), "is not UTF-8", "encoding", "save the table as UTF-8")


def _csv_table(lines: Iterator[str], name: str, problems: Collector, delimiter: str) -> Table:
    first, before = next(lines, ""), 0
    if told := re.fullmatch(r'"?sep=(.)\1*"?', first.strip("\n")):
        # Excel's own mark, and no row of the table.
        delimiter, first, before = told[1], next(lines, ""), 1
        if delimiter == '"':
            hint = "remove the line `sep=`, or write sep=,"
            raise fatal(Place(name, 1), 'a `"` quotes cells and cannot part them', "syntax", hint)
    if not first.strip():
        raise fatal(Place(name), "the table has no header", "empty")
    head = [first, *islice(lines, _HEAD)]
    delimiter = delimiter or guessed_delimiter(head)
    csv.field_size_limit(_MOST_CELL)
    reader = csv.reader(chain(head, lines), delimiter=delimiter, strict=True)
    try:
        header = tuple(normalize("NFC", cell.strip()) for cell in next(reader))
    except csv.Error as error:
        raise fatal(Place(name, 1 + before), f"not CSV: {error}", "syntax") from None
    _check_header(header, Place(name, 1 + before), problems)
    return Table(name, header, _csv_rows(reader, header, Place(name, before), problems), set())


def guessed_delimiter(lines: Iterable[str]) -> str:
    """The delimiter of the table that begins with these lines.

    Spreadsheet programs of some countries write semicolons, and names of columns have commas: where
    the first row is as wide as the header, that tells more than the number of commas.
    """
    header, row = [*islice(_unquoted(lines), 2), "", ""][:2]

    def fit(delimiter: str) -> tuple[bool, int]:
        width = header.count(delimiter)
        return bool(width) and row.count(delimiter) == width, width

    return max(",;\t", key=fit)


def _unquoted(lines: Iterable[str]) -> Iterator[str]:
    """The rows without what is quoted in them; a quoted cell may go over several lines."""
    row = ""
    for line in lines:
        row += line
        if row.count('"') % 2 == 0:
            if row.strip():
                yield _QUOTED.sub("", row)
            row = ""
    yield row


def _check_header(header: tuple[str, ...], place: Place, problems: Collector) -> None:
    for n, column in enumerate(header):
        if not column and any(header[n:]):
            problems.error(place, f"column {n + 1} has no name", "header")
        elif column and column in header[:n]:
            cell = Place(place.file, place.line, cell=column)
            problems.error(cell, "stands twice in the header", "header")


def _csv_rows(
    reader: CsvReader, header: tuple[str, ...], before: Place, problems: Collector
) -> Iterator[Row]:
    """The rows; `before` is the last line that `reader` has not seen."""
    width, name = len(header), before.file
    line = before.line + reader.line_num + 1
    try:
        for cells in reader:
            if len(cells) == width and _whole(cells):
                yield line, dict(zip(header, cells))  # noqa: B905 - they are as many
            elif not any(map(_visible, cells)):
                pass  # spreadsheet programs write rows of nothing but delimiters
            elif len(cells) != width:
                _check_width(cells, header, Place(name, line), problems)
            else:
                yield line, _flawed(dict(zip(header, cells, strict=True)))
            line = before.line + reader.line_num + 1
    except csv.Error as error:
        problems.error(Place(name, line), f"not CSV: {error}", "syntax", "check the quotes")


def _whole(cells: list[str]) -> bool:
    """Whether something can be made of every cell: none is blank, and none is an error."""
    # In ASCII nothing is invisible but blanks; measured: 5 % of 100,000 rows.
    return _FLAWS.isdisjoint(map(str.strip if "".join(cells).isascii() else _visible, cells))


def _visible(cell: str) -> str:
    """The cell without surrounding blanks; empty if nothing in it can be seen."""
    text = cell.strip()
    return text if text.isascii() or _UNSEEN.sub("", text) else ""


def _flawed(row: dict[str, JSON]) -> dict[str, JSON]:
    """The row with its blank cells emptied and its flaws named."""
    flaws: dict[str, str] = {}
    for column, cell in row.items():
        if isinstance(cell, str) and (word := _visible(cell)) in _FLAWS:
            flaws[column] = f"is {word}, an error of the spreadsheet" if word else BLANK
            row[column] = word
    return FlawedRow(row, flaws) if flaws else row


def _check_width(
    cells: list[str], header: tuple[str, ...], place: Place, problems: Collector
) -> None:
    message = f"the row has {len(cells)} cells, the header {len(header)}"
    if len(cells) < len(header):
        place = Place(place.file, place.line, cell=header[len(cells)])
        message += "; this is the first that is missing"
    problems.error(place, message, "row", "quote cells that hold the delimiter")


def _json_rows(
    lines: Iterator[str], name: str, problems: Collector, names: set[str]
) -> Iterator[Row]:
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            row = _flawed(_json_row(text.strip()))
            names.update(row)
            if not isinstance(row, FlawedRow) or len(row.flaws) < len(row) or any(row.values()):
                yield number, row
        except json.JSONDecodeError as error:
            indented = len(text) - len(text.lstrip())
            place = Place(name, number, indented + error.colno)
            problems.error(place, f"not JSON: {error.msg}", "syntax")
        except ValueError as error:
            problems.error(
                Place(name, number), f"not a row: {reason(error)}", "row", 'write {"id": …}'
            )


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
    row = {normalize("NFC", name): _one_line_end(value) for name, value in pairs}
    if len(row) < len(pairs):
        names = Counter(normalize("NFC", name) for name, _ in pairs)
        twice = next(name for name, times in names.items() if times > 1)
        raise ValueError(f"`{twice}` stands twice")
    return row


def _one_line_end(value: JSON) -> JSON:
    if isinstance(value, str) and "\r" in value:
        return value.replace("\r\n", "\n").replace("\r", "\n")
    return value


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number that JSON knows")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_constant)
