"""Generated parts of docs/performance.md, from the results beside this module.

`results/before.json` was measured before the work on speed, `results/after.json` is the newest.
Text between the markers is replaced; the rest of the document is written by people.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plot import Panel, Points, svg
from benchmarks.results import Figure, RowResult, format_number, from_json

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results")
BEFORE, AFTER = RESULTS / "before.json", RESULTS / "after.json"
DOCUMENT = ROOT / "docs/performance.md"
PLOT = ROOT / "docs/performance.svg"

Rows = Mapping[str, RowResult]


def renew(newest: Path | None) -> None:
    """Write the document and its plot; `newest` first becomes the newest results."""
    if newest is not None and newest.resolve() != AFTER:
        shutil.copyfile(newest, AFTER)
    DOCUMENT.write_text(renewed(DOCUMENT.read_text()))
    PLOT.write_text(plot())


def renewed(text: str) -> str:
    """The document with what its markers hold made anew."""
    before, after = _read(BEFORE), _read(AFTER)
    parts = {
        "bounds": bounds(before[1], after[1]),
        "promises": unbounded("promises", before[1], after[1]),
        "clients": unbounded("clients", before[1], after[1]),
        "machines": machines(before[0], after[0]),
    }
    for name, lines in parts.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        head, _, rest = text.partition(start)
        _, _, tail = rest.partition(end)
        text = "\n".join([f"{head}{start}", *lines, f"{end}{tail}"])
    return text


def _read(file: Path) -> tuple[dict[str, Any], Rows]:
    return from_json(file) if file.exists() else ({}, {})


# -- tables ------------------------------------------------------------------------------------


def bounds(before: Rows, after: Rows) -> list[str]:
    """Every figure that has a bound."""
    lines = ["| row | figure | bound | before | now | |", "|---|---|---|---|---|---|"]
    for name in _names(before, after):
        for figure in _figures(name, before, after):
            if figure.bound is None:
                continue
            then, now = (_figure(rows, name, figure.name) for rows in (before, after))
            cells = [
                f"`{name}`",
                figure.name,
                figure.bound_text,
                _cell(then, before.get(name)),
                _cell(now, after.get(name)),
                _verdict(now),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def unbounded(name: str, before: Rows, after: Rows) -> list[str]:
    """Every figure of a row."""
    lines = ["| | before | now |", "|---|---|---|"]
    for figure in _figures(name, before, after):
        cells = [
            _cell(_figure(rows, name, figure.name), rows.get(name)) for rows in (before, after)
        ]
        lines.append(f"| {figure.name} | {' | '.join(cells)} |")
    return lines


def machines(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Where and with what was measured."""
    lines = ["| | before | now |", "|---|---|---|"]
    for part in ("machine", "versions"):
        names = dict.fromkeys([*before.get(part, {}), *after.get(part, {})])
        for name in names:
            cells = [str(each.get(part, {}).get(name, "–")) for each in (before, after)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _names(before: Rows, after: Rows) -> list[str]:
    """Rows in the order in which they run."""
    from benchmarks.rows import ROWS

    return [row.name for row in ROWS if row.name in before or row.name in after]


def _figures(name: str, before: Rows, after: Rows) -> Sequence[Figure]:
    """A row's figures as the newest results have them, then those that only the older ones have."""
    rows = [rows[name] for rows in (after, before) if name in rows]
    found = {figure.name: figure for row in reversed(rows) for figure in row.figures}
    order = dict.fromkeys(figure.name for row in rows for figure in row.figures)
    return [found[each] for each in order]


def _figure(rows: Rows, name: str, figure: str) -> Figure | None:
    row = rows.get(name)
    return next((each for each in row.figures if each.name == figure), None) if row else None


def _cell(figure: Figure | None, row: RowResult | None) -> str:
    """A value; smaller batches than the bound means are marked."""
    if figure is None:
        return "error" if row is not None and row.error else "–"
    note = f" ({figure.note})" if figure.note else ""
    mark = " ¹" if row is not None and row.scale != "full" else ""
    return f"{format_number(figure.value, figure.unit)}{note}{mark}"


def _verdict(figure: Figure | None) -> str:
    if figure is None or figure.holds is None:
        return ""
    return "holds" if figure.holds else "**fails**"


# -- the plot ----------------------------------------------------------------------------------


def plot() -> str:
    """Time and memory against jobs."""
    files = {"before": _read(BEFORE)[1], "now": _read(AFTER)[1]}
    named = {
        f"{what}, {when}": rows[f"growth-{what}"]
        for what in ("plan", "run")
        for when, rows in files.items()
        if f"growth-{what}" in rows and rows[f"growth-{what}"].details.get("series")
    }
    return svg(
        [
            Panel("processor time (s)", _series(named, "cpu")),
            Panel("most memory (MB)", _series(named, "memory_mb")),
        ]
        if named
        else []
    )


def _series(rows: Rows, value: str) -> dict[str, Points]:
    return {
        name: [(point["jobs"], point[value]) for point in row.details["series"]]
        for name, row in rows.items()
    }
