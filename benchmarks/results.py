"""Results of rows: figures against bounds, as text for people and as JSON for the document."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sqlite3
import ssl
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: Packages whose versions can change a figure.
PACKAGES = ("kling-batch", "fal-client", "httpx", "aiohttp", "anyio", "sqlite-utils")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a row; with a bound, one that must hold."""

    name: str
    #: None where it could not be measured.
    value: float | None
    unit: str = ""
    bound: float | None = None
    #: Whether the bound is the least that is wanted, not the most.
    at_least: bool = False
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the bound is kept; None where there is none."""
        if self.bound is None:
            return None
        if self.value is None:
            return False
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def text(self) -> str:
        """The value for people."""
        return format_number(self.value, self.unit)

    @property
    def bound_text(self) -> str:
        """The bound for people."""
        if self.bound is None:
            return ""
        return f"{'≥' if self.at_least else '≤'} {format_number(self.bound, self.unit)}"


def format_number(value: float | None, unit: str = "") -> str:
    """Number with three digits that matter, and its unit."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """A row that ran, or that failed to."""

    name: str
    title: str
    figures: Sequence[Figure] = ()
    #: Whatever explains the figures: parameters, books of the stand-in, the series of a plot.
    details: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    scale: str = "full"
    date: str = ""

    @property
    def holds(self) -> bool:
        """Whether it ran and every bound is kept."""
        return not self.error and all(each.holds is not False for each in self.figures)


def write_json(file: Path, rows: Sequence[RowResult]) -> None:
    """Write results with the machine and the versions.

    Rows of an earlier file that did not run this time stay in it.
    """
    earlier = from_json(file)[1] if file.exists() else {}
    merged = earlier | {row.name: row for row in rows}
    document = {
        "machine": machine(),
        "versions": versions(),
        "rows": [{**asdict(row), "holds": row.holds} for row in merged.values()],
    }
    file.write_text(json.dumps(document, indent=1) + "\n")


def from_json(file: Path) -> tuple[dict[str, Any], dict[str, RowResult]]:
    """A document that `write_json` wrote; the rows by name."""
    document: dict[str, Any] = json.loads(file.read_text())
    rows = {}
    for row in document["rows"]:
        kept = {name: value for name, value in row.items() if name != "holds"}
        kept["figures"] = [Figure(**each) for each in row["figures"]]
        rows[row["name"]] = RowResult(**kept)
    return document, rows


def now() -> str:
    """The time, for a result."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine() -> dict[str, Any]:
    """What the figures depend on that no package has a version for."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "processor": _processor(),
        "memory_gb": round(memory / 1024**3, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python, the C libraries and the packages that are installed."""
    found = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION.partition("  ")[0],
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def lines_of(row: RowResult) -> list[str]:
    """A row as text."""
    mark = "error" if row.error else "holds" if row.holds else "FAILS"
    lines = [f"{row.name}: {row.title}  [{mark}, {row.seconds:.0f} s]"]
    for each in row.figures:
        verdict = {None: "", True: "holds", False: "FAILS"}[each.holds]
        note = f"  ({each.note})" if each.note else ""
        lines.append(f"  {each.name:<58}{each.text:>12}  {each.bound_text:<12}{verdict}{note}")
    if row.error:
        lines.append(f"  {row.error}")
    return lines
