"""Command line of the benchmarks: which rows, at which scale, and where results go."""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.results import RowResult, lines_of, machine, write_json
from benchmarks.rows import ROWS
from benchmarks.rows.base import Place, Row, cost_of_new_file

#: Seconds for a new file from which the figures of a run say more about the disk.
DEAR_FILE = 100e-6


def parser() -> argparse.ArgumentParser:
    """Parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure kling-batch and its references in turn, on a stand-in for fal.",
    )
    made.add_argument("rows", nargs="*", metavar="ROW", help="default: all of them")
    made.add_argument("--list", action="store_true", help="the rows, without running any")
    made.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results here; other rows in it stay"
    )
    made.add_argument(
        "--scale",
        choices=("full", "short", "tiny"),
        default="full",
        help="short: smaller batches; tiny: only whether the rows run",
    )
    made.add_argument(
        "--times", type=int, default=1, metavar="N", help="each row N times; all must hold"
    )
    made.add_argument("--longest", action="store_true", help="a run of 100,000 jobs, too")
    made.add_argument("--folder", type=Path, help="on which disk to work; it needs 6 GB")
    made.add_argument(
        "--doc",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="FILE",
        help="renew docs/performance.md; with a FILE, its results become the second column",
    )
    return made


def chosen(names: list[str]) -> list[Row]:
    """The rows of these names, in their own order.

    Raises:
        SystemExit: there is no such row.
    """
    known = {row.name for row in ROWS}
    if unknown := sorted(set(names) - known):
        parser().error(f"no row {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [row for row in ROWS if not names or row.name in names]


def run(row: Row, place: Place, times: int) -> RowResult:
    """Result of a row, printed when it is there; of several the first that does not hold."""
    results = []
    for _ in range(max(1, times)):
        # In a process of its own: the peak of a program counts that of what started it, which
        # grows from row to row.
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            results.append(alone.submit(row.run, place).result())
        print("\n".join(lines_of(results[-1])), end="\n\n", flush=True)
    return next((each for each in results if not each.holds), results[-1])


def main() -> int:
    """Exit code: 0 where every bound is kept (with `--scale tiny`: where every row runs)."""
    options = parser().parse_args()
    if options.list:
        print("\n".join(f"{row.name:<16}{row.title}" for row in ROWS))
        return 0
    if options.doc is not None:
        from benchmarks.document import renew

        if options.doc != Path() and not options.doc.is_file():
            parser().error(f"{options.doc}: there is no such file")
        renew(None if options.doc == Path() else options.doc)
        return 0
    rows = chosen(options.rows)
    if options.json is not None:
        try:
            write_json(options.json, [])  # rather an error now than after half an hour
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser().error(f"{options.json}: {error}")
    print(" · ".join(f"{name} {value}" for name, value in machine().items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="kling-bench-", dir=options.folder) as folder:
        print(_about(Path(folder)), end="\n\n", flush=True)
        place = Place(Path(folder), options.scale, options.longest)
        results = []
        for row in rows:
            results.append(run(row, place, options.times))
            if options.json is not None:
                write_json(options.json, results[-1:])
    failed = [
        row.name for row in results if (row.error if options.scale == "tiny" else not row.holds)
    ]
    print(f"{len(results) - len(failed)} of {len(results)} rows hold", *failed)
    return int(bool(failed))


def _about(folder: Path) -> str:
    """What a new file takes where the rows work, and what to do where it is long."""
    cost = cost_of_new_file(folder)
    advice = "; files were deleted here: wait six minutes, or give another --folder"
    return f"a new file takes {1e6 * cost:.0f} µs{advice if cost > DEAR_FILE else ''}"


if __name__ == "__main__":
    sys.exit(main())
